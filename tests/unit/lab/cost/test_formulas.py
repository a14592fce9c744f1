"""The formulas against figures that others have published, and against each other."""

import pytest

from stabilitykit.errors import ConfigError, DataError
from stabilitykit.lab.cost import Peaks, Prediction, Workload, predict
from stabilitykit.lab.cost.memory import require_memory
from stabilitykit.lab.cost.operation import Operation, Work, totals
from stabilitykit.lab.cost.predicted.memory import kv_cache
from stabilitykit.lab.cost.predicted.traffic import Case, norm
from stabilitykit.lab.model import NormConfig, TransformerConfig
from stabilitykit.lab.validation import validated

# Weights of every kind of llama2 70B but its gates matter to no test here.
LLAMA2_70B = {
    "vocab_size": 32_000,
    "d_model": 8192,
    "n_layers": 80,
    "seq_len": 4096,
    "position": {"kind": "rope"},
    "attention": {"n_heads": 64, "n_kv_heads": 8},
    "feedforward": {"d_ff": 28_672},
}
LECTURE = {"b": 64, "n": 2048, "d": 4096, "h": 32}


def config(**fields: object) -> TransformerConfig:
    sizes = {"d_model": 32, "n_layers": 2, "seq_len": 64, "vocab_size": 64, "position": {"kind": "none"}}
    return validated(TransformerConfig, {**sizes, **fields})


def named(prediction: Prediction) -> dict[str, Operation]:
    return {each.name: each for each in prediction.operations}


def test_a_norm_takes_seven_or_four_operations_an_element_and_moves_the_same():
    case = Case(config(), Workload(batch=2, length=8))
    n, s = 16 * 32, 4
    layer = norm(case, "x", 16, 32, NormConfig(kind="layernorm", bias=True)).forward
    rms = norm(case, "x", 16, 32, NormConfig(kind="rmsnorm")).forward
    assert (layer.flops, rms.flops) == (7 * n, 4 * n)
    assert layer.bytes == 2 * s * n + 2 * s * 32 + 8 * 16
    assert rms.bytes == 2 * s * n + s * 32 + 4 * 16
    assert rms.bytes > 0.93 * layer.bytes


def test_projections_and_backward_are_the_textbooks():
    prediction = predict(config(attention={"n_heads": 4, "n_kv_heads": 2}), Workload(batch=2, length=16))
    n, d, layers, s = 32, 32, 2, 4
    found = named(prediction)
    assert found["attn.q_proj"].forward.flops == layers * 2 * n * d * d
    assert found["attn.k_proj"].forward.flops == layers * 2 * n * d * d // 2
    assert found["attn.q_proj"].forward.bytes == layers * s * (n * d + d * d + n * d)
    assert found["head.linear"].forward.flops == 2 * n * d * 64
    for each in prediction.operations:
        if each.op_class == "contraction":
            assert each.backward.flops == 2 * each.forward.flops, each.name


@pytest.mark.parametrize(
    ("kind", "mean_keys"),
    [
        ({}, (64 + 1) / 2),
        ({"span": "sliding", "window": 16}, 16 - 16 * 15 / (2 * 64)),
        ({"span": "sliding", "window": 100}, (64 + 1) / 2),
        ({"span": "chunked", "window": 16}, (16 + 1) / 2),
    ],
)
def test_attention_needs_what_its_mask_leaves(kind, mean_keys):
    """T_eff keys a query: (T+1)/2 causal, w − w(w−1)/(2T) in a window."""
    found = named(predict(config(pattern=[kind]), Workload(batch=2, length=64)))
    for name in ("attn.scores", "attn.weighted_sum"):
        assert found[name].forward.flops == 2 * 2 * (2 * 64) * 32 * mean_keys
    assert found["attn.softmax"].forward.flops == 2 * 5 * 2 * 4 * 64 * mean_keys


def test_only_matrix_by_matrix_writes_logits_to_memory():
    fused = named(predict(config(), Workload(batch=2, length=64)))
    eager = named(predict(config(attention={"implementation": "eager"}), Workload(batch=2, length=64)))
    logits = 2 * 4 * (2 * 4 * 64 * 64)  # layers · bytes · elements
    assert eager["attn.scores"].forward.written - fused["attn.scores"].forward.written == logits
    assert eager["attn.weighted_sum"].forward.read - fused["attn.weighted_sum"].forward.read == logits
    assert eager["attn.softmax"].forward.bytes == 2 * logits
    capped = named(predict(config(attention={"softcap": 50.0}), Workload(batch=2, length=64)))
    pairs = 2 * 2 * 4 * 64 * 65 // 2
    assert capped["attn.softmax"].forward.flops - eager["attn.softmax"].forward.flops == 3 * pairs


def test_the_cache_of_llama2_70b_takes_320_kib_a_token_and_without_groups_eight_times_that():
    one = Workload("decode", 1, 1, "bfloat16")
    grouped = validated(TransformerConfig, LLAMA2_70B)
    plain = validated(TransformerConfig, {**LLAMA2_70B, "attention": {"n_heads": 64}})
    assert kv_cache(Case(grouped, one)) == 320 * 2**10
    assert kv_cache(Case(plain, one)) == 2.5 * 2**20


def test_a_window_caps_the_cache():
    sliding = config(pattern=[{"span": "sliding", "window": 16}])
    caches = [kv_cache(Case(sliding, Workload("decode", 1, n))) for n in (8, 16, 64)]
    assert caches == [16 * 4 * 2 * 2 * 32 // 2, caches[2], caches[2]]


@pytest.mark.parametrize(("kv_heads", "intensity"), [(32, 1.0), (8, 4.0), (1, 32.0)])
def test_decodings_attention_has_the_intensity_of_its_groups(kv_heads, intensity):
    """2h/(g·s) FLOPs a byte in bfloat16, whatever batch and cache (queries and output aside)."""
    model = config(d_model=4096, seq_len=65_536, attention={"n_heads": 32, "n_kv_heads": kv_heads})
    for batch in (1, 64):
        found = named(predict(model, Workload("decode", batch, 65_536, "bfloat16")))
        both = found["attn.scores"].forward + found["attn.weighted_sum"].forward
        assert both.intensity == pytest.approx(intensity, rel=0.002)


def test_decodings_weights_have_the_intensity_of_the_batch():
    """2b/s FLOPs a byte of weights."""
    model = config(d_model=4096, attention={"n_heads": 32})
    found = named(predict(model, Workload("decode", 4, 64, "bfloat16")))["mlp.down_proj"]
    assert found.forward.flops / (2 * found.parameters) == 2 * 4 / 2


def lecture(kv_heads: int, mode: str, batch: int) -> float:
    """Return the lecture's intensity, its constants put back: elements for bytes, multiply-adds for FLOPs."""
    sizes = LECTURE
    model = config(
        d_model=sizes["d"], seq_len=sizes["n"], attention={"n_heads": sizes["h"], "n_kv_heads": kv_heads}
    )
    found = named(predict(model, Workload(mode, batch, sizes["n"])))  # type: ignore[arg-type]
    parts = [each.forward for name, each in found.items() if name.startswith("attn.") and each.forward.bytes]
    whole = sum(parts, Work())
    return whole.flops / whole.bytes * 4 / 2


@pytest.mark.parametrize(
    ("kv_heads", "batch", "figure"), [(32, 64, 1.9), (32, 1, 0.67), (8, 64, 7.1), (1, 64, 32.0)]
)
def test_the_lectures_figures_of_decoding_follow_from_its_formulas_and_order_ours(kv_heads, batch, figure):
    d, n, h = LECTURE["d"], LECTURE["n"], LECTURE["h"]
    once = 0.0 if kv_heads == h else 1 / d
    assert 1 / (once + n * kv_heads / (d * h) + 1 / batch) == pytest.approx(figure, rel=0.03)
    # The lecture drops constants: of four matrices it counts one, of keys and values one.
    assert figure / 4 < lecture(kv_heads, "decode", batch) < 4 * figure


def test_the_lectures_figure_of_a_prompt():
    b, n, d, h = (LECTURE[name] for name in "bndh")
    assert 1 / (1 / d + n / (d * d // h) + 1 / (b * n)) == pytest.approx(240, rel=0.01)
    # There logits go through memory.
    assert lecture(32, "prefill", 64) > 100


def test_shares_of_flops_are_those_of_bert_large():
    """99.80, 0.17 and 0.03 % in Ivanov et al. 2007.00072: contractions are nearly all, then normalisation."""
    bert = config(
        d_model=1024,
        n_layers=24,
        seq_len=512,
        vocab_size=30_522,
        wiring="post_norm",
        norm={"kind": "layernorm", "bias": True},
        attention={"n_heads": 16, "qkv_bias": True, "out_bias": True},
        feedforward={"gated": False, "activation": "gelu", "bias": True},
    )
    rows = predict(bert, Workload(length=512)).side("bert", None).to_json()["classes"]
    shares = {row["class"]: row["flops_share"] for row in rows}
    assert 0.993 < shares["contraction"] < 0.999
    assert 0.001 < shares["normalisation"] < 0.003
    assert sum(row["bytes_share"] for row in rows) == pytest.approx(1)
    assert next(row["bytes_share"] for row in rows if row["class"] == "contraction") < 0.7


def test_adamw_reads_four_numbers_a_parameter_and_writes_three():
    prediction = predict(config(), Workload(length=16))
    step = totals(prediction.operations)["step"]
    assert (step.read, step.written) == (16 * prediction.parameters, 12 * prediction.parameters)
    assert prediction.memory.optimizer == 8 * prediction.parameters
    assert prediction.memory.gradients == prediction.memory.weights == 4 * prediction.parameters
    assert predict(config(), Workload(length=16), "sgd").memory.optimizer == 4 * prediction.parameters
    names = [each.name for each in predict(config(), Workload(length=16), "muon").operations]
    assert names[-3:] == ["optimizer.muon", "optimizer.orthogonalise", "optimizer.adamw"]


def test_generating_keeps_nothing_for_a_backward():
    for mode in ("prefill", "decode"):
        prediction = predict(config(head={"z_loss": 1e-4}), Workload(mode, 2, 16))  # type: ignore[arg-type]
        passes = totals(prediction.operations)
        assert passes["backward"] == passes["step"] == Work()
        assert prediction.memory.activations == prediction.memory.gradients == 0
        assert prediction.memory.kv_cache == 4 * 2 * 16 * 2 * 2 * 32
        assert not any(each.name.startswith("loss") for each in prediction.operations)


def test_the_roofline_is_the_slower_of_arithmetic_and_traffic():
    peaks = Peaks(flops=100.0, bandwidth=10.0)
    assert peaks.ridge == 10
    assert peaks.seconds(Work(flops=1000, read=30, written=20)) == 10
    assert peaks.seconds(Work(flops=100, read=30, written=20)) == 5


def test_what_does_not_fit_is_refused_in_one_line():
    needed = predict(validated(TransformerConfig, LLAMA2_70B), Workload(batch=1, length=4096)).memory
    require_memory(needed, needed.total)
    require_memory(needed, None)
    with pytest.raises(DataError, match=r"^memory: needs 1\d{3}\.\d GiB \(weights 257\.\d GiB, .*available"):
        require_memory(needed, 2**34)


@pytest.mark.parametrize(
    ("workload", "line"),
    [
        (Workload(length=65), "seq: got 65; at most model.seq_len 64"),
        (Workload("decode", 8, 65), "cache: got 65; at most model.seq_len 64"),
        (Workload(batch=0), "batch: got 0; must be at least 1"),
        (Workload("generate"), "mode: got 'generate'; accepted: train"),  # type: ignore[arg-type]
        (Workload(dtype="int8"), "dtype: got 'int8'; accepted: float32"),  # type: ignore[arg-type]
    ],
)
def test_a_workload_that_cannot_be_is_refused(workload, line):
    with pytest.raises(ConfigError) as raised:
        predict(config(), workload)
    assert str(raised.value).startswith(line)
