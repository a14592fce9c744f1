"""The processes that train one model together: one collective a step, merged alike on every rank.

Each rank sends the numbers of its step to all others, and every rank merges them on its host, in the order of
ranks, by each number's rule. So all ranks hold the very same record, bit for bit, and decide alike. A
reduction on the way would not do: there is one rule a number, and gloo's maximum loses NaN.
"""

import itertools
import logging
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from stabilitykit.errors import ConfigError
from stabilitykit.observe.merging import Merge
from stabilitykit.observe.packing import PackedStep, StepNumbers, most_numbers
from stabilitykit.observe.schema import Schema
from stabilitykit.observe.watched import Numbers

log = logging.getLogger("stabilitykit")

_NEW, _GONE = -1, -2
"""What a rank sends in place of a schema's number: nobody knows it yet; there is no monitor any more."""

_PATIENCE = (timedelta(seconds=10), timedelta(seconds=290))
"""How long the others are waited for in silence, and after having said so."""

_numbers = itertools.count()


class Ranks:
    """All ranks of the default process group, as one of them sees them.

    What is sent has the same size on every rank and at every step. Only where the numbers of a rank are
    others than before, such as at the first step, do all ranks tell each other first what theirs are.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._key = f"stabilitykit/{next(_numbers)}"
        self.host_reads = 0
        """How often anything was read from the device."""
        self.is_alone = False
        """Whether the ranks watch different things, so that only the first one's numbers are used."""
        self._known: list[list[Schema]] = [[] for _ in range(self.size)]
        self._own: dict[Schema, int] = {}
        self._merges: dict[tuple[int, ...], Merge] = {}
        self._room = 0
        self._is_over = False
        self._device = torch.device("cpu")

    @classmethod
    def current(cls) -> "Ranks | None":
        """Return the ranks of this process's group, or None where there are no others."""
        together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        return cls() if together else None

    def meet(self) -> None:
        """Wait until every rank has a monitor.

        A collective that one rank does not take part in would stop training, so who is there is told
        through the group's store.

        Raises:
            ConfigError: Some rank has none after five minutes, or cannot have one.
            RuntimeError: Some rank's monitor is off before it began.
        """
        store, answer = _store(), f"{self._key}/all"
        if store.add(f"{self._key}/here", 1) == self.size:
            store.compare_set(answer, "", "yes")
        elif not _is_set(store, answer, _PATIENCE[0]):
            log.warning("rank %d waits for the other ranks: each must watch the model", self.rank)
            if not _is_set(store, answer, _PATIENCE[1]):
                self.refuse()
        if store.get(answer) == b"off":
            raise RuntimeError("another rank has no monitor")
        if store.get(answer) != b"yes":
            here = store.add(f"{self._key}/here", 0)
            raise ConfigError(f"watching: {here} of {self.size} ranks watch the model; all of them must")

    def refuse(self, is_off: bool = False) -> None:
        """Let the others not wait for this rank's monitor.

        Args:
            is_off: Whether it failed by itself, so that the others shall train on without theirs; else
                somebody has to act.
        """
        _store().compare_set(f"{self._key}/all", "", "off" if is_off else "no")

    def merge(self, packed: PackedStep) -> tuple[Schema, StepNumbers]:
        """Return all ranks' numbers of a step merged into one step's; every rank gets the same.

        Args:
            packed: This rank's.

        Raises:
            RuntimeError: A rank has no monitor any more.
        """
        schema, host, vector = packed.schema, packed.host, packed.vector
        self._device = vector.device
        sent = self._gather(self._own.get(schema, _NEW), host, vector)
        if (sent[:, 0] == _NEW).any():
            self._tell(schema)
            sent = self._gather(self._own[schema], host, vector)
        which = tuple(int(number) for number in sent[:, 0])
        if which not in self._merges:
            schemas = [known[number] for known, number in zip(self._known, which, strict=True)]
            self._merges[which] = Merge(schemas[:1] if self.is_alone else schemas)
        merge = self._merges[which]
        return merge.schema, merge(sent[:, 1:])

    def leave(self) -> None:
        """Tell the others, in place of a step's numbers, that this rank has no monitor any more."""
        if not self._is_over:
            self._send(_GONE, np.empty(0), torch.empty(0, device=self._device))
            self._is_over = True

    def _gather(self, number: int, host: Numbers, vector: Tensor) -> Numbers:
        if self._is_over:
            raise RuntimeError("another rank has no monitor any more")
        sent = self._send(number, host, vector)
        gone = np.flatnonzero(sent[:, 0] == _GONE)
        if gone.size:
            self._is_over = True
            raise RuntimeError(f"rank {gone[0]} has no monitor any more")
        return sent

    def _send(self, number: int, host: Numbers, vector: Tensor) -> Numbers:
        """Return what each rank sends: a schema's number, the numbers themselves, and room that is left."""
        if number < 0:
            host, vector = host[:0], vector[:0]
        front = torch.from_numpy(np.concatenate([[number], host])).to(self._device)
        room = front.new_zeros(1 + self._room - len(front) - len(vector))
        row = torch.cat([front, vector.double(), room])
        rows = row.new_empty(self.size * len(row))
        try:
            dist.all_gather_single(rows, row)
        except Exception:
            self._is_over = True
            raise
        self.host_reads += 1
        numbers: Numbers = rows.cpu().numpy().reshape(self.size, -1)
        return numbers

    def _tell(self, schema: Schema) -> None:
        """Tell all ranks what this one's numbers are, where they do not know yet."""
        told: list[Schema | None] = [None] * self.size
        dist.all_gather_object(told, None if schema in self._own else schema)
        self.host_reads += 1
        for known, new in zip(self._known, told, strict=True):
            if new is not None:
                known.append(new)
        self._own = {known: number for number, known in enumerate(self._known[self.rank])}
        everything = [known for each in self._known for known in each]
        self._room = max(most_numbers(known) for known in everything)
        if len({known.plan.digest for known in everything}) > 1:
            self.is_alone = True
            self._merges.clear()


def _store() -> Any:
    """Return what all ranks can read and write without a collective."""
    return dist.distributed_c10d._get_default_store()


def _is_set(store: Any, key: str, patience: timedelta) -> bool:
    try:
        store.wait([key], patience)
    except (dist.DistStoreError, RuntimeError):
        return False
    return True
