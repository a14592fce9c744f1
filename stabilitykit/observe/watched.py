"""The trainable parameters that are watched, in the order of their groups."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Watched:
    """Parameters, and which group each belongs to."""

    parameters: tuple[nn.Parameter, ...]
    groups: tuple[str, ...]
    """Names of the groups, in forward order."""
    group_of: NDArray[np.intp]
    """The place in ``groups`` of each parameter's group."""
    places: NDArray[np.intp]
    """The place of each parameter among all that are watched."""

    @classmethod
    def of(cls, groups: Mapping[str, Sequence[nn.Parameter]]) -> "Watched":
        """Return the parameters of some groups."""
        places = [place for place, members in enumerate(groups.values()) for _ in members]
        parameters = tuple(p for members in groups.values() for p in members)
        return cls(parameters, tuple(groups), np.array(places, dtype=np.intp), np.arange(len(parameters)))

    def among(self, parameters: Collection[nn.Parameter]) -> "Watched":
        """Return those that are among ``parameters``, with the groups of all."""
        wanted = {id(p) for p in parameters}
        kept = [place for place, p in enumerate(self.parameters) if id(p) in wanted]
        return self.picked(np.array(kept, dtype=np.intp))

    def picked(self, order: NDArray[np.intp]) -> "Watched":
        """Return some of them, in an order."""
        chosen = tuple(self.parameters[at] for at in order.tolist())
        return Watched(chosen, self.groups, self.group_of[order], self.places[order])

    @classmethod
    def joined(cls, parts: Sequence["Watched"]) -> "Watched":
        """Return several selections of the same parameters as one."""
        parameters = tuple(p for part in parts for p in part.parameters)
        group_of, places = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("group_of", "places")
        )
        return cls(parameters, parts[0].groups, group_of, places)
