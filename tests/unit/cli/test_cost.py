"""``cost``: the table, several side by side, JSON, and what was typed wrong."""

import json

import pytest

from stabilitykit.lab.cost import COMPARISONS, Peaks


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch):
    """Put peaks in place of this machine's: what is tested is what becomes of them."""
    monkeypatch.setattr("stabilitykit.lab.cost.peaks.measure_peaks", lambda dtype: Peaks(1e11, 1e10))


def test_the_table_tells_every_operation_and_the_shares_of_the_classes(stabilitykit, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    ended = stabilitykit("cost", "--arch", "gemma2", "--predict")
    assert ended.status == 0
    assert ended.err == "measuring this machine's peaks: one product, one copy\n"
    rows = [line.split() for line in ended.out.splitlines()]
    first = {row[0]: row for row in rows if row}
    assert first["attn.q_proj"][1:3] == ["contract", "75.5"]
    assert first["attn_out_norm"][1:3] == ["norm", "2.56"]
    assert first["optimizer.adamw"][1:3] == ["element", "5.41"]
    assert {"forward", "backward", "step", "total", "memory", "peaks"} <= first.keys()
    bars = {row[0]: row[1] for row in rows if len(row) == 2 and row[0] in ("FLOPs", "bytes")}
    assert all(len(bar) == 40 for bar in bars.values())
    # The lecture's point: what is nearly nothing in FLOPs is much of the traffic.
    assert bars["FLOPs"].count("#") > 1.5 * bars["bytes"].count("#")


def test_json_has_what_scripts_rely_on(stabilitykit):
    document = json.loads(stabilitykit("cost", "--arch", "llama3", "--batch", "2", "--json", "--predict").out)
    assert document["peaks"] == {"flops_per_s": 1e11, "bytes_per_s": 1e10, "ridge": 10.0}
    assert [row["class"] for row in document["classes"]] == ["contraction", "normalisation", "element-wise"]
    for key in ("flops", "bytes"):
        parts = sum(row[name][key] for row in document["operations"] for name in document["passes"])
        assert parts == document["total"][key] == sum(row[key] for row in document["classes"])
    assert document["bound_s"] == pytest.approx(sum(row["bound_s"] for row in document["operations"]))
    assert sum(row["parameters"] for row in document["operations"]) == document["parameters"]
    assert (document["mode"], document["batch"], document["length"]) == ("train", 2, 64)


def test_measured_time_stands_beside_flops_and_bytes(stabilitykit, monkeypatch):
    monkeypatch.setattr("stabilitykit.lab.cost.measured.rounds.FEWEST", 1)
    monkeypatch.setenv("COLUMNS", "110")
    ended = stabilitykit("cost", "--arch", "llama2", "--batch", "1", "--seconds", "0")
    assert ended.status == 0
    rows = [line.split() for line in ended.out.splitlines()]
    first = {row[0]: row for row in rows if row}
    assert first["operation"][-5:] == ["time", "%", "time", "kernels,", "forward"]
    assert first["attn.q_proj"][-1] == "mm"
    assert first["attn.softmax"][-2:] == ["in", "attn.scores"]
    assert {"step", "measured", "backward"} <= first.keys()
    bars = {row[0] for row in rows if len(row) == 2 and row[0] in ("FLOPs", "bytes", "time")}
    assert bars == {"FLOPs", "bytes", "time"}


def test_a_narrow_terminal_gets_fewer_columns_and_no_folded_cells(stabilitykit, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = stabilitykit("cost", "--arch", "gemma2", "--predict").out
    names = [line.split()[0] for line in out.splitlines() if line.strip()]
    # A folded cell would begin a line of its own.
    assert names.count("loss.cross_entropy") == 1
    assert all(len(line) <= 60 for line in out.splitlines())


@pytest.mark.slow
def test_measured_ratios_have_intervals(stabilitykit, monkeypatch):
    monkeypatch.setattr("stabilitykit.lab.cost.measured.rounds.FEWEST", 1)
    asked = ("cost", "--compare", "glu", "--batch", "1", "--seconds", "0")
    (other,) = json.loads(stabilitykit(*asked, "--json").out)["compared"]
    assert set(other["measured_ratios"]["step"]) == {"median", "low", "high"}
    out = stabilitykit(*asked).out
    assert "ratio, 95 %" in out


def test_what_does_not_fit_is_refused_in_one_line(stabilitykit):
    ended = stabilitykit("cost", "--arch", "palm", "--scale", "release", "--dtype", "bfloat16")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("error: memory: needs ")
    assert ended.err.endswith("or --predict, which runs nothing\n")
    assert ended.err.count("\n") == 1


def test_two_architectures_are_compared(stabilitykit):
    document = json.loads(
        stabilitykit("cost", "--arch", "gpt2", "--compare", "llama2", "--json", "--predict").out
    )
    (other,) = document["compared"]
    assert (document["arch"], other["arch"]) == ("gpt2", "llama2")
    assert other["ratios"]["flops"] == other["total"]["flops"] / document["total"]["flops"]
    assert other["ratios"]["kv_cache"] is None


def test_a_setting_is_compared_with_its_absence(stabilitykit):
    asked = ("cost", "--compare", "model.attention.n_kv_heads=1", "--mode", "decode", "--json", "--predict")
    (other,) = json.loads(stabilitykit(*asked).out)["compared"]
    assert other["ratios"]["kv_cache"] == 1 / 4


def test_help_names_every_ready_comparison(stabilitykit):
    told = stabilitykit("cost", "--help").out.replace(",", " ").replace(".", " ").split()
    assert set(COMPARISONS) <= set(told)


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_ready_comparison_is_shown(stabilitykit, name):
    ended = stabilitykit("cost", "--compare", name, "--predict")
    assert ended.status == 0
    assert "×" in ended.out


def test_a_growing_cache_is_a_table(stabilitykit):
    rows = json.loads(stabilitykit("cost", "--compare", "kv_heads", "--json", "--predict").out)["growth"]
    caches = sorted({row["cache"] for row in rows})
    assert caches == [64, 256, 1024, 4096]
    last = {row["arch"]: row for row in rows if row["cache"] == 4096}
    assert last["MHA 4"]["kv_cache"] == 4 * last["MQA 1"]["kv_cache"]
    assert last["MQA 1"]["intensity"] > last["MHA 4"]["intensity"]


def test_what_no_machine_holds_is_priced_and_said(stabilitykit):
    ended = stabilitykit("cost", "--arch", "palm", "--scale", "release", "--dtype", "bfloat16", "--predict")
    assert ended.status == 0
    assert "540,3" in ended.out
    assert "available here" in ended.out


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (("--arch", "lama3"), "arch: got 'lama3'; did you mean 'llama3'"),
        (("--compare", "norms"), "--compare: got 'norms'; did you mean 'norm'"),
        (("--set", "optimizer.lr=1"), "--set: got optimizer.lr; must begin with model."),
        (("--set", "model.n_layer=1"), "model.n_layer: not a known field; did you mean 'n_layers'"),
        (("--scale", "small"), "--scale: got small; pre_norm is a wiring"),
        (("--cache", "5"), "--cache: got 5; not in --mode train"),
        (("--mode", "decode", "--seq", "5"), "--seq: got 5; not in --mode decode"),
        (("--mode", "run"), "mode: got 'run'; accepted: train, prefill, decode"),
        (("--seq", "100"), "seq: got 100; at most model.seq_len 64; --set model.seq_len=100 allows it"),
        (("--seq", "0"), "seq: got 0; must be at least 1"),
        (("--optimizer", "adam"), "--optimizer: got 'adam'; did you mean 'adamw'"),
        (("--compare", "kv_heads", "--mode", "train"), "--mode: got train; --compare kv_heads is of decode"),
    ],
)
def test_what_was_typed_wrong_is_said_in_one_line(stabilitykit, typed, line):
    ended = stabilitykit("cost", *typed)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {line}")
    assert ended.err.count("\n") == 1
