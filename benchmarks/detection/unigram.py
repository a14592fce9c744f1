"""What it is worth to judge a loss against its batch's own unigram cross-entropy, on runs of our own."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detection.log import Values
from detection.windows import median, robust_deviation, trailing
from stabilitykit.detect.loss import LOSS, UNIGRAM
from stabilitykit.diagnosis import Diagnosis
from stabilitykit.records import StepRecord, Verdict
from stabilitykit.store import open_run

COUNTED = ("loss_spike", "divergence")
SETTLED = 50
"""Step from which on the noise is measured: before it the loss falls too fast."""


@dataclass(frozen=True)
class Gain:
    """One run, judged with and without the reading."""

    seed: int
    noise: tuple[float, float]
    """1.4826 MAD of the loss about the median of the 9 before it, in nats: with the reading and without."""
    spikes: tuple[int, int]
    """Incidents of the loss."""
    verdicts: tuple[str, str]


def unigram_gain(
    seeds: Sequence[int], arch: str = "pre_norm", tick: Callable[[], None] = lambda: None
) -> list[Gain]:
    """Train one probe a seed, 300 steps of batch 8, and judge its records twice.

    The setting is one in which nothing happens, so every incident is a false alarm.
    """
    from stabilitykit.experiments import build_spec, probe

    found = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            result = probe(build_spec(arch, overrides=[f"seed={seed}"]), Path(folder) / "run")
            records = list(open_run(result.logdir).records())
        found.append(_compare(seed, records))
        tick()
    return found


def _compare(seed: int, records: Sequence[StepRecord]) -> Gain:
    bare = [_without(record) for record in records]
    loss = np.array([record.readings[LOSS] for record in records])
    unigram = np.array([record.readings[UNIGRAM] for record in records])
    verdicts = _verdict(records), _verdict(bare)
    return Gain(
        seed,
        (_noise(loss - unigram), _noise(loss)),
        (_count(verdicts[0]), _count(verdicts[1])),
        (verdicts[0].outcome, verdicts[1].outcome),
    )


def _without(record: StepRecord) -> StepRecord:
    kept = [place for place, tag in enumerate(record.tags) if tag != UNIGRAM]
    return StepRecord(record.step, tuple(record.tags[place] for place in kept), record.values[kept])


def _verdict(records: Sequence[StepRecord]) -> Verdict:
    diagnosis = Diagnosis()
    for record in records:
        diagnosis.update(record)
    return diagnosis.verdict()


def _count(verdict: Verdict) -> int:
    return sum(incident.kind in COUNTED for incident in verdict.incidents)


def _noise(values: Values) -> float:
    rise = (values - trailing(values, 9, median))[SETTLED:]
    return float(robust_deviation(rise[None])[0])
