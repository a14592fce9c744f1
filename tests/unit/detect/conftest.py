"""Series as step records, and a detector run over them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from stabilitykit.detect import Detector
from stabilitykit.records import Finding, StepRecord

LOSS = "train/loss"
UNIGRAM = "train/unigram_cross_entropy"

Series = Sequence[float | None]
"""A value a record; None where it was not read, which is not NaN."""


def records(columns: Mapping[str, Series], steps: Iterable[int] | None = None) -> list[StepRecord]:
    """Return records of columns; as in a live run they share one tuple of tags while the tags stay."""
    made: list[StepRecord] = []
    for step, row in zip(count() if steps is None else steps, zip(*columns.values(), strict=True)):  # noqa: B905
        readings = {tag: value for tag, value in zip(columns, row, strict=True) if value is not None}
        record = StepRecord.of(step, readings)
        if made and made[-1].tags == record.tags:
            record = StepRecord(step, made[-1].tags, record.values)
        made.append(record)
    return made


def run(detector: Detector, series: Iterable[StepRecord]) -> list[Finding]:
    return [finding for record in series for finding in detector.update(record)]


def losses(detector: Detector, values: Series, unigram: Series | None = None) -> list[Finding]:
    columns = {LOSS: values} if unigram is None else {LOSS: values, UNIGRAM: unigram}
    return run(detector, records(columns))


def steps(findings: Iterable[Finding]) -> list[int]:
    return [finding.step for finding in findings]


def noise(n: int, width: float = 1.0) -> list[float]:
    """Return numbers spread over [-width, width], the same on every machine."""
    return [width * ((i * i * 7919 + i * 104729) % 2003 / 1001 - 1) for i in range(n)]


def falling(n: int, first: float = 5.0, last: float = 2.0, tau: float = 30.0) -> list[float]:
    return [last + (first - last) * math.exp(-i / tau) for i in range(n)]


def with_values(values: Sequence[float], changes: Mapping[int, float]) -> list[float]:
    return [changes.get(i, value) for i, value in enumerate(values)]
