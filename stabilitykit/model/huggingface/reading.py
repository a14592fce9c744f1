"""Read the fields of a transformers configuration, and refuse what the transformer here cannot express."""

from collections.abc import Mapping, Sequence
from typing import Any

from stabilitykit.errors import ConfigError, closest

Fields = dict[str, Any]
"""Nested fields of ``TransformerConfig``."""

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
}
"""Name of ours by transformers' name."""

_SPANS = {"full_attention": "full", "sliding_attention": "sliding", "chunked_attention": "chunked"}


def common(config: Any) -> Fields:
    """Return the fields that every family spells alike: sizes, and whether the head is tied."""
    return {
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        "n_layers": config.num_hidden_layers,
        # Families without a limit of their own, such as BLOOM, get the usual one.
        "seq_len": getattr(config, "max_position_embeddings", 2048),
        "head": {"tied": bool(config.tie_word_embeddings)},
    }


def heads(config: Any) -> Fields:
    """Return the numbers and the width of heads."""
    return {
        "n_heads": config.num_attention_heads,
        "n_kv_heads": getattr(config, "num_key_value_heads", None),
        "head_dim": getattr(config, "head_dim", None),
    }


def activation(name: str) -> str:
    """Return our name of an activation.

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


def theta(config: Any, kind: str | None = None, more: Sequence[str] = ()) -> float:
    """Return the base of rope's wavelengths.

    Args:
        config: The transformers configuration.
        kind: Which layers' base, where kinds have their own: ``full_attention`` or ``sliding_attention``.
        more: Parameters beside the base that the caller reads itself.

    Raises:
        ConfigError: Frequencies are rescaled in a way that the transformer here does not know.
    """
    parameters: Mapping[str, Any] = config.rope_parameters or {}
    parameters = parameters[kind] if kind else parameters
    rope_type = parameters.get("rope_type", "default")
    if rope_type != "default":
        raise ConfigError(f"huggingface.rope_parameters.rope_type: got {rope_type!r}; accepted: 'default'")
    for field, value in parameters.items():
        if field not in ("rope_type", "rope_theta", *more) and value is not None:
            raise ConfigError(f"huggingface.rope_parameters.{field}: got {value!r}; must be left out")
    return float(parameters["rope_theta"])


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
