"""JSON objects as rows: nested ones flattened, numbers found in texts too."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stabilitykit.store.logs.names import is_validation, splits_rows
from stabilitykit.store.logs.numbers import is_count, number
from stabilitykit.store.logs.omissions import Omissions, shortened
from stabilitykit.store.logs.row_source import Row, Sample, Selection

_DEEPEST = 3
"""Levels of nesting that are looked into: ``{"train": {"loss": …}}`` is the column ``train/loss``."""
_SAMPLED = 2_000


class ObjectPicker:
    """Picks what was selected from one object after the other.

    Args:
        omissions: Where it counts what it passes over.
        unit: What an object is, for messages: ``line``.
    """

    def __init__(self, omissions: Omissions, unit: str) -> None:
        self._omissions = omissions
        self._unit = unit
        self._names: tuple[str, ...] = ()
        self._paths: list[list[tuple[str, ...]]] = []
        self._step: int | None = None
        self._splits: tuple[str, ...] = ()

    def sample(self, objects: Sequence[Mapping[str, Any]]) -> Sample:
        """Return which columns some objects have, and the numbers in them."""
        names: dict[str, None] = {}
        rows = []
        for each in objects[:_SAMPLED]:
            flat = dict(_flat(each, "", 1))
            names |= dict.fromkeys(flat)
            if not any(splits_rows(name) and _is_text_of_validation(value) for name, value in flat.items()):
                rows.append({name: value for name in flat if (value := _number(flat[name])) is not None})
        self._splits = tuple(name for name in names if "/" not in name and splits_rows(name))
        return Sample(tuple(names), rows)

    def select(self, selection: Selection) -> None:
        """Say which columns rows shall hold."""
        self._names, self._step = selection.names, selection.step
        self._paths = [list(_paths(name))[1:] for name in selection.names]

    def pick(self, document: Mapping[str, Any], number_of_it: int) -> Row | None:
        """Return an object's row, or None where it has none of it, or something that is no number.

        Args:
            document: The object.
            number_of_it: Its line or place, for messages.
        """
        row: list[Any] = [document.get(name) for name in self._names]
        for at, value in enumerate(row):
            if type(value) is float:
                continue
            if value is None:
                value = next((v for path in self._paths[at] if (v := _at(document, path)) is not None), None)
            try:
                row[at] = _converted(value, whole=at == self._step)
            except (ValueError, OverflowError):
                shown = shortened(str(value))
                self._omissions.cannot_read(
                    f"{self._unit} {number_of_it}: {self._names[at]!r} holds {shown!r}; accepted: a number"
                )
                return None
        if self._splits and any(_is_text_of_validation(document.get(name)) for name in self._splits):
            self._omissions.count("rows of validation passed over")
            return None
        return None if row.count(None) == len(row) else row


def parsed(text: str) -> dict[str, Any] | None:
    """Return the object that a line is, or None where it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _converted(value: Any, whole: bool) -> float | None:
    if value is None or isinstance(value, float):
        return value
    if type(value) is int:
        return float(value)
    if isinstance(value, str):
        return number(value, whole)
    raise ValueError


def _number(value: Any) -> float | None:
    try:
        return _converted(value, whole=isinstance(value, str) and is_count(value))
    except (ValueError, OverflowError):
        return None


def _is_text_of_validation(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 100 and is_validation(value)


def _flat(document: Mapping[str, Any], above: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            if depth < _DEEPEST:
                yield from _flat(value, f"{above}{name}/", depth + 1)
        elif not isinstance(value, list):
            yield above + name, value


def _paths(name: str) -> Iterator[tuple[str, ...]]:
    """Yield the ways in which a name may be nested: keys may hold slashes of their own."""
    yield (name,)
    parts = name.split("/")
    for at in range(1, len(parts)):
        first, rest = "/".join(parts[:at]), "/".join(parts[at:])
        for path in _paths(rest) if len(parts) <= 2 * _DEEPEST else ():
            yield (first, *path)


def _at(document: Any, path: Sequence[str]) -> Any:
    for key in path:
        if not isinstance(document, dict):
            return None
        document = document.get(key)
    return None if isinstance(document, dict | list) else document
