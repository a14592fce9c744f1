"""Give a preset its sizes: those it was published in, or small ones with the same proportions."""

import math
from typing import Any

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.presets.classic import CLASSIC
from stabilitykit.lab.model.presets.entry import Preset, Sizes
from stabilitykit.lab.model.presets.further import FURTHER
from stabilitykit.lab.model.presets.modern import MODERN
from stabilitykit.lab.model.presets.research import RESEARCH
from stabilitykit.lab.model.wirings import ARCHS, arch_config
from stabilitykit.lab.nested import Fields, merged
from stabilitykit.lab.validation import validated

PRESETS: dict[str, Preset] = {each.name: each for each in (*CLASSIC, *MODERN, *FURTHER, *RESEARCH)}
"""Every preset by its name, in the order of their appearance."""

SCALES: dict[str, Fields] = {
    "tiny": {"d_model": 32, "n_layers": 2, "n_heads": 4, "seq_len": 32, "vocab_size": 256},
    "probe": {"d_model": 64, "n_layers": 6, "n_heads": 4, "seq_len": 64, "vocab_size": 256},
    "small": {"d_model": 256, "n_layers": 8, "n_heads": 8, "seq_len": 256, "vocab_size": 256},
    "medium": {"d_model": 768, "n_layers": 12, "n_heads": 12, "seq_len": 1024, "vocab_size": 50_304},
    "release": {},
}
"""What ``scale`` takes; ``release`` is the published size."""

DIMS = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "seq_len")
"""Sizes that can be given one by one."""

_WINDOWS_IN_CONTEXT = 4


def preset(name: str, scale: str = "probe", **dims: int) -> TransformerConfig:
    """Return the configuration of a known architecture.

    Below the published size, key and value heads, head width and feed-forward width keep their proportions,
    as far as they can; windows are a quarter of the context, so that they matter, and a stretched rope's
    context before is what its factor leaves.

    Args:
        name: One of ``PRESETS``.
        scale: One of ``SCALES``, from which ``dims`` start.
        **dims: Sizes that differ: ``vocab_size``, ``d_model``, ``n_layers``, ``n_heads``, ``n_kv_heads``,
            ``head_dim``, ``d_ff`` or ``seq_len``.

    Raises:
        ConfigError: Name, scale or size is not known, or the sizes contradict each other.
    """
    return validated(TransformerConfig, preset_fields(name, scale, **dims))


def preset_fields(name: str, scale: str = "probe", **dims: int) -> Fields:
    """Return the nested fields of ``TransformerConfig`` that a preset stands for at a size.

    Args:
        name: One of ``PRESETS``.
        scale: One of ``SCALES``.
        **dims: Sizes that differ, as in ``preset``.

    Raises:
        ConfigError: Name, scale or size is not known.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset: got {name!r}; {closest(name, PRESETS)}")
    if scale not in SCALES:
        raise ConfigError(f"scale: got {scale!r}; {closest(scale, SCALES)}")
    for dim in dims:
        if dim not in DIMS:
            raise ConfigError(f"preset.{dim}: not a size; {closest(dim, DIMS)}")
    found = PRESETS[name]
    own = {} if scale != "release" else _published(found.release)
    return _sized(found, {**SCALES[scale], **own, **dims}, shrunk=scale != "release")


def arch_names() -> tuple[str, ...]:
    """Return what ``--arch`` takes: wirings, then presets."""
    return (*ARCHS, *PRESETS)


def arch_fields(arch: str) -> Fields:
    """Return the nested fields of ``TransformerConfig`` that an architecture's name stands for.

    Args:
        arch: A wiring, or a preset, which is sized as a probe is.

    Raises:
        ConfigError: There is no such architecture; the closest names are given.
    """
    if arch in ARCHS:
        return arch_config(arch)
    if arch not in PRESETS:
        raise ConfigError(f"arch: got {arch!r}; {closest(arch, arch_names())}")
    return preset_fields(arch)


def _published(release: Sizes) -> Fields:
    return {dim: value for dim in DIMS if (value := getattr(release, dim)) is not None}


def _sized(found: Preset, dims: Fields, shrunk: bool) -> Fields:
    sizes: Fields = {dim: dims[dim] for dim in ("vocab_size", "d_model", "n_layers", "seq_len")}
    own = {dim: dims[dim] for dim in ("n_heads", "n_kv_heads", "head_dim") if dim in dims}
    sizes["attention"] = {**_heads(found.release, dims), **own} if shrunk else own
    sizes["feedforward"] = {"d_ff": dims["d_ff"]} if "d_ff" in dims else _width(found)
    if found.unit_embedding:
        sizes["initialization"] = {"embed_std": dims["d_model"] ** -0.5}
    if found.first_quarter:
        first = list(range(max(1, dims["n_layers"] // 4)))
        sizes["overrides"] = [{"layers": first, "wiring": found.first_quarter}]
    whole = merged(merged(found.fields, sizes), _windowed(found, dims["seq_len"], shrunk))
    return merged(whole, _rescaled(found, dims["seq_len"])) if shrunk else whole


def _heads(release: Sizes, dims: Fields) -> Fields:
    """Return key and value heads and head width in the release's proportions, where they are not plain."""
    n_heads, fields = dims["n_heads"], Fields()
    if release.n_kv_heads not in (None, release.n_heads):
        fields["n_kv_heads"] = _kv_heads(release, n_heads)
    if release.head_dim is not None:
        width = release.head_dim * release.n_heads / release.d_model * dims["d_model"] / n_heads
        head_dim = max(8, 8 * round(width / 8))
        if head_dim * n_heads != dims["d_model"]:
            fields["head_dim"] = head_dim
    return fields


def _rescaled(found: Preset, seq_len: int) -> Fields:
    """Return the context before rope was stretched: the whole over factor, but no less than one turn."""
    rescale = found.fields.get("position", {}).get("rescale", {})
    if "original_len" not in rescale:
        return {}
    before = max(8, round(seq_len / rescale["factor"]))
    return {"position": {"rescale": {"original_len": before}}}


def _kv_heads(release: Sizes, n_heads: int) -> int:
    """Return the divisor nearest to the release's share; several groups stay several where they can."""
    wanted = n_heads * (release.n_kv_heads or release.n_heads) / release.n_heads
    divisors = [n for n in range(1, n_heads + 1) if n_heads % n == 0]
    several = [n for n in divisors if 1 < n < n_heads]
    if release.n_kv_heads == 1:
        return 1
    return min(several or divisors, key=lambda n: abs(n - wanted))


def _width(found: Preset) -> Fields:
    """Return the feed-forward ratio, where it is not the usual one."""
    ratio = found.release.d_ff / found.release.d_model
    usual = 8 / 3 if found.fields.get("feedforward", {}).get("gated", True) else 4
    return {} if math.isclose(ratio, usual, rel_tol=0.02) else {"ratio": round(ratio, 4)}


def _windowed(found: Preset, seq_len: int, shrunk: bool) -> Fields:
    """Return the pattern with its windows; a temperature's floor shrinks with them."""
    if "pattern" not in found.fields:
        return {}
    part = max(1, seq_len // _WINDOWS_IN_CONTEXT)
    windows = [window and (part if shrunk else window) for window in found.windows]
    pattern: list[Any] = [
        {**kind, "window": window} for kind, window in zip(found.fields["pattern"], windows, strict=True)
    ]
    tempered = shrunk and "temperature_floor" in found.fields.get("attention", {})
    return {"pattern": pattern, **({"attention": {"temperature_floor": part}} if tempered else {})}
