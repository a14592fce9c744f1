"""Tensors in what modules are given and return: in tuples, mappings, dataclasses and objects of any kind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import islice
from typing import Any

from torch import Tensor, nn

Place = tuple[int | str, ...]
"""Where in a nested value something lies: positions, keys and names of fields from the outside in."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A tensor that a module was given or returned."""

    place: Place
    number: int
    """The same of the very same tensor, wherever it turns up."""
    shape: tuple[int, ...]
    is_floating: bool
    terms: frozenset[int] = frozenset()
    """Numbers of the tensors that it is the sum of, its own among them; empty of what is given."""


_DEEPEST = 4
_MOST = 16


def tensors_in(value: Any) -> Iterator[tuple[Place, Tensor]]:
    """Yield the first tensors of a value, depth first, each with where it lies.

    Of what is neither a tuple, a list, a mapping nor a dataclass the attributes are looked through.
    """
    return islice(_walk(value, (), True), _MOST)


def first_tensor(value: Any) -> Tensor | None:
    """Return the first tensor in a value, depth first; what lies in plain containers goes before objects."""
    if isinstance(value, Tensor):
        return value
    found = next(_walk(value, (), False), None) or next(_walk(value, (), True), None)
    return found[1] if found else None


def given_to(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return everything that a call is given as one value, whose places are numbers and names."""
    return {**dict(enumerate(args)), **kwargs} if kwargs else args


def tensor_at(value: Any, place: Place) -> Tensor | None:
    """Return the tensor at a place of a value, or None where there is none; without a place the first."""
    if not place:
        return first_tensor(value)
    for key in place:
        value = dict(_children(value)).get(key)
    return value if isinstance(value, Tensor) else None


def _walk(value: Any, place: Place, with_objects: bool) -> Iterator[tuple[Place, Tensor]]:
    if isinstance(value, Tensor):
        yield place, value
    elif len(place) <= _DEEPEST:
        # An object's attributes may lead anywhere: of those within it only the plain ones count.
        within = with_objects and _is_plain(value)
        for key, child in _children(value, with_objects):
            yield from _walk(child, (*place, key), within)


def _is_plain(value: Any) -> bool:
    return isinstance(value, Mapping | tuple | list) or is_dataclass(value)


def _children(value: Any, with_objects: bool = True) -> Iterator[tuple[int | str, Any]]:
    if isinstance(value, type | nn.Module):
        return
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, tuple | list):
        yield from enumerate(value)
    elif is_dataclass(value):
        yield from ((field.name, getattr(value, field.name, None)) for field in fields(value))
    elif with_objects:
        yield from getattr(value, "__dict__", {}).items()
