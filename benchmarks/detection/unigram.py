"""What it is worth to judge a loss against its batch's own unigram cross-entropy, on runs of our own."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.log import Values
from benchmarks.detection.windows import median, robust_deviation, trailing
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.detect.gradient_spike import GRADIENT_NORM
from stabilitykit.detect.loss import CROSS_ENTROPY, LOSS, UNIGRAM
from stabilitykit.records import Incident, StepRecord
from stabilitykit.store import open_run

COUNTED = ("loss_spike", "divergence")
BUMPS, HEIGHT = 15, 1.5
"""Bumps that are added to the loss of a run one at a time, each of one step, and their height in nats."""
STEEPER = 10.0
"""Times the gradient norm at such a step."""
SETTLED = 50
"""Step from which on the noise is measured: before it the loss falls too fast."""


@dataclass(frozen=True)
class Gain:
    """One run, judged with and without the reading."""

    batch: int
    seed: int
    noise: tuple[float, float]
    """1.4826 MAD of the loss about the median of the 9 before it, in nats: with the reading and without."""
    bump: tuple[float, float]
    """The largest rise above that median."""
    found: tuple[int, int]
    """Of ``BUMPS`` bumps that were added to the loss, how many were found."""
    incidents: tuple[int, int]
    """Incidents of the loss as it was."""


def unigram_gain(runs: Sequence[tuple[int, int]], tick: Callable[[], None] = lambda: None) -> list[Gain]:
    """Train probes of pre_norm, in which nothing happens, and judge the records of each twice.

    Every incident is a false alarm.

    Args:
        runs: Batch size and seed of each.
        tick: Called after every run.
    """
    from stabilitykit.lab.probe import build_spec, probe

    found = []
    for batch, seed in runs:
        spec = build_spec("pre_norm", overrides=[f"seed={seed}", f"data.batch_size={batch}"])
        with tempfile.TemporaryDirectory() as folder:
            result = probe(spec, Path(folder) / "run")
            records = list(open_run(result.logdir).records())
        found.append(_compare(batch, seed, records))
        tick()
    return found


def _compare(batch: int, seed: int, records: Sequence[StepRecord]) -> Gain:
    bare = [_without(record) for record in records]
    loss = np.array([record.readings[LOSS] for record in records])
    unigram = np.array([record.readings[UNIGRAM] for record in records])
    rises = _rises(loss - unigram), _rises(loss)
    noise = [float(robust_deviation(rise[None])[0]) for rise in rises]
    bump = [float(rise.max()) for rise in rises]
    incidents = _incidents(records), _incidents(bare)
    places = np.linspace(SETTLED + 10, len(records) - 10, BUMPS).astype(int)
    found = _found(records, places), _found(bare, places)
    return Gain(batch, seed, (noise[0], noise[1]), (bump[0], bump[1]), found, incidents)


def _found(records: Sequence[StepRecord], places: NDArray[np.int_]) -> int:
    """Return how many bumps are found, each added to the loss by itself: many alike ones are a habit."""
    return sum(_is_found(records, place) for place in places.tolist())


def _is_found(records: Sequence[StepRecord], place: int) -> bool:
    higher = [*records[:place], _higher(records[place]), *records[place + 1 :]]
    spikes = [incident for incident in _diagnosed(higher) if incident.kind == "loss_spike"]
    return records[place].step in {spike.start for spike in spikes}


def _higher(record: StepRecord) -> StepRecord:
    raised = record.values.copy()
    for place, tag in enumerate(record.tags):
        raised[place] += HEIGHT if tag in (LOSS, CROSS_ENTROPY) else 0.0
        # Beside an ordinary gradient norm it would be a hard batch, and no alarm.
        raised[place] *= STEEPER if tag == GRADIENT_NORM else 1.0
    return StepRecord(record.step, record.tags, raised)


def _without(record: StepRecord) -> StepRecord:
    kept = [place for place, tag in enumerate(record.tags) if tag != UNIGRAM]
    return StepRecord(record.step, tuple(record.tags[place] for place in kept), record.values[kept])


def _incidents(records: Sequence[StepRecord]) -> int:
    """Return how many incidents of the loss a diagnosis finds."""
    return sum(incident.kind in COUNTED for incident in _diagnosed(records))


def _diagnosed(records: Sequence[StepRecord]) -> tuple[Incident, ...]:
    diagnosis = Diagnosis()
    for record in records:
        diagnosis.update(record)
    return diagnosis.incidents


def _rises(values: Values) -> Values:
    """Return how far each value stands above the median of the 9 before it."""
    return (values - trailing(values, 9, median))[SETTLED:]
