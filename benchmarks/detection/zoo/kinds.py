"""The kinds of training, and what one training is."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Training:
    """A model and how its loss is made at each step."""

    model: nn.Module
    loss: Callable[[int], Tensor]
    """Returns the loss of a step, with its graph."""
    lr: float = 1e-3
    clip: float = 1.0
    watched: nn.Module | None = None
    """What is watched, where that is not the whole."""
    beside: Callable[[int], None] = lambda step: None
    """What else is trained before each step, such as the other side of a game."""


Kind = Callable[[torch.Generator], Training]

KINDS: dict[str, Kind] = {}
"""All kinds by name, in the order of the tables."""
LOOKED_AT: set[str] = set()
"""Kinds that limits may be chosen on; the others only judge them."""


def kind(name: str, looked_at: bool = False) -> Callable[[Kind], Kind]:
    """Register a kind under a name.

    Args:
        name: What is trained, and what makes its loss noisy.
        looked_at: Whether limits may be chosen on it.
    """

    def register(make: Kind) -> Kind:
        KINDS[name] = make
        if looked_at:
            LOOKED_AT.add(name)
        return make

    return register
