"""Read the fields of a transformers configuration, and refuse what the transformer here cannot express."""

from collections.abc import Sequence
from typing import Any

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.model.huggingface.rope import context_length
from stabilitykit.lab.nested import Fields

_ACTIVATIONS: dict[str, Fields] = {
    "gelu": {"activation": "gelu"},
    "gelu_new": {"activation": "gelu_tanh"},
    "gelu_pytorch_tanh": {"activation": "gelu_tanh"},
    "gelu_fast": {"activation": "gelu_tanh"},
    "leaky_relu": {"activation": "leaky_relu"},
    "linear": {"activation": "identity"},
    "mish": {"activation": "mish"},
    "quick_gelu": {"activation": "silu", "alpha": 1.702},
    "relu": {"activation": "relu"},
    "relu2": {"activation": "relu2"},
    "sigmoid": {"activation": "sigmoid"},
    "silu": {"activation": "silu"},
    "swish": {"activation": "silu"},
    "tanh": {"activation": "tanh"},
    "xielu": {"activation": "xielu"},
}
"""Fields of ours by transformers' name."""

_SPANS = {"full_attention": "full", "sliding_attention": "sliding", "chunked_attention": "chunked"}


def common(config: Any) -> Fields:
    """Return the fields that every family spells alike: sizes, and whether the head is tied."""
    return {
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        "n_layers": config.num_hidden_layers,
        # Families without a limit of their own, such as BLOOM, get the usual one.
        "seq_len": context_length(config, getattr(config, "max_position_embeddings", 2048)),
        "head": {"tied": bool(config.tie_word_embeddings)},
    }


def heads(config: Any) -> Fields:
    """Return the numbers and the width of heads."""
    return {
        "n_heads": config.num_attention_heads,
        "n_kv_heads": getattr(config, "num_key_value_heads", None),
        "head_dim": getattr(config, "head_dim", None),
    }


def activation(name: str) -> Fields:
    """Return the feed-forward fields of an activation.

    Raises:
        ConfigError: There is none.
    """
    if name not in _ACTIVATIONS:
        raise ConfigError(f"huggingface.activation: got {name!r}; {closest(name, _ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def require(config: Any, **accepted: Any) -> None:
    """Check fields that have only one value here.

    Args:
        config: The transformers configuration; a field it lacks counts as accepted.
        **accepted: The only accepted value, by field.

    Raises:
        ConfigError: A field has another value.
    """
    for field, only in accepted.items():
        got = getattr(config, field, only)
        if got != only:
            raise ConfigError(f"huggingface.{field}: got {got!r}; accepted: {only!r}")


def layers(config: Any, **by_span: Fields) -> list[Fields]:
    """Return the pattern of layers, in its shortest form.

    Args:
        config: The transformers configuration, with ``layer_types`` or at most one window for all layers.
        **by_span: More fields of the layers of a span, ``full``, ``sliding`` or ``chunked``.
    """
    types = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    windows = {
        "full": None,
        "sliding": getattr(config, "sliding_window", None),
        "chunked": getattr(config, "attention_chunk_size", None),
    }
    spans = [_span(kind) for kind in types]
    return repeating([{"span": s, "window": windows[s], **by_span.get(s, {})} for s in spans])


def one_window(config: Any) -> list[Fields]:
    """Return the pattern of a family with one window for all layers, or none."""
    window = config.sliding_window
    return [{"span": "full" if window is None else "sliding", "window": window}]


def every(pattern: Sequence[Fields], n_layers: int) -> list[Fields]:
    """Return the kind of every layer that a pattern gives."""
    return [pattern[i % len(pattern)] for i in range(n_layers)]


def repeating(kinds: Sequence[Fields]) -> list[Fields]:
    """Return the shortest list whose repetition begins with the given one."""
    for period in range(1, len(kinds)):
        if all(kind == kinds[i % period] for i, kind in enumerate(kinds)):
            return list(kinds[:period])
    return list(kinds)


def _span(kind: str) -> str:
    if kind not in _SPANS:
        raise ConfigError(f"huggingface.layer_types: got {kind!r}; {closest(kind, _SPANS)}")
    return _SPANS[kind]
