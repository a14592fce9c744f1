"""Runs whose loss is made up, and labels without a run."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.alarms.labels import Event, Kind, Label


@dataclass(frozen=True)
class Made:
    """As much of a run as labels and scores look at."""

    name: str
    loss: Any
    unigram: Any
    lr: float = 1e-2
    seed: int = 0
    arm: str = "boundary"
    arch: str = "pre_norm"
    n_layers: int = 4
    warmup: int = 0
    optimizer: str = "adamw"
    family: tuple[Any, ...] = ("base",)
    config: Any = field(
        default_factory=lambda: {
            "data": {"kind": "text"},
            "model": {"attention": {"qk_norm": "none"}},
            "trainer": {"clip": 1.0},
        }
    )

    def until(self, n):
        return replace(self, loss=self.loss[:n], unigram=self.unigram[:n])

    @property
    def steps(self):
        return np.arange(len(self.loss))

    @property
    def setting(self):
        return (*self.family, self.lr, self.warmup)


def made(name, excess, unigram=3.0, **fields):
    """A run whose loss is this much above a unigram cross-entropy that may vary by step."""
    excess = np.asarray(excess, float)
    unigram = np.broadcast_to(np.asarray(unigram, float), excess.shape)
    return Made(name, excess + unigram, unigram, **fields)


def falling(n=240, to=-1.0, at=40, plateau=0.0):
    """From 2.5 above down to a plateau, and from a step on down to its end."""
    steps = np.arange(n)
    first = plateau + (2.5 - plateau) * np.exp(-steps / 4)
    return np.where(steps < at, first, to + (first[at] - to) * np.exp(-(steps - at) / 10))


def label(
    name,
    kind=Kind.HEALTHY,
    *events,
    n=240,
    arch="pre_norm",
    family=None,
    setting=None,
    arm="boundary",
    **rest,
):
    """A label, each of whose events is an onset or an ``Event``."""
    found = tuple(e if isinstance(e, Event) else Event(e) for e in events)
    family = family or (name,)
    return Label(
        name, arm, arch, rest.pop("optimizer", "adamw"), family, setting or family, kind, n, found, **rest
    )


def labels(*each):
    """Labels by name."""
    return {one.name: one for one in each}


def steps(*each):
    """Announced steps."""
    return np.array(each, np.int64)
