"""JSON documents of any form: rows as objects, as lists, or as columns, wherever they stand in it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stabilitykit.store.logs.columns import NoLossError
from stabilitykit.store.logs.names import is_called_loss, may_be_loss
from stabilitykit.store.logs.trainer_state import TrainerStateRows

_LARGEST = 2**26
"""Characters a document may have: it is parsed as a whole."""
_DEEPEST = 5
_WIDEST = 32
_EVENTS = ("wall_time", "step", "value")
"""What TensorBoard's own export of one scalar holds in each row."""
_WALL_TIME = 1e9

Rows = list[dict[str, Any]]


class DocumentRows(TrainerStateRows):
    """Rows of a JSON document: Keras' ``History``, ``{"train": [...]}``, ``[[step, loss], ...]``, losses.

    Of several series in it the one that holds a loss is taken, of those the longest.
    """

    title = "JSON document"

    def _parsed(self) -> Iterator[dict[str, Any]]:
        pieces: list[str] = []
        while piece := self.characters.read():
            pieces.append(piece)
            if sum(map(len, pieces)) > _LARGEST:
                raise NoLossError(
                    f"a JSON document of more than {_LARGEST // 2**20} million characters is not read"
                )
        try:
            document = json.loads("".join(pieces))
        except RecursionError:
            raise NoLossError("the JSON document is nested too deeply") from None
        except ValueError as error:
            raise NoLossError(f"the JSON document is cut or damaged: {error}") from None
        found = list(_series(document, 0))
        if not found:
            raise NoLossError("no series of numbers is in the JSON document")
        yield from max(found, key=lambda rows: (_holds_loss(rows), len(rows)))


def _series(value: Any, depth: int) -> Iterator[Rows]:
    """Yield every series of rows in a document."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        rows = _rows(value)
        if rows:
            yield rows
    elif isinstance(value, dict):
        yield from _columns(value)
        for inner in value.values():
            if isinstance(inner, dict) or (isinstance(inner, list) and not _is_numbers(inner)):
                yield from _series(inner, depth + 1)


def _rows(values: Sequence[Any]) -> Rows:
    """Return the rows of a list of objects, of lists of one length, or of numbers."""
    if values and all(isinstance(each, dict) for each in values):
        return list(values)
    if _is_numbers(values):
        return [{"value": each} for each in values]
    width = len(values[0]) if values and isinstance(values[0], list) else 0
    if not 0 < width <= _WIDEST or not all(_is_numbers(each) and len(each) == width for each in values):
        return []
    is_export = width == len(_EVENTS) and values[0][0] > _WALL_TIME
    names = _EVENTS if is_export else [f"column {at}" for at in range(1, width + 1)]
    return [dict(zip(names, each, strict=True)) for each in values]


def _columns(document: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of an object's lists of numbers, those of one length together."""
    by_length: dict[int, dict[str, list[Any]]] = {}
    for name, values in document.items():
        if isinstance(values, list) and len(values) > 1 and _is_numbers(values):
            by_length.setdefault(len(values), {})[name] = values
    for columns in by_length.values():
        yield [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _is_numbers(values: Any) -> bool:
    """Return whether a value is a list of numbers, some of which may be missing."""
    if not isinstance(values, list) or not values:
        return False
    real = [each for each in values if each is not None]
    return bool(real) and all(isinstance(each, int | float) and not isinstance(each, bool) for each in real)


def _holds_loss(rows: Rows) -> bool:
    names = dict.fromkeys(name for row in rows[:100] for name in row)
    return any(is_called_loss(name) or may_be_loss(name) for name in names)
