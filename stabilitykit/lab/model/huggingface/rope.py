"""Read transformers' ``rope_parameters``: base, share of the head, and how frequencies are stretched."""

import math
from collections.abc import Mapping
from typing import Any

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.nested import Fields

_OURS = {
    "factor": "factor",
    "original_max_position_embeddings": "original_len",
    "low_freq_factor": "low_freq",
    "high_freq_factor": "high_freq",
    "beta_slow": "beta_slow",
    "beta_fast": "beta_fast",
    "truncate": "truncate",
    "short_factor": "short",
    "long_factor": "long",
    "attention_factor": "attention_factor",
}
"""Field of ours by transformers' parameter."""

_READ: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "yarn": (
        "factor",
        "original_max_position_embeddings",
        "beta_slow",
        "beta_fast",
        "truncate",
        "attention_factor",
        "mscale",
        "mscale_all_dim",
    ),
    "longrope": (
        "factor",
        "original_max_position_embeddings",
        "short_factor",
        "long_factor",
        "attention_factor",
    ),
}
"""The parameters that each type reads."""

_ALWAYS = ("rope_type", "type", "rope_theta", "partial_rotary_factor")


def rope(config: Any, layout: str = "half", partial: bool = False, more: tuple[str, ...] = ()) -> Fields:
    """Return the section ``position`` of a family with one rope for all its layers.

    Args:
        config: The transformers configuration.
        layout: Which features are a pair: ``half`` or ``interleaved``.
        partial: Whether the family's plain rope knows ``partial_rotary_factor``.
        more: Parameters that the caller reads itself.

    Raises:
        ConfigError: Frequencies are stretched in a way that the transformer here does not know.
    """
    parameters = config.rope_parameters or {}
    share = parameters.get("partial_rotary_factor")
    fields = {"kind": "rope", "layout": layout, "theta": float(parameters["rope_theta"])}
    if share is not None and share != 1:
        # Only the families that say so slice the head; the others would fail on it.
        if not partial:
            raise ConfigError(
                f"huggingface.rope_parameters.partial_rotary_factor: got {share!r}; must be left out"
            )
        fields["rotary_fraction"] = share
    rescale = rescaling(config, parameters, more)
    return {**fields, "rescale": rescale} if rescale else fields


def rope_by_span(config: Any) -> Fields:
    """Return the section ``position`` of a family whose sliding layers have a rope of their own.

    Args:
        config: The transformers configuration, with parameters for ``full_attention`` and
            ``sliding_attention``.

    Raises:
        ConfigError: Frequencies are stretched in a way that the transformer here does not know.
    """
    full, local = (config.rope_parameters[kind] for kind in ("full_attention", "sliding_attention"))
    # transformers looks for it beside the kinds of layers, where it never is.
    full, local = ({**each, "truncate": True} if "truncate" in each else each for each in (full, local))
    fields: Fields = {"kind": "rope", "theta": float(full["rope_theta"])}
    rescale, other = rescaling(config, full), rescaling(config, local)
    slides = "sliding_attention" in config.layer_types
    if slides and local["rope_theta"] != full["rope_theta"]:
        fields["theta_local"] = float(local["rope_theta"])
    if rescale:
        fields["rescale"] = rescale
    if slides and other != rescale:
        if other:
            got = local.get("rope_type")
            raise ConfigError(
                f"huggingface.rope_parameters.sliding_attention.rope_type: got {got!r}; "
                "accepted: 'default', or the parameters of full_attention"
            )
        fields["rescale_local"] = False
    return fields


def rescaling(config: Any, parameters: Mapping[str, Any], more: tuple[str, ...] = ()) -> Fields:
    """Return the section ``position.rescale``; empty where frequencies are plain.

    Args:
        config: The transformers configuration.
        parameters: Its rope parameters, of all layers or of one kind.
        more: Parameters that the caller reads itself.

    Raises:
        ConfigError: The type or a parameter is not known.
    """
    kind = parameters.get("rope_type", "default")
    if kind not in _READ:
        raise ConfigError(f"huggingface.rope_parameters.rope_type: got {kind!r}; {closest(str(kind), _READ)}")
    for name, value in parameters.items():
        if name not in (*_ALWAYS, *_READ[kind], *more) and value is not None:
            raise ConfigError(f"huggingface.rope_parameters.{name}: got {value!r}; must be left out")
    if kind == "default":
        return {}
    given = {name: parameters.get(name) for name in _READ[kind] if parameters.get(name) is not None}
    fields = {"kind": kind, **{_OURS[name]: value for name, value in given.items() if name in _OURS}}
    if kind == "dynamic":
        fields["original_len"] = config.max_position_embeddings
    if kind in ("yarn", "longrope") and "factor" not in fields:
        fields["factor"] = max(1.0, config.max_position_embeddings / fields["original_len"])
    if kind == "yarn" and "attention_factor" not in fields:
        scales = [float(given.get(name) or 0) for name in ("mscale", "mscale_all_dim")]
        if all(scales):
            above, below = (0.1 * scale * math.log(fields["factor"]) + 1 for scale in scales)
            fields["attention_factor"] = above / below
    return fields


def context_length(config: Any, limit: int) -> int:
    """Return the longest sequence: yarn and dynamic are also written beside the limit before them.

    Args:
        config: The transformers configuration.
        limit: Its own limit, in tokens.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    original = {"yarn": parameters.get("original_max_position_embeddings"), "dynamic": limit}
    before = original.get(parameters.get("rope_type", "default"))
    stretched = before and int(before * (parameters.get("factor") or 1))
    return max(limit, stretched or 0)
