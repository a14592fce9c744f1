"""The lecture's comparisons: one architecture, varied in one thing."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stabilitykit.lab.cost.cost import Cost
from stabilitykit.lab.cost.measured.norm_kernels import NormKernels
from stabilitykit.lab.cost.measured.variant import Variant
from stabilitykit.lab.cost.peaks import Peaks
from stabilitykit.lab.cost.workload import Mode
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.nested import Fields, merged
from stabilitykit.lab.validation import validated


class Change(NamedTuple):
    """What one variant of a comparison changes."""

    fields: Fields
    """Nested fields of the architecture."""
    norms: NormKernels = "model"
    watched: bool = False


class Comparison(NamedTuple):
    """One thing that is varied."""

    about: str
    changes: Callable[[TransformerConfig], dict[str, Change]]
    """What each variant changes, by its label; the first is what the others are compared with."""
    mode: Mode | None = None
    """The only mode that it is of; None for all."""
    growing: bool = False
    """Whether it is of a cache that grows."""


def variants(name: str, fields: Mapping[str, Any]) -> list[Variant]:
    """Return the variants of a ready comparison.

    Args:
        name: One of ``COMPARISONS``.
        fields: Nested fields of the architecture that is varied.

    Raises:
        ConfigError: The architecture cannot be varied so; the field is named.
    """
    base = validated(TransformerConfig, fields)
    return [
        Variant(label, validated(TransformerConfig, merged(fields, each.fields)), each.norms, each.watched)
        for label, each in COMPARISONS[name].changes(base).items()
    ]


def compared(first: Cost, other: Cost, peaks: Peaks | None) -> dict[str, float | None]:
    """Return what another model costs for each unit of the first one's cost.

    Args:
        first: The model that is compared with.
        other: The other.
        peaks: The machine's; without them there is no ratio of times.
    """
    pairs: dict[str, tuple[float, float]] = {
        "parameters": (other.parameters, first.parameters),
        "flops": (other.total.flops, first.total.flops),
        "bytes": (other.total.bytes, first.total.bytes),
        "memory": (other.memory.total, first.memory.total),
        "kv_cache": (other.memory.kv_cache, first.memory.kv_cache),
    }
    if peaks is not None:
        pairs["bound_s"] = (other.seconds(peaks), first.seconds(peaks))
    return {name: one / by if by else None for name, (one, by) in pairs.items()}


def _changes(fields: Mapping[str, Fields]) -> dict[str, Change]:
    return {label: Change(each) for label, each in fields.items()}


def _norms(config: TransformerConfig) -> dict[str, Change]:
    kinds: dict[str, Fields] = {
        "LayerNorm": {"norm": {"kind": "layernorm", "gain": True, "bias": True}},
        "RMSNorm": {"norm": {"kind": "rmsnorm", "gain": True, "bias": False}},
    }
    kernels: dict[NormKernels, str] = {"model": "", "library": ", torch's", "composite": ", composite"}
    return {
        f"{kind}{told}": Change(fields, norms)
        for norms, told in kernels.items()
        for kind, fields in kinds.items()
    }


def _biases(config: TransformerConfig) -> dict[str, Change]:
    def all_of(value: bool) -> Fields:
        return {
            "attention": {"qkv_bias": value, "out_bias": value},
            "feedforward": {"bias": value},
            "head": {"bias": value},
        }

    return _changes({"no biases": all_of(False), "biases": all_of(True)})


def _kv_heads(config: TransformerConfig) -> dict[str, Change]:
    heads = config.attention.n_heads
    # The divisor next to a quarter: several heads of queries to one of keys, several of these.
    some = min((n for n in range(1, heads + 1) if heads % n == 0), key=lambda n: abs(n - heads / 4))
    named = {f"MHA {heads}": heads, f"GQA {some}": some, "MQA 1": 1}
    return _changes({label: {"attention": {"n_kv_heads": n}} for label, n in named.items()})


def _windows(config: TransformerConfig) -> dict[str, Change]:
    window = max(1, config.seq_len // 4)
    sliding = {"span": "sliding", "window": window}
    return _changes(
        {
            "full": {"pattern": [{}]},
            f"sliding {window}": {"pattern": [sliding]},
            "3 sliding : 1 full": {"pattern": [sliding] * 3 + [{}]},
        }
    )


def _orders(config: TransformerConfig) -> dict[str, Change]:
    return _changes(
        {
            "serial": {"order": "serial", "shared_norm": False},
            "parallel": {"order": "parallel", "shared_norm": False},
            "parallel, 1 norm": {"order": "parallel", "shared_norm": True},
        }
    )


def _placements(config: TransformerConfig) -> dict[str, Change]:
    return _changes({name: {"wiring": name} for name in ("pre_norm", "post_norm", "double_norm")})


def _gates(config: TransformerConfig) -> dict[str, Change]:
    own = {"d_ff": None, "ratio": None}
    return _changes(
        {
            "GELU, 4 d": {"feedforward": {"gated": False, "activation": "gelu", **own}},
            "SwiGLU, 8/3 d": {"feedforward": {"gated": True, "activation": "silu", **own}},
        }
    )


def _softcaps(config: TransformerConfig) -> dict[str, Change]:
    return _changes(
        {
            "no cap": {"attention": {"softcap": None}},
            "cap 50": {"attention": {"softcap": 50.0}},
            "matrix by matrix": {"attention": {"softcap": None, "implementation": "eager"}},
        }
    )


def _qk_norms(config: TransformerConfig) -> dict[str, Change]:
    labels = {"none": "no QK-norm", "head": "each head", "full": "full width"}
    return _changes({label: {"attention": {"qk_norm": kind}} for kind, label in labels.items()})


def _monitors(config: TransformerConfig) -> dict[str, Change]:
    return {"alone": Change({}), "watched": Change({}, watched=True)}


COMPARISONS: dict[str, Comparison] = {
    "norm": Comparison("LayerNorm or RMSNorm", _norms),
    "bias": Comparison("with and without biases", _biases),
    "kv_heads": Comparison("MHA, GQA and MQA where a cache grows", _kv_heads, "decode", growing=True),
    "window": Comparison("full or sliding attention", _windows),
    "order": Comparison("serial or parallel branches", _orders),
    "placement": Comparison("where the norms stand", _placements),
    "glu": Comparison("a plain or a gated feed-forward", _gates),
    "softcap": Comparison("capped logits, which leave the fused kernel", _softcaps),
    "qk_norm": Comparison("norms of queries and keys", _qk_norms),
    "monitor": Comparison("training alone, and watched by this toolkit", _monitors, "train"),
}
"""What ``--compare`` takes beside architectures."""

GROWTH = (1, 4, 16, 64)
"""By how much a growing cache grows."""
