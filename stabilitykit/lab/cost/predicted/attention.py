"""The attention sublayer's operations. No T×T tensor where the fused kernel runs."""

from collections.abc import Iterator

from stabilitykit.lab.cost.operation import Operation, Work
from stabilitykit.lab.cost.predicted.traffic import Case, dropout, factor, linear, norm, pointwise
from stabilitykit.lab.cost.workload import dense_pairs, visible_pairs
from stabilitykit.lab.model.cache import cached_tokens
from stabilitykit.lab.model.scores import takes_fused
from stabilitykit.lab.model.sections import LayerKind

_SOFTMAX, _SOFTMAX_BACK = 5, 4
"""FLOPs a logit: maximum, subtract, exponential, sum, divide; and P∘(dP − Σ P∘dP)."""
_CAP, _CAP_BACK = 3, 3
"""Divide, tanh, multiply; and 1 − tanh², times the gradient."""


def attention(case: Case, kind: LayerKind, keeps_input: bool = True) -> Iterator[Operation]:
    """Yield what one attention sublayer does, in data order.

    Args:
        case: Model and workload.
        kind: The layer's kind.
        keeps_input: Whether what it reads is kept by it, rather than by an operation before it.
    """
    config, section = case.config, case.config.attention
    d, n = config.d_model, case.tokens
    heads, kv = section.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    for i, (name, width) in enumerate((("q", heads), ("k", kv), ("v", kv))):
        keeps = keeps_input and i == 0
        yield from linear(case, f"attn.{name}_proj", d, width, section.qkv_bias, keeps)
    if section.clip_qkv is not None:
        yield pointwise(case, "attn.clip", n * (heads + 2 * kv), flops=2, back=(1, 2, 1), keeps=1)
    yield from _head_norms(case, kind)
    if config.position.kind == "rope" and kind.position:
        yield _rope(case, heads + kv)
    if section.temperature_floor and (not kind.position or section.temperature_layers == "all"):
        yield pointwise(case, "attn.temperature", n * heads, back=(1, 1, 1))
    yield from _scores(case, kind)
    if section.head_scale:
        yield factor(case, "attn.head_scale", n * heads, section.n_heads)
    if section.out_norm:
        yield norm(case, "attn.out_norm", n, heads, config.norm_of("attn"), keeps=not is_fused(case))
    kept = section.out_norm or section.head_scale or not is_fused(case)
    yield from linear(case, "attn.o_proj", heads, d, section.out_bias, keeps=kept)


def is_fused(case: Case) -> bool:
    """Return whether attention runs in torch's fused kernel, which writes no logits to memory.

    On the CPU that has no dropout and no bias that learns; where it cannot, torch goes matrix by matrix.
    """
    section, training = case.config.attention, case.workload.mode == "train"
    learns = case.config.position.kind == "t5_bias"
    return takes_fused(section) and not (training and (section.dropout > 0 or learns))


def logit_bias(case: Case) -> Iterator[Operation]:
    """Yield the bias on attention logits, which is made once for all layers."""
    config, workload = case.config, case.workload
    if config.position.kind in ("alibi", "t5_bias"):
        n = config.attention.n_heads * workload.queries * workload.length
        learned = config.position.buckets * config.attention.n_heads
        shared = learned if config.position.kind == "t5_bias" else 0
        yield pointwise(
            case, "logit_bias", n, reads=0, shared=shared, back=(1, 1, 0) if shared else (0, 0, 0)
        )


def _head_norms(case: Case, kind: LayerKind) -> Iterator[Operation]:
    config, section = case.config, case.config.attention
    if section.qk_norm == "none" or not kind.qk_norm:
        return
    names = {"q_norm": section.n_heads, "k_norm": config.n_kv_heads}
    if section.v_norm:
        names["v_norm"] = config.n_kv_heads
    for name, heads in names.items():
        full = section.qk_norm == "full"
        rows, width = (1, heads * config.head_dim) if full else (heads, config.head_dim)
        per_head = section.qk_gain_per_head
        gains = heads if per_head else 1
        own = config.qk_norm.model_copy(update={"gain": True}) if per_head else config.qk_norm
        yield norm(case, f"attn.{name}", case.tokens * rows, width, own, gains=gains)


def _rope(case: Case, width: int) -> Operation:
    """Return the turn of queries and keys: 3 FLOPs a rotated feature, forward as backward."""
    s, n, turned = case.size, case.tokens, case.config.rotary_dim
    rotated = n * width // case.config.head_dim * turned
    # Cosines of every feature's angle, sines of every pair's.
    table = case.workload.queries * (turned + turned // 2)
    work = Work(3 * rotated, 3 * rotated, s * (n * width + table), s * n * width)
    return Operation("attn.rope", "element-wise", work, work)


def _scores(case: Case, kind: LayerKind) -> Iterator[Operation]:
    """Yield scores, softmax and weighted sum; between them stand T×T tensors unless the kernel is fused."""
    config, workload, s = case.config, case.workload, case.size
    section, fused = config.attention, is_fused(case)
    each, k = workload.batch * section.n_heads, config.head_dim
    pairs = each * visible_pairs(kind, workload)
    dense = each * dense_pairs(kind, config, workload)
    query = case.tokens * section.n_heads * k
    keys = cached_tokens(kind, workload.length) if workload.mode == "decode" else workload.length
    copied = not fused and workload.mode != "decode" and config.n_kv_heads < section.n_heads
    kv_heads = section.n_heads if copied else config.n_kv_heads
    key = workload.batch * keys * kv_heads * k
    if copied:
        yield _repeated(case, key)
    matrix = 0 if fused else s * dense
    flops, dense_flops = 2 * pairs * k, 2 * dense * k
    q_k = Work(flops, dense_flops, s * (query + key), matrix)
    # dq = dS·k and dk = dSᵀ·q; what a fused kernel computes anew of the forward is not counted.
    dq_dk = Work(2 * flops, 2 * dense_flops, s * (query + key) + 2 * matrix, s * (query + key))
    yield Operation("attn.scores", "contraction", q_k, dq_dk, saved=s * (query + key))
    yield _softmax(case, kind, pairs, dense, fused)
    if not fused:
        yield from dropout(case, "attn.dropout", dense, section.dropout)
    p_v = Work(flops, dense_flops, s * key + matrix, s * query)
    # dv = Pᵀ·dy and dP = dy·vᵀ; the fused kernel also reads its output, in place of the matrix.
    read = s * (query + key) + (s * query if fused else s * query + matrix)
    dv_dp = Work(2 * flops, 2 * dense_flops, read, s * key + matrix)
    kept = s * (key + query) + 4 * case.tokens * section.n_heads if fused else s * key
    if section.dropout and workload.mode == "train":
        # Beside the softmax's own result: what dropout left of it.
        kept += matrix
    yield Operation("attn.weighted_sum", "contraction", p_v, dv_dp, saved=kept)


def _repeated(case: Case, key: int) -> Operation:
    """Return the copies of keys and values for every query head, which matrix by matrix needs."""
    s, shared = case.size, 2 * key * case.config.n_kv_heads // case.config.attention.n_heads
    forward, backward = Work(0, 0, s * shared, 2 * s * key), Work(2 * key, 2 * key, 2 * s * key, s * shared)
    return Operation("attn.repeat_kv", "element-wise", forward, backward)


def _softmax(case: Case, kind: LayerKind, pairs: int, dense: int, fused: bool) -> Operation:
    """Return everything between the products: cap, bias, mask, softmax."""
    config, section, workload = case.config, case.config.attention, case.workload
    biased = kind.position and config.position.kind in ("alibi", "t5_bias")
    bias = section.n_heads * workload.queries * workload.length if biased else 0
    capped = section.softcap is not None
    flops = pairs * (_SOFTMAX + _CAP * capped + biased)
    back = pairs * (_SOFTMAX_BACK + _CAP_BACK * capped)
    if fused:
        statistics = 4 * case.tokens * section.n_heads
        forward = Work(flops, flops, case.size * bias, statistics)
        return Operation("attn.softmax", "normalisation", forward, Work(back, back, statistics, 0))
    # At least in float32; the softmax's result is kept, with a cap also the tanh, and a copy in a half type.
    wide = max(case.size, 4)
    kept = dense * (wide * (1 + capped) + (case.size if case.size < wide else 0))
    forward = Work(flops, flops, wide * dense + case.size * bias, wide * dense)
    backward = Work(back, back, wide * dense * (2 + capped), wide * dense)
    return Operation("attn.softmax", "normalisation", forward, backward, saved=kept)
