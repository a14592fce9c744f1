"""Presets: every one builds, trains, is seen by the monitor and keeps its proportions."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from stabilitykit.errors import ConfigError
from stabilitykit.experiments import build_spec
from stabilitykit.model import ARCHS, Transformer, TransformerConfig, initialize, validated
from stabilitykit.model.parameter_count import parameters_by_part
from stabilitykit.model.presets import PRESETS, SCALES, arch_fields, columns, preset, preset_fields
from stabilitykit.observe.locate import locate

BILLIONS = {
    "gpt2": 0.124,
    "gptj": 6.05,
    "gpt_neox": 20.55,
    "bloom": 176.25,
    "palm": 540.35,
    "llama2": 6.74,
    "llama3": 8.03,
    "mistral": 7.24,
    "qwen2": 7.62,
    "qwen3": 8.19,
    "gemma": 8.54,
    "gemma2": 2.61,
    "olmo1": 6.89,
    "olmo2": 7.30,
}
"""Parameters that releases were published with."""


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
    layout = locate(Transformer(config))
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


@pytest.mark.parametrize("name", BILLIONS)
def test_a_release_has_as_many_parameters_as_published(name):
    total = sum(parameters_by_part(preset(name, "release")).values())
    assert total / 1e9 == pytest.approx(BILLIONS[name], rel=2e-3, abs=5e-4)


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
    assert columns(preset("tfixup"))["norm"] == "none"
    assert columns(preset("nemotron4"))["ffn"] == "ReLU²"


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
    code = "import sys, stabilitykit.model.presets; sys.exit('torch' in sys.modules)"
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
