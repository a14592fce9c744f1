"""``presets``: the table of what ``--arch`` takes, and one architecture in full."""

import json

import pytest

from stabilitykit.lab.model import ARCHS, TransformerConfig
from stabilitykit.lab.model.presets import PRESETS, columns, preset


def test_the_table_lists_every_wiring_and_preset(stabilitykit):
    ended = stabilitykit("presets")
    assert (ended.status, ended.err) == (0, "")
    # A narrow terminal wraps cells: the rows' own lines begin at the left.
    first = [line.split()[0] for line in ended.out.splitlines() if line[:2].strip()]
    assert [word for word in first if word in {*ARCHS, *PRESETS}] == [*ARCHS, *PRESETS]
    gemma2 = next(line for line in ended.out.splitlines() if "gemma2" in line)
    assert "RMS double" in gemma2
    assert "GeGLU" in gemma2


def test_json_lists_the_same(stabilitykit):
    rows = json.loads(stabilitykit("presets", "--json").out)["presets"]
    assert [row["name"] for row in rows] == [*ARCHS, *PRESETS]
    assert {row["kind"] for row in rows} == {"wiring", "preset"}
    for row in rows:
        if row["kind"] == "preset":
            assert columns(preset(row["name"], "release")).items() <= row.items()


def test_one_preset_in_full(stabilitykit):
    ended = stabilitykit("presets", "llama3", "--scale", "release")
    assert (ended.status, ended.err) == (0, "")
    for told in ("llama3  Llama 3 8B", "8,030,261,248", "d_ff/d 3.5", "theta: 500000.0", "LlamaConfig"):
        assert told in ended.out


def test_one_preset_as_json_is_a_configuration(stabilitykit):
    document = json.loads(stabilitykit("presets", "gemma3", "--json").out)
    assert TransformerConfig(**document["config"]) == preset("gemma3").resolved()
    assert document["columns"] == columns(preset("gemma3"))
    assert sum(document["parameters"].values()) > 0


def test_sizes_are_taken(stabilitykit):
    asked = ("presets", "gpt2", "--dim", "n_layers=3", "--dim", "d_model=32", "--scale", "tiny", "--json")
    config = json.loads(stabilitykit(*asked).out)["config"]
    assert (config["n_layers"], config["d_model"], config["seq_len"]) == (3, 32, 32)


def test_a_wiring_is_shown_at_the_probes_size(stabilitykit):
    document = json.loads(stabilitykit("presets", "out_norm", "--json").out)
    assert document["config"]["wiring"] == "out_norm"
    assert document["config"]["attention"]["qk_norm"] == "head"
    assert document["config"]["d_model"] == 64


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (("lama3",), "NAME 'lama3' is not known: did you mean 'llama3'"),
        (("gpt2", "--scale", "smal"), "scale: got 'smal'; did you mean 'small'"),
        (("gpt2", "--dim", "n_layer=2"), "preset.n_layer: not a size; did you mean 'n_layers'"),
        (("gpt2", "--dim", "n_layers"), "--dim: got 'n_layers'; must be a size and a number"),
        (("gpt2", "--dim", "n_layers=two"), "--dim n_layers: 'two' is not a whole number"),
        (("gpt2", "--dim", "n_layers=0"), "model.n_layers: got 0; must be greater than 0"),
        (("--scale", "small"), "--scale and --dim: need the NAME of a preset"),
        (("pre_norm", "--scale", "small"), "--scale and --dim: pre_norm is a wiring"),
    ],
)
def test_what_was_typed_wrong_is_said_in_one_line(stabilitykit, typed, line):
    ended = stabilitykit("presets", *typed)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {line}")
    assert ended.err.count("\n") == 1
