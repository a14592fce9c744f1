"""The axes of a grid: what was typed or stands in a recipe, as values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stabilitykit.errors import ConfigError

_DIGITS = 4
"""Significant digits of a range's values, so that the same range is the same everywhere."""
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Axis:
    """What varies: a field of the probe, or several at once under labels."""

    name: str
    """The field's dotted path, or what the labels are of."""
    settings: Mapping[Any, Mapping[str, Any]]
    """For each value or label in order the fields it sets, by their dotted paths."""

    @property
    def values(self) -> tuple[Any, ...]:
        """The values or labels, in order."""
        return tuple(self.settings)


def read_axis(name: str, given: Any) -> Axis:
    """Return the axis that a recipe's entry or a typed text describes.

    Args:
        name: The field's dotted path, or a name for labels.
        given: ``"1e-3:1:13"`` (from, to, how many, evenly in the logarithm), ``"a,b,c"``, a list of values,
            or a mapping of labels to the fields that each sets.

    Raises:
        ConfigError: It is none of these, holds nothing, or a value twice.
    """
    if isinstance(given, Mapping):
        return Axis(name, {str(label): _fields(name, label, fields) for label, fields in given.items()})
    values = _values(name, given)
    if not values:
        raise ConfigError(f"{name}: holds no value; a list such as 1e-3,1e-2 or a range such as 1e-3:1:13")
    twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if twice:
        raise ConfigError(f"{name}: holds {twice[0]!r} twice; every value must stand there once")
    return Axis(name, {value: {name: value} for value in values})


def read_seeds(given: Any) -> tuple[int, ...]:
    """Return the seeds of a count (``3`` is 0, 1, 2) or of a list.

    Raises:
        ConfigError: It is neither, or a seed stands there twice.
    """
    parts = given.split(",") if isinstance(given, str) else given
    if isinstance(parts, list) and len(parts) == 1 and isinstance(given, str):
        parts = parts[0]
    try:
        seeds = (
            tuple(range(int(parts))) if not isinstance(parts, list) else tuple(int(each) for each in parts)
        )
    except (TypeError, ValueError):
        seeds = ()
    if not seeds or len(seeds) > _MOST or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError(
            f"seeds: got {given!r}; a count such as 3, or different whole numbers such as 0,1,5"
        )
    return seeds


def _fields(name: str, label: Any, fields: Any) -> dict[str, Any]:
    if not isinstance(fields, Mapping):
        raise ConfigError(f"{name}: {label}: got {fields!r}; must be a mapping of fields to values")
    return {str(path): value for path, value in fields.items()}


def _values(name: str, given: Any) -> list[Any]:
    if isinstance(given, str) and given.count(":") == 2:
        return _log_range(name, given)
    if isinstance(given, str):
        return [_parsed(part.strip()) for part in given.split(",") if part.strip()]
    if isinstance(given, Sequence):
        return [_parsed(value) if isinstance(value, str) else value for value in given]
    return [given]


def _parsed(text: str) -> Any:
    """Return a number for what reads as one: 1e-2 and 0.01 are the same value."""
    if text in ("null", "true", "false"):
        return {"null": None, "true": True, "false": False}[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _log_range(name: str, text: str) -> list[float]:
    try:
        low, high, count = (
            kind(part) for kind, part in zip((float, float, int), text.split(":"), strict=True)
        )
    except ValueError:
        raise ConfigError(f"{name}: got {text!r}; a range is FROM:TO:COUNT, such as 1e-3:1:13") from None
    if not (0 < low < high < math.inf and 2 <= count <= _MOST):
        raise ConfigError(f"{name}: got {text!r}; must have 0 < FROM < TO and a COUNT of at least 2")
    return [float(f"{value:.{_DIGITS}g}") for value in np.geomspace(low, high, count)]
