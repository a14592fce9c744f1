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
from stabilitykit.model import Transformer, from_hf, preset
from stabilitykit.model.huggingface import FAMILIES, config_from_hf

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


def test_a_rescaled_rope_is_refused():
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    with pytest.raises(
        ConfigError, match=r"^huggingface\.rope_parameters\.rope_type: got 'linear'; accepted"
    ):
        from_hf(llama(rope_parameters=scaled))


def test_an_unknown_activation_is_refused():
    with pytest.raises(ConfigError, match=r"^huggingface\.activation: got 'tanh'"):
        from_hf(llama(hidden_act="tanh"))


def test_a_field_that_cannot_be_expressed_is_refused():
    config = transformers.GPT2Config(scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(
        ConfigError, match=r"^huggingface\.scale_attn_by_inverse_layer_idx: got True; accepted"
    ):
        config_from_hf(config)


def test_experts_are_refused():
    with pytest.raises(ConfigError, match=r"^huggingface\.moe_layers: got \[0"):
        config_from_hf(transformers.Llama4TextConfig())


def test_an_unknown_family_is_answered_with_the_closest():
    with pytest.raises(ConfigError, match=r"^huggingface\.model_type: got 'qwen2_moe'; did you mean 'qwen2'"):
        config_from_hf(transformers.Qwen2MoeConfig())


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


def test_a_weight_of_another_shape_is_refused():
    public = llama()
    public.model.norm.weight = torch.nn.Parameter(torch.ones(31))
    with pytest.raises(ConfigError, match=r"model\.norm\.weight: got the shape \(31,\); must be \(32,\)"):
        from_hf(public)
