"""``cost --hf``: public models by their configuration files, and what they are refused for."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MixtralConfig, T5Config

from stabilitykit.lab.cost import Peaks

pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = LlamaConfig(vocab_size=99, max_position_embeddings=64, attn_implementation="eager", **SIZES)
GPT2 = GPT2Config(
    vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=0
)
HUGE = LlamaConfig(
    vocab_size=128256,
    hidden_size=8192,
    intermediate_size=28672,
    num_hidden_layers=20,
    num_attention_heads=64,
    num_key_value_heads=8,
)


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch):
    """Put peaks in place of this machine's: what is tested is what becomes of them."""
    monkeypatch.setattr("stabilitykit.lab.cost.peaks.measure_peaks", lambda dtype: Peaks(1e11, 1e10))


@pytest.fixture
def configs(tmp_path):
    """Return the paths of configuration files, by name."""
    found = {}
    for name, config in (("llama", LLAMA), ("gpt2", GPT2), ("huge", HUGE), ("t5", T5Config())):
        (tmp_path / name).mkdir()
        config.to_json_file(tmp_path / name / "config.json")
        found[name] = str(tmp_path / name)
    (tmp_path / "strange.json").write_text('{"model_type": "strange"}')
    (tmp_path / "list.json").write_text("[1]")
    return {**found, "strange": str(tmp_path / "strange.json"), "list": str(tmp_path / "list.json")}


@pytest.fixture
def devices(monkeypatch):
    """Return the devices on which models are built from now on."""
    built, made = [], AutoModelForCausalLM.from_config

    def from_config(config, **options):
        built.append(str(torch.get_default_device()))
        return made(config, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_config", from_config)
    return built


def test_a_public_model_is_counted_and_measured(stabilitykit, configs, devices):
    told = json.loads(stabilitykit("cost", "--hf", configs["llama"], "--seconds", "0", "--json").out)
    assert devices == ["meta", "cpu"]
    assert (told["arch"], told["mode"], told["length"], told["optimizer"]) == (
        "llama (llama)",
        "train",
        64,
        "adamw",
    )
    assert told["measured"]["unattributed_share"] < 0.03
    assert not [row["name"] for row in told["operations"] if not row["measured"] and not row["done_by"]]
    assert told["memory"]["optimizer"] > 2 * told["memory"]["weights"] * 0.99
    assert "model.layers.*.mlp.gate_proj" in {row["name"] for row in told["operations"]}


@pytest.mark.slow
def test_what_is_counted_without_numbers_is_what_runs(stabilitykit, configs, devices):
    asked = ("cost", "--hf", configs["gpt2"], "--batch", "2", "--seq", "16", "--json")
    counted = json.loads(stabilitykit(*asked, "--predict").out)
    assert devices == ["meta"]
    run = json.loads(stabilitykit(*asked, "--seconds", "0").out)
    products = ("transformer.h.*.mlp.c_fc", "transformer.h.*.attn.c_attn", "lm_head")
    for name in products:
        one, other = (
            next(row for row in each["operations"] if row["name"] == name) for each in (counted, run)
        )
        assert {key: one[key] for key in ("forward", "backward", "saved", "parameters", "layers")} == {
            key: other[key] for key in ("forward", "backward", "saved", "parameters", "layers")
        }
    # Attention runs matrix by matrix there: no less memory than it needs.
    assert counted["memory"]["total"] >= run["memory"]["total"]
    assert counted["parameters"] == run["parameters"]


@pytest.mark.slow
def test_two_public_models_are_compared_in_turns(stabilitykit, configs):
    asked = ("cost", "--hf", configs["llama"], "--compare", configs["gpt2"], "--mode", "prefill", "--json")
    told = json.loads(stabilitykit(*asked, "--seconds", "0", "--batch", "1").out)
    (other,) = told["compared"]
    # What both take.
    assert told["length"] == other["length"] == 32
    assert told["mode"] == other["mode"] == "prefill"
    assert other["ratios"]["flops"] == other["total"]["flops"] / told["total"]["flops"]
    assert set(other["measured_ratios"]) >= {"step", "kernels", "contraction"}
    assert told["measured"]["rounds"] == other["measured"]["rounds"]


def test_the_page_shows_public_models(stabilitykit, configs):
    ended = stabilitykit("cost", "--hf", configs["llama"], "--predict")
    assert ended.status == 0
    assert "llama (llama)  train, batch 8, seq 64" in ended.out


@pytest.mark.slow
def test_what_does_not_fit_is_refused_before_anything_is_built(stabilitykit, configs, devices):
    ended = stabilitykit("cost", "--hf", configs["huge"], "--seq", "8", "--batch", "1")
    assert (ended.status, ended.out, devices) == (1, "", ["meta"])
    assert ended.err.splitlines()[-1].startswith("error: memory: needs ")
    assert ended.err.endswith("try a smaller --batch or --seq, or --predict, which runs nothing\n")


def test_short_memory_is_refused_before_anything_is_built(stabilitykit, configs, devices, monkeypatch):
    monkeypatch.setattr("stabilitykit.lab.cost.public.memory_available", lambda: 100_000)
    ended = stabilitykit("cost", "--hf", configs["llama"])
    assert (ended.status, ended.out, devices) == (1, "", ["meta"])
    assert "error: memory: needs " in ended.err


@pytest.mark.slow
def test_what_runs_only_with_numbers_is_measured_and_not_counted_alone(
    stabilitykit, configs, devices, tmp_path
):
    # torch's grouped product takes float32 on the CPU, and not where there are no numbers.
    config = MixtralConfig(vocab_size=99, num_local_experts=4, num_key_value_heads=2, **SIZES)
    config.to_json_file(tmp_path / "experts.json")
    asked = ("cost", "--hf", str(tmp_path / "experts.json"), "--seq", "8", "--batch", "1")
    told = json.loads(stabilitykit(*asked, "--seconds", "0", "--json").out)
    assert told["measured"]["unattributed_share"] < 0.03
    assert devices == ["meta", "meta", "cpu"]
    ended = stabilitykit(*asked, "--predict")
    assert (ended.status, ended.out) == (1, "")
    assert "does not run without numbers, and cannot be counted alone" in ended.err


def test_without_transformers_the_extra_is_named(stabilitykit, configs, monkeypatch):
    monkeypatch.setattr("stabilitykit.lab.cost.public.find_spec", lambda name: None)
    ended = stabilitykit("cost", "--hf", configs["llama"])
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == "error: --hf: needs the package transformers: pip install 'stabilitykit[hf]'\n"


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (("--arch", "llama2"), "--arch: got llama2; not with --hf"),
        (("--scale", "small"), "--scale: got small; not with --hf"),
        (("--set", "model.n_layers=2"), "--set: got ['model.n_layers=2']; not with --hf"),
        (("--cache", "5"), "--cache: got 5; not with --hf"),
        (("--compare", "norm"), "--compare: got norm; with --hf another config.json"),
        (("--compare", "model.n_layers=2"), "--compare: got model.n_layers=2; with --hf another config.json"),
        (("--compare", "nowhere"), "--hf: nowhere: No such file or directory"),
        (("--mode", "decode"), "--mode: got 'decode'; accepted with --hf: train, prefill"),
        (("--optimizer", "muon"), "--optimizer: got 'muon'; accepted with --hf: adamw, sgd"),
        (("--dtype", "int8"), "--dtype: got 'int8'; accepted with --hf: float32"),
        (("--seq", "65"), "--seq: got 65; llama (llama) takes at most 64"),
        (("--batch", "0"), "--batch: got 0; must be at least 1"),
    ],
)
def test_what_was_typed_wrong_is_said_in_one_line(stabilitykit, configs, typed, line):
    ended = stabilitykit("cost", "--hf", configs["llama"], *typed)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {line}")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("strange", "model_type strange"),
        ("list", "no configuration of transformers"),
        ("t5", "--hf: t5 (t5): Unrecognized configuration class"),
    ],
)
def test_a_file_that_is_no_model_is_said(stabilitykit, configs, name, line):
    ended = stabilitykit("cost", "--hf", configs[name])
    assert (ended.status, ended.out) == (2, "")
    assert line in ended.err.splitlines()[-1]
