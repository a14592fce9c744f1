"""What one block hands on to the next: the streams that run through a stack."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from stabilitykit.observe.call import Call
from stabilitykit.observe.handed import Handed, Place


@dataclass(frozen=True, slots=True)
class Stream:
    """A tensor that every block is given, changes and hands on."""

    name: str
    """The argument's name; empty for the stack's main or only stream."""
    given: Place = ()
    """Where it is in what a block is given; empty for the first tensor."""
    returned: Place = ()
    """Where it is in what a block returns; empty for the first tensor."""


MAIN = (Stream(""),)
"""Of a stack through which the first tensor runs and no other."""


def streams_of(group: Sequence[Call]) -> tuple[Stream, ...]:
    """Return the streams on which each call takes up what the one before it gave; none where they do not."""
    if len(group) < 2:
        return MAIN
    shared = set.intersection(*({*_links(one, other)} for one, other in pairwise(group)))
    if not shared:
        return ()
    places = [handed.place for handed in group[1].given]
    found = sorted(shared, key=lambda link: (not link.is_first, places.index(link.given), link.returned))
    main, others = found[0], [link for link in found[1:] if link.given != found[0].given]
    streams = [Stream("") if main.is_first else Stream("", main.given, main.returned)]
    names = {"": None}
    for link in others:
        name = _argument(group[0], link.given)
        if link.width == main.width and link.returned != main.returned and name not in names:
            names[name] = None
            streams.append(Stream(name, link.given, link.returned))
    return tuple(streams)


@dataclass(frozen=True, slots=True)
class _Link:
    returned: Place
    given: Place
    is_first: bool
    width: int = field(compare=False)


def _links(one: Call, other: Call) -> list[_Link]:
    found = []
    for i, out in enumerate(one.returned):
        for j, taken in enumerate(other.given):
            if out.number == taken.number and _is_line(out) and (i == j == 0 or _is_new(one, out)):
                found.append(_Link(out.place, taken.place, i == j == 0, out.shape[-1] if out.shape else 0))
    return found


def _is_line(handed: Handed) -> bool:
    return handed.is_floating and len(handed.shape) > 1


def _is_new(call: Call, out: Handed) -> bool:
    """Return whether a call did not merely pass a tensor on."""
    return all(out.number != taken.number for taken in call.given)


def _argument(call: Call, place: Place) -> str:
    """Return the name of the argument in which a tensor is given."""
    key = place[0]
    if isinstance(key, int):
        names = list(inspect.signature(call.module.forward).parameters)
        key = names[key] if key < len(names) else f"stream{key}"
    return str(key).lower()
