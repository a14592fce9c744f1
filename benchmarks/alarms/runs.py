"""A finished run with every reading of every step, as arrays."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.loss import CROSS_ENTROPY, LOSS, UNIGRAM
from stabilitykit.errors import DataError, closest
from stabilitykit.records import StepRecord
from stabilitykit.tags import select, split

Series = NDArray[np.float64]
"""One number a step."""
Rows = NDArray[np.float64]
"""One row a step, one column a site."""
Family = tuple[tuple[str, str], ...]
"""Fields of a configuration by their dotted path, each as JSON."""

_ABOUT = ("schema_version", "environment", "lightning", "detectors", "monitor")
"""What a configuration says beside what is trained."""
_VARIES = ("optimizer.lr", "schedule.warmup")
"""What varies within a family, beside the seed."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run."""

    name: str
    """Its folder's name."""
    arm: str
    """Which part of the benchmark it belongs to."""
    config: Mapping[str, Any]
    """The resolved configuration, nested."""
    steps: NDArray[np.int64]
    """(n,), ascending."""
    tags: tuple[str, ...]
    """In the order in which the run's detectors saw them."""
    values: NDArray[np.float32]
    """(n, tags); NaN is a reading that is NaN, and stands where there is none."""
    missing: NDArray[np.bool_]
    """(n, tags); where there was no reading, as of statistics that are read at every tenth step."""
    result: Mapping[str, Any] = field(default_factory=dict)
    """How it ended, as its ``result.json`` says: outcome, reason, losses, incidents in brief."""

    def column(self, tag: str) -> Series:
        """Return one tag's values; NaN where there is no reading.

        Raises:
            DataError: The run has no such tag.
        """
        if tag not in self._places:
            raise DataError(f"{self.name}: no readings of {tag!r}; {closest(tag, self.tags)}")
        return self.values[:, self._places[tag]].astype(np.float64)

    def rows(self, family: str, endings: Sequence[str] = ("",), blocks: bool = False) -> Rows:
        """Return the values of a family's sites, a column each; none where the run lacks the family.

        Args:
            family: ``<family>/<statistic>`` as in ``stabilitykit.tags``.
            endings: Only sites that end with one of these.
            blocks: Only sites of blocks: not those of embeddings, the final norm and the head.
        """
        return self.values[:, self.places(family, endings, blocks)].astype(np.float64)

    def places(self, family: str, endings: Sequence[str] = ("",), blocks: bool = False) -> list[int]:
        """Return the columns of ``rows`` in ``values``; arguments as there."""
        return [
            self._places[tag]
            for tag in select(self.tags, family)
            if split(tag)[1].endswith(tuple(endings)) and (not blocks or "blocks." in tag)
        ]

    def records(self) -> Iterator[StepRecord]:
        """Yield what the live run's detectors saw: only the tags that were read at each step."""
        tags = np.array(self.tags, object)
        patterns: dict[bytes, tuple[str, ...]] = {}
        for step, row, read in zip(self.steps.tolist(), self.values, ~self.missing, strict=True):
            pattern = read.tobytes()
            if pattern not in patterns:
                patterns[pattern] = tuple(tags[read])
            yield StepRecord(step, patterns[pattern], row[read])

    def until(self, n: int) -> "Run":
        """Return the run as it was after its first ``n`` steps."""
        first = slice(0, n)
        return Run(
            self.name,
            self.arm,
            self.config,
            self.steps[first],
            self.tags,
            self.values[first],
            self.missing[first],
            self.result,
        )

    @property
    def n_steps(self) -> int:
        """How many steps it has."""
        return len(self.steps)

    @property
    def seed(self) -> int:
        """Of weights and data order."""
        return int(self.config["seed"])

    @property
    def arch(self) -> str:
        """The wiring or preset that was asked for."""
        return str(self.config["arch"])

    @property
    def n_layers(self) -> int:
        """Blocks of the model."""
        return int(self.config["model"]["n_layers"])

    @property
    def lr(self) -> float:
        """The peak learning rate."""
        return float(self.config["optimizer"]["lr"])

    @property
    def warmup(self) -> int:
        """Steps of warmup."""
        return int(self.config["schedule"]["warmup"])

    @property
    def qk_norm(self) -> str:
        """Which norm queries and keys have; ``none`` without."""
        return str(self.config["model"]["attention"]["qk_norm"])

    @property
    def optimizer(self) -> str:
        """Kind of the optimizer."""
        return str(self.config["optimizer"]["kind"])

    @property
    def corpus(self) -> str:
        """Name of the text it was trained on, or the kind of the data."""
        return str(self.config.get("corpus", {}).get("name") or self.config["data"]["kind"])

    @cached_property
    def loss(self) -> Series:
        """The cross-entropy of each step in nats: the loss without what a z-loss adds to it."""
        loss = self.column(LOSS)
        if CROSS_ENTROPY not in self._places:
            return loss
        without = self.missing[:, self._places[CROSS_ENTROPY]]
        return np.where(without, loss, self.column(CROSS_ENTROPY))

    @cached_property
    def unigram(self) -> Series:
        """The batches' own unigram cross-entropy in nats; NaN where it was not recorded."""
        return self.column(UNIGRAM) if UNIGRAM in self._places else np.full(self.n_steps, np.nan)

    @cached_property
    def family(self) -> Family:
        """Everything that was configured but the rate, the warmup and the seed: what may be compared."""
        return tuple((path, value) for path, value in self.setting if path not in _VARIES)

    @cached_property
    def setting(self) -> Family:
        """Everything that was configured but the seed."""
        return tuple((path, value) for path, value in _leaves(self.config) if path != "seed")

    @cached_property
    def _places(self) -> dict[str, int]:
        return {tag: place for place, tag in enumerate(self.tags)}


def in_one_order(schemas: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return all tags in an order in which each record's tags keep theirs.

    Detectors number their sites as they come, so a record that is put together again needs its order.

    Args:
        schemas: The tags of some records.

    Raises:
        DataError: Two records have the same tags the other way round.
    """
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for schema in sorted(schemas, key=len, reverse=True):
        for before, tag in zip((None, *schema), schema, strict=False):
            sorter.add(tag, *([] if before is None else [before]))
    try:
        return tuple(sorter.static_order())
    except CycleError as error:
        raise DataError(f"tags: the order varies between records ({' < '.join(error.args[1][:4])})") from None


def _leaves(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every field by its dotted path, sorted; without what a configuration says of the machine."""
    for name in sorted(config):
        value, here = config[name], f"{path}{name}"
        if here in _ABOUT:
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{here}.")
        else:
            yield here, json.dumps(value, sort_keys=True)
