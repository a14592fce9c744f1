"""What every log reader returns, and the table of step records that most of them make."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from stabilitykit.records import StepRecord


@dataclass(frozen=True, slots=True)
class LogReading:
    """A log as step records, and how it was understood."""

    records: Iterable[StepRecord]
    """The step records in order, each step once; may be gone through again."""
    columns: Mapping[str, str]
    """Tag to the name it has in the log; ``step`` too, unless rows were counted."""
    notes: tuple[str, ...] = ()
    """What was passed over or assumed, one line each."""


class RecordTable:
    """Step records made from columns as one goes through them, so that a million rows stay small.

    Args:
        steps: The steps, rising.
        values: Tag to its reading at each of these steps.
        read: Tag to whether it was read there; all were for a tag that is not in it.
    """

    def __init__(
        self,
        steps: Int[np.ndarray, "rows"],
        values: Mapping[str, Float[np.ndarray, "rows"]],
        read: Mapping[str, NDArray[np.bool_]],
    ) -> None:
        self._steps = steps
        self._tags = tuple(values)
        everywhere = np.ones(len(steps), bool)
        with np.errstate(over="ignore"):
            # Beyond float32 a value is infinite, as it would be had it been recorded here.
            self._values = np.stack([column.astype(np.float32) for column in values.values()], axis=1)
        self._read = np.stack([read.get(tag, everywhere) for tag in self._tags], axis=1)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[StepRecord]:
        shared: dict[bytes, tuple[str, ...]] = {}
        whole = np.all(self._read, axis=1)
        for step, row, complete, read in zip(
            self._steps.tolist(), self._values, whole, self._read, strict=True
        ):
            if complete:
                yield StepRecord(step, self._tags, row)
                continue
            pattern = read.tobytes()
            if pattern not in shared:
                shared[pattern] = tuple(tag for tag, there in zip(self._tags, read, strict=True) if there)
            yield StepRecord(step, shared[pattern], row[read])
