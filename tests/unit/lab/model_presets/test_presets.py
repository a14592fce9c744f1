"""Presets: every one builds, trains, is seen by the monitor and keeps its proportions."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model import ARCHS, Transformer, TransformerConfig, initialize
from stabilitykit.lab.model.parameter_count import parameters_by_part
from stabilitykit.lab.model.presets import PRESETS, SCALES, arch_fields, columns, preset, preset_fields
from stabilitykit.lab.probe import build_spec
from stabilitykit.lab.validation import validated
from stabilitykit.observe.conventional import conventional_layout

PARAMETERS = {
    # keras-hub, src/models/*/*_presets.py, "params"
    "gpt2": 124_439_808,
    "llama2": 6_738_415_616,
    "llama3": 8_030_261_248,
    "llama3_1": 8_030_261_248,
    "mistral": 7_241_732_096,
    "qwen2": 7_615_616_512,
    "qwen3": 8_190_735_360,
    "gemma": 8_537_680_896,
    "gemma2": 2_614_341_888,
    "gemma3": 3_880_099_328,
    "phi3": 3_821_079_552,
    # the model card of EleutherAI/gpt-neox-20b
    "gpt_neox": 20_554_567_680,
    # a public test of a safetensors parser, on bigscience/bloom
    "bloom": 176_247_271_424,
    # counted by others on the loaded checkpoints of EleutherAI/gpt-j-6b, allenai/OLMo-7B-hf, OLMo-2-1124-7B
    "gptj": 6_050_882_784,
    "olmo1": 6_888_095_744,
    "olmo2": 7_298_617_344,
}
"""Parameters of releases, as found in public repositories."""

BILLIONS = {
    # Chowdhery et al. 2022, arXiv 2204.02311
    "palm": 540.35,
    # the announcement of SmolLM3
    "smollm3": 3.08,
    # from memory: not verified
    "falcon": 6.92,
    "mpt": 6.65,
    "phi": 1.42,
    "stablelm": 2.8,
}
"""Rounded numbers, and where they are from."""


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_builds_and_trains_a_step(name):
    model = Transformer(preset(name, "tiny"), seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens = torch.randint(256, (2, 33), generator=torch.Generator().manual_seed(0))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    losses = []
    for _ in range(2):
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert 0 < losses[0] < 20
    assert 0 < losses[1] < 20


@pytest.mark.parametrize("name", PRESETS)
def test_the_monitor_finds_a_presets_sites(name):
    config = preset(name, "tiny")
    layout = conventional_layout(Transformer(config))
    sites = {site.name for site in layout.sites}
    middle = [] if config.order == "parallel" else ["resid_mid"]
    for layer in range(config.n_layers):
        marks = ["resid_pre", "attn_out", *middle, "mlp_out", "resid_post"]
        assert {f"blocks.{layer:02d}.{mark}" for mark in marks} | {f"blocks.{layer:02d}"} <= sites
        norms = config.slots(layer, "attn").names
        assert (f"blocks.{layer:02d}.attn_norm_in" in sites) == bool(norms)
    assert "head.logits" in sites
    assert not layout.notes


@pytest.mark.parametrize("name", PRESETS)
def test_every_scale_is_valid_and_its_windows_matter(name):
    for scale, dims in SCALES.items():
        config = preset(name, scale)
        for kind in config.pattern:
            assert kind.window is None or kind.window < config.seq_len
        if dims:
            assert (config.d_model, config.attention.n_heads) == (dims["d_model"], dims["n_heads"])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_where_it_comes_from(name):
    found = PRESETS[name]
    assert found.name == name
    assert name not in ARCHS
    assert found.about.endswith(".")
    assert all(found.sources)


def test_proportions_are_kept():
    assert preset("falcon").n_kv_heads == 1
    assert preset("llama3").n_kv_heads == 2
    assert preset("grok1", "medium").n_kv_heads == 2
    assert preset("gpt2").n_kv_heads == 4
    assert (preset("palm").head_dim, preset("gemma").head_dim, preset("gemma2").head_dim) == (8, 24, 16)
    assert (preset("llama3").d_ff, preset("gpt2").d_ff, preset("llama2").d_ff) == (224, 256, 176)
    assert [kind.window for kind in preset("gemma2").pattern] == [16, None]
    assert preset("llama4").attention.temperature_floor == 16
    assert preset("llama4", "release").attention.temperature_floor == 8192
    assert preset("llama3_1").position.rescale.original_len == 8
    assert preset("llama3_1", "release").position.rescale.original_len == 8192


def test_a_quarter_of_the_layers_of_mix_ln_has_norms_on_the_line():
    config = preset("mix_ln", n_layers=8)
    wirings = [config.wiring_of(layer, "mlp") for layer in range(8)]
    assert wirings == ["post_norm"] * 2 + ["pre_norm"] * 6


def test_given_sizes_win_over_the_scales():
    config = preset("llama3", "small", d_model=96, n_heads=6, n_kv_heads=3, d_ff=100, n_layers=3, seq_len=40)
    assert (config.d_model, config.head_dim, config.n_kv_heads, config.d_ff) == (96, 16, 3, 100)
    assert (config.n_layers, config.seq_len, config.vocab_size) == (3, 40, 256)


def test_presets_do_not_share_state():
    preset_fields("gemma3")["attention"]["qk_norm"] = "none"
    assert preset_fields("gemma3")["attention"]["qk_norm"] == "head"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: preset("gemma_2"), "preset: got 'gemma_2'; did you mean 'gemma2'"),
        (lambda: preset("gpt2", "smal"), "scale: got 'smal'; did you mean 'small'"),
        (lambda: preset("gpt2", d_modl=8), r"preset\.d_modl: not a size; did you mean 'd_model'"),
        (lambda: preset("gpt2", d_model=30), r"model\.attention\.n_heads: got 4; must divide d_model 30"),
        (lambda: arch_fields("lama3"), "arch: got 'lama3'; did you mean 'llama3'"),
        (lambda: arch_fields("pre_nrm"), "arch: got 'pre_nrm'; did you mean 'pre_norm'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(call, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        call()


@pytest.mark.parametrize("name", PRESETS)
def test_counted_parameters_are_those_of_the_model(name):
    config = preset(name, "tiny")
    counted = parameters_by_part(config)
    assert sum(counted.values()) == sum(p.numel() for p in Transformer(config).parameters())
    assert (counted["head"] == 0) == config.head.tied


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_release_has_exactly_as_many_parameters_as_published(name):
    assert sum(parameters_by_part(preset(name, "release")).values()) == PARAMETERS[name]


@pytest.mark.parametrize("name", BILLIONS)
def test_a_release_has_about_as_many_parameters_as_published(name):
    total = sum(parameters_by_part(preset(name, "release")).values())
    assert total / 1e9 == pytest.approx(BILLIONS[name], abs=0.01)


def test_columns_say_what_a_configuration_is():
    told = columns(preset("gemma2", "release"))
    assert told == {
        "norm": "RMS double",
        "block": "serial",
        "position": "RoPE",
        "ffn": "GeGLU",
        "tricks": "logit cap 50, GQA 8:4, sliding 1:1, output cap 30, embedding × √d",
    }
    assert columns(preset("gptj"))["block"] == "parallel, 1 norm"
    assert columns(preset("command_a"))["position"] == "RoPE + none"
    assert columns(preset("olmo1"))["norm"] == "LN (no gain) pre"
    assert columns(preset("exaone4"))["position"] == "RoPE + none"
    assert columns(preset("gpt_oss", "release"))["tricks"] == (
        "GQA 64:8, sliding 1:1, rope yarn × 32, learned sinks, gate clamp 7"
    )
    assert columns(preset("granite", "release"))["tricks"] == (
        "GQA 32:8, branch × 0.22, embedding × 12, scaled logits"
    )
    assert columns(preset("tfixup"))["norm"] == "none"
    assert columns(preset("nemotron4"))["ffn"] == "ReLU²"
    assert columns(preset("ngpt"))["tricks"] == "QK-norm (head), vector gate, unit weights, gain of logits"


def test_columns_tell_of_a_part_with_its_own_norm_and_of_a_sublayer_with_its_own_gate():
    fields = preset_fields("gpt2")
    fields["attention"] |= {"norm": {"kind": "dyt"}, "residual": {"gate": "scalar"}}
    told = columns(validated(TransformerConfig, fields))
    assert told["norm"] == "DyT + LN pre"
    assert "scalar gate" in told["tricks"]


def test_columns_follow_the_fields_not_the_name():
    fields = preset_fields("gpt2")
    fields["attention"]["softcap"] = 20.0
    assert columns(validated(TransformerConfig, fields))["tricks"] == "logit cap 20"


def test_a_probe_takes_a_preset_and_overrides():
    spec = build_spec("gemma2", overrides=["model.n_layers=3", "model.attention.softcap=null"])
    assert (spec.arch, spec.model.wiring, spec.model.n_layers) == ("gemma2", "double_norm", 3)
    assert spec.model.attention.softcap is None
    assert (spec.model.d_model, spec.model.attention.n_heads, spec.model.seq_len) == (64, 4, 64)


@pytest.mark.parametrize("name", PRESETS)
def test_a_probe_takes_every_preset(name):
    assert build_spec(name).model == preset(name)


def test_presets_need_no_torch():
    code = "import sys, stabilitykit.lab.model.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", PRESETS)
def test_initialize_reaches_every_parameter(name):
    model = Transformer(preset(name, "tiny"), seed=1)
    expected = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(torch.nan)
    initialize(model, model.config, seed=1)
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
