"""Our transformer against the public classes: logits, gradients, configurations, and the page on it."""

import logging
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model import Transformer, from_hf, preset
from stabilitykit.lab.model.huggingface import FAMILIES, config_from_hf

measure = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("measure.py"))))
CASES = {case.name: case for case in measure.CASES}

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("transformers").setLevel(logging.ERROR)


def close(row) -> bool:
    return row.logits <= 1e-5 * min(1.0, row.largest) and row.gradients <= 1e-4


@pytest.mark.parametrize("name", CASES)
def test_logits_and_gradients_are_those_of_the_public_class(name):
    row = measure.measured(CASES[name])
    assert close(row), f"logits {row.logits:.1e} of {row.largest:.1f}, gradients {row.gradients:.1e}"


def test_every_family_is_compared():
    compared = {getattr(transformers, case.config).model_type for case in CASES.values()}
    assert compared == set(FAMILIES)


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.preset], ids=lambda case: case.preset)
def test_a_preset_at_its_release_is_the_public_configuration(case):
    theirs = config_from_hf(getattr(transformers, case.config)(**(case.released or {})))
    assert comparable(preset(case.preset, "release")) == comparable(theirs)


def comparable(config) -> dict:
    """Return what a public configuration says, and ours must repeat."""
    fields = config.resolved().model_dump(exclude={"initialization": True, "head": {"z_loss"}})
    for section in ("attention", "feedforward", "residual", "embedding"):
        del fields[section]["dropout"]
    fields["attention"]["logit_scale"] = config.logit_scale
    return fields


MISREAD = {
    "GPT2LMHeadModel": {"feedforward": {"activation": "gelu"}},
    "GPTJForCausalLM": {"position": {"layout": "half"}},
    "BloomForCausalLM": {"norm": {"eps": 1e-6}},
    "LlamaForCausalLM (grouped)": {"position": {"theta": 1e4}},
    "Gemma2ForCausalLM": {"attention": {"softcap": 0.6}},
    "Gemma3ForCausalLM": {"position": {"theta_local": 2e4}},
    "OlmoForCausalLM (clipped)": {"attention": {"clip_qkv": 0.41}},
    "CohereForCausalLM (qk-norm)": {"head": {"scale": 0.063}},
    "Olmo3ForCausalLM": {"pattern": [{"span": "sliding", "window": 8}] * 3 + [{"span": "full"}]},
    "Llama4ForCausalLM (dense)": {"attention": {"temperature_floor": 9}},
    "LlamaForCausalLM (rope llama3)": {"position": {"rescale": {"kind": "linear", "factor": 8.0}}},
    "Olmo3ForCausalLM (rope yarn in full layers)": {"position": {"rescale_local": True}},
    "Ministral3ForCausalLM": {"attention": {"temperature_start": 1}},
    "XGLMForCausalLM": {"position": {"sine_closed": False}},
    "GraniteForCausalLM": {"residual": {"branch_scale": 0.41}},
    "GptOssForCausalLM (one expert)": {"feedforward": {"up_offset": 1.001}},
    "PhiForCausalLM": {"position": {"rotary_fraction": 1.0}},
}


@pytest.mark.parametrize("name", MISREAD)
def test_one_misread_field_would_be_seen(name):
    public = CASES[name].build()
    right = from_hf(public).eval()
    wrong = Transformer(misread(right.config, MISREAD[name])).eval()
    wrong.load_state_dict(right.state_dict())
    tokens = torch.arange(24).unsqueeze(0)
    with torch.no_grad():
        expected = public(tokens).logits
        assert (right(tokens) - expected).abs().max() <= 1e-5
        assert (wrong(tokens) - expected).abs().max() > 2e-5


def misread(config, changes: dict):
    fields = config.model_dump()
    for section, change in changes.items():
        fields[section] = {**fields[section], **change} if isinstance(change, dict) else change
    return type(config).model_validate(fields)


def test_the_page_lists_what_is_compared():
    page = measure.TABLE.read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` ?(.*?) \| (?:`(\w+)`)? ?\|", page, flags=re.MULTILINE)
    compared = [(*case.name.partition(" ")[::2], case.preset or "") for case in CASES.values()]
    assert listed == compared, "write the page anew: python tests/parity/measure.py"
    assert transformers.__version__ in page


@pytest.mark.slow
def test_the_page_tells_of_every_causal_class():
    page = measure.TABLE.read_text(encoding="utf-8")
    _, told = page.split("## Families of transformers")
    assert set(re.findall(r"`([\w.-]+)`", told)) >= set(measure.CAUSAL) - {"gpt-sw3"}
    assert measure.families() in page, "write the page anew: python tests/parity/measure.py"


def llama(**fields) -> torch.nn.Module:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**{**CASES["LlamaForCausalLM"].fields, **fields})
    )


def test_weights_are_copies_in_the_models_type():
    public = llama().to(torch.float64)
    ours = from_hf(public)
    assert {p.dtype for p in ours.parameters()} == {torch.float64}
    before = ours.head.linear.weight.clone()
    torch.nn.init.zeros_(public.lm_head.weight)
    assert torch.equal(ours.head.linear.weight, before)
    assert torch.equal(ours.embed.token.weight, public.model.embed_tokens.weight)


def test_a_rope_of_an_unknown_kind_is_refused():
    parameters = {"rope_type": "proportional", "rope_theta": 1e4}
    with pytest.raises(
        ConfigError, match=r"^huggingface\.rope_parameters\.rope_type: got 'proportional'; accepted"
    ):
        config_from_hf(transformers.LlamaConfig(rope_parameters=parameters))


def test_an_unknown_parameter_of_a_rope_is_refused():
    parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    with pytest.raises(
        ConfigError, match=r"^huggingface\.rope_parameters\.mrope_section: got .*; must be left out"
    ):
        config_from_hf(transformers.LlamaConfig(rope_parameters=parameters))


def test_a_part_of_the_head_is_rotated_only_where_the_class_knows_it():
    parameters = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    with pytest.raises(ConfigError, match=r"^huggingface\.rope_parameters\.partial_rotary_factor: got 0.5"):
        config_from_hf(transformers.LlamaConfig(rope_parameters=parameters))


def test_a_rope_of_sliding_layers_alone_is_refused():
    linear = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    parameters = {"full_attention": {**linear, "rope_type": "default"}, "sliding_attention": linear}
    del parameters["full_attention"]["factor"]
    with pytest.raises(ConfigError, match=r"sliding_attention\.rope_type: got 'linear'; accepted: 'default'"):
        config_from_hf(transformers.Olmo3Config(rope_parameters=parameters))


def test_an_unknown_activation_is_refused():
    with pytest.raises(ConfigError, match=r"^huggingface\.activation: got 'laplace'"):
        from_hf(llama(hidden_act="laplace"))


RELEASED = {
    "Llama 3.2 1B": (
        "LlamaConfig",
        {
            "rope_theta": 5e5,
            "max_position_embeddings": 131_072,
            "rope_scaling": {
                "factor": 32.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3",
            },
        },
        {"kind": "llama3", "factor": 32, "original_len": 8192, "low_freq": 1, "high_freq": 4},
        131_072,
    ),
    "Qwen2.5 with yarn": (
        "Qwen2Config",
        {
            "rope_theta": 1e6,
            "max_position_embeddings": 32_768,
            "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32_768, "type": "yarn"},
        },
        {"kind": "yarn", "factor": 4, "original_len": 32_768, "truncate": True},
        131_072,
    ),
    "OLMo 3": (
        "Olmo3Config",
        {
            "rope_theta": 5e5,
            "max_position_embeddings": 65_536,
            "rope_scaling": {
                "attention_factor": 1.2079441541679836,
                "beta_fast": 32,
                "beta_slow": 1,
                "factor": 8.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "yarn",
            },
        },
        {"kind": "yarn", "factor": 8, "original_len": 8192, "attention_factor": 1.2079441541679836},
        65_536,
    ),
    "Phi-3 mini 128k": (
        "Phi3Config",
        {
            "max_position_embeddings": 131_072,
            "original_max_position_embeddings": 4096,
            "rope_scaling": {
                "long_factor": [1.0 + i for i in range(48)],
                "short_factor": [1.0] * 48,
                "type": "longrope",
            },
        },
        {"kind": "longrope", "factor": 32, "original_len": 4096, "short": (1.0,) * 48},
        131_072,
    ),
    "Gemma 3 4B": (
        "Gemma3TextConfig",
        {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}},
        {"kind": "linear", "factor": 8},
        131_072,
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_rope_is_read(name):
    kind, fields, expected, context = RELEASED[name]
    ours = config_from_hf(getattr(transformers, kind)(**fields))
    assert {key: getattr(ours.position.rescale, key) for key in expected} == expected
    assert ours.seq_len == context
    assert ours.position.rescale_local == (name not in ("OLMo 3", "Gemma 3 4B"))


def test_a_field_that_cannot_be_expressed_is_refused():
    config = transformers.GPT2Config(scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(
        ConfigError, match=r"^huggingface\.scale_attn_by_inverse_layer_idx: got True; accepted"
    ):
        config_from_hf(config)


def test_experts_are_refused():
    with pytest.raises(ConfigError, match=r"^huggingface\.moe_layers: got \[0"):
        config_from_hf(transformers.Llama4TextConfig())
    with pytest.raises(ConfigError, match=r"^huggingface\.num_local_experts: got 128; accepted: 1"):
        config_from_hf(transformers.GptOssConfig())
    with pytest.raises(ConfigError, match=r"^huggingface\.first_k_dense_replace: got 0; must be at least 62"):
        config_from_hf(transformers.Dots1Config())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Qwen2MoeConfig", r"got 'qwen2_moe'; cannot be expressed: experts \(num_experts 60\)"),
        ("DeepseekV3Config", r"got 'deepseek_v3'; cannot be expressed: latent attention \(kv_lora_rank\)"),
        ("MambaConfig", r"got 'mamba'; cannot be expressed: recurrent or convolutional layers"),
        ("Qwen3_5TextConfig", r"got 'qwen3_5_text'; cannot be expressed: recurrent or convolutional layers"),
        ("DiffLlamaConfig", r"got 'diffllama'; cannot be expressed: a difference of two attentions"),
        ("Gemma3nTextConfig", r"got 'gemma3n_text'; cannot be expressed: further embeddings in every layer"),
        ("DbrxConfig", r"got 'dbrx'; cannot be expressed: experts \(ffn_config\)"),
        ("BartConfig", r"got 'bart'; cannot be expressed: attention to a second sequence"),
        ("BertConfig", r"got 'bert'; cannot be expressed: embeddings of token types, languages or segments"),
        ("Gemma3Config", r"got 'gemma3'; cannot be expressed: a model around the language model"),
        ("GPTNeoXJapaneseConfig", r"got 'gpt_neox_japanese'; did you mean 'gpt_neox'"),
    ],
)
def test_a_family_that_cannot_be_expressed_is_told_why(kind, message):
    with pytest.raises(ConfigError, match=rf"^huggingface\.model_type: {message}"):
        config_from_hf(getattr(transformers, kind)())


def test_a_model_without_a_head_is_refused():
    with pytest.raises(ConfigError, match="LlamaModel has no lm_head"):
        from_hf(llama().model)


def test_a_module_without_a_configuration_is_refused():
    with pytest.raises(ConfigError, match="got Linear; must have a transformers configuration"):
        from_hf(torch.nn.Linear(2, 2))


def test_a_weight_without_a_counterpart_is_refused():
    public = llama()
    public.model.layers[0].mlp.up_proj.bias = torch.nn.Parameter(torch.zeros(48))
    with pytest.raises(ConfigError, match=r"huggingface\.model\.layers\.0\.mlp\.up_proj\.bias: has no place"):
        from_hf(public)


def test_a_missing_weight_is_refused():
    public = llama()
    public.model.layers[1].input_layernorm = torch.nn.Identity()
    with pytest.raises(
        ConfigError, match=r"blocks\.1\.attn_norm\.weight is missing; looked for model\.layers\.1"
    ):
        from_hf(public)


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("Phi3ForCausalLM", "mlp.gate_up_proj", r"gate_proj\.weight is missing; .*1\.mlp\.gate_up_proj"),
        (
            "StableLmForCausalLM (parallel, qk-norm)",
            "self_attn.q_layernorm",
            r"attn\.q_norm\.weight is missing; looked for .*q_layernorm\.norms\.\{h\}\.weight",
        ),
    ],
)
def test_a_missing_weight_that_is_stored_otherwise_is_refused(name, module, message):
    public = CASES[name].build()
    public.model.layers[1].set_submodule(module, torch.nn.Identity())
    with pytest.raises(ConfigError, match=rf"^huggingface: blocks\.1\..*{message}"):
        from_hf(public)


def test_a_weight_of_another_shape_is_refused():
    public = llama()
    public.model.norm.weight = torch.nn.Parameter(torch.ones(31))
    with pytest.raises(ConfigError, match=r"model\.norm\.weight: got the shape \(31,\); must be \(32,\)"):
        from_hf(public)
