"""Do findings multiply with the number of sites? False findings per 1,000 steps, and events that are seen.

Detectors that look at many sites are run on series in which nothing happens, for several distributions of
the noise of a statistic's logarithm, with 1 to 768 sites. Counted are the steps at which some site newly
leaves its band: those from step 150 on per 1,000 steps, and in brackets those of a run's first 150 steps,
when little is known yet. Then one site of them has an event, and counted is how often it is found, and
after how many steps.

    python -m benchmarks.detection.alarm_rates                 # about ten minutes on one core
    python -m benchmarks.detection.alarm_rates --steps 1000 --sites 1 96
"""

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect import Detector, default_detectors
from stabilitykit.records import StepRecord

Logs = NDArray[np.float64]
"""Logarithms of a statistic, steps by sites."""
Draw = np.random.Generator


def gaussian(draw: Draw, steps: int, sites: int) -> Logs:
    """Return white noise of width 0.2: a statistic that scatters by 20 %."""
    return 0.2 * draw.standard_normal((steps, sites))


def wide(draw: Draw, steps: int, sites: int) -> Logs:
    """Return white noise of width 0.5: a lognormal statistic, as gradient norms of small batches are."""
    return 0.5 * draw.standard_normal((steps, sites))


def skewed(draw: Draw, steps: int, sites: int) -> Logs:
    """Return lognormal noise of sigma 0.5 on the logarithm itself, of width 0.2 at its centre."""
    return 0.4 * (np.exp(0.5 * draw.standard_normal((steps, sites))) - 1)


def student_5(draw: Draw, steps: int, sites: int) -> Logs:
    """Return Student's noise with 5 degrees of freedom, of width 0.2 at its centre."""
    return 0.185 * draw.standard_t(5, (steps, sites))


def student_3(draw: Draw, steps: int, sites: int) -> Logs:
    """Return Student's noise with 3 degrees of freedom, of width 0.2 at its centre."""
    return 0.176 * draw.standard_t(3, (steps, sites))


def autoregressive(draw: Draw, steps: int, sites: int) -> Logs:
    """Return x' = 0.9 x + noise, of width 0.3 in the long run: levels that wander."""
    noise = 0.3 * np.sqrt(1 - 0.9**2) * draw.standard_normal((steps, sites))
    rows = np.empty_like(noise)
    rows[0] = 0.3 * draw.standard_normal(sites)
    for n in range(1, steps):
        rows[n] = 0.9 * rows[n - 1] + noise[n]
    return rows


def drifting(draw: Draw, steps: int, sites: int) -> Logs:
    """Return levels that all grow by 1 % a step for 300 steps, hold for 300, and so on, under noise."""
    slope = np.where(np.arange(steps) // 300 % 2, 0.0, 0.01)
    return np.cumsum(slope)[:, None] + 0.1 * draw.standard_normal((steps, sites))


def shared(draw: Draw, steps: int, sites: int) -> Logs:
    """Return noise that nearly all sites share, as a batch's is: Student's 3, and 0.05 of their own."""
    common = 0.176 * draw.standard_t(3, (steps, 1))
    return common + 0.05 * draw.standard_normal((steps, sites))


NULLS = (gaussian, wide, skewed, student_5, student_3, autoregressive, drifting, shared)


@dataclass(frozen=True)
class Case:
    """A detector and an event of the kind that it is there for."""

    kind: str
    tag: str
    event: float
    """The factor of the event: of one step for a spike, else of a level that is reached within ten steps."""
    lasts: int

    def make(self) -> Detector:
        """Return the detector with its default limits."""
        return next(detector for detector in default_detectors() if detector.kind == self.kind)


START = 150
"""Steps of a run that are counted apart."""

CASES = (
    Case("update_spike", "optim/update_ratio/blocks.{:03d}", 30.0, 1),
    Case("attention_logit_growth", "attn/logit_max_bound/blocks.{:03d}", 100.0, 60),
    Case("activation_blow_up", "act/rms/blocks.{:03d}.resid_post", 3000.0, 60),
    Case("vanishing_gradient", "grad/share/blocks.{:03d}", 1e-4, 60),
    Case("norm_gain_drift", "norm/gain_rms/blocks.{:03d}.attn_norm", 10.0, 60),
)


def records(case: Case, logs: Logs) -> Iterator[StepRecord]:
    """Yield the rows as records."""
    tags = tuple(case.tag.format(site) for site in range(logs.shape[1]))
    level = np.float32(1 / np.sqrt(logs.shape[1])) if case.kind == "vanishing_gradient" else np.float32(0.01)
    for step, row in enumerate(np.exp(logs).astype(np.float32) * level):
        yield StepRecord(step, tags, row)


def onsets(case: Case, logs: Logs) -> list[tuple[int, set[str]]]:
    """Return the steps at which sites newly leave their bands, and which."""
    detector, known, found = case.make(), set[tuple[str, int]](), []
    for record in records(case, logs):
        stretches = {(finding.site, finding.since) for finding in detector.update(record)}
        if stretches - known:
            found.append((record.step, {site for site, _ in stretches - known}))
        known |= stretches
    return found


def false_rate(case: Case, null: Callable[..., Logs], steps: int, sites: int) -> tuple[float, float]:
    """Return the steps with a new finding per 1,000 late steps, and those of the first; four runs."""
    runs = [null(np.random.default_rng(seed), steps // 4, sites) for seed in range(4)]
    found = [step for logs in runs for step, _ in onsets(case, logs)]
    early = sum(step < START for step in found)
    return 1000 * (len(found) - early) / (steps - 4 * START), early / 4


def detected(case: Case, null: Callable[..., Logs], sites: int, events: int) -> tuple[float, float]:
    """Return the share of events at one site that are found within 20 steps, and their median delay."""
    delays = []
    for seed in range(events):
        draw = np.random.default_rng(1000 + seed)
        logs = null(draw, 330, sites)
        at, site = int(draw.integers(200, 300)), int(draw.integers(sites))
        ramp = np.ones(case.lasts) if case.lasts == 1 else np.minimum(np.arange(1, case.lasts + 1) / 10, 1)
        end = min(at + case.lasts, len(logs))
        logs[at:end, site] += np.log(case.event) * ramp[: end - at]
        name = case.tag.format(site).split("/", 2)[2]
        delays += [step - at for step, names in onsets(case, logs) if name in names and 0 <= step - at <= 20][
            :1
        ]
    return len(delays) / events, float(np.median(delays)) if delays else float("nan")


def main() -> None:
    """Print a table a detector."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--sites", type=int, nargs="+", default=[1, 12, 96, 768])
    parser.add_argument("--events", type=int, default=10)
    parser.add_argument("--kinds", nargs="+", default=[case.kind for case in CASES])
    options = parser.parse_args()
    for case in (case for case in CASES if case.kind in options.kinds):
        print(f"{case.kind}, event x{case.event:g}: false findings (at first); events found, delay")
        print("| noise | " + " | ".join(f"{sites} sites" for sites in options.sites) + " |")
        for null in NULLS:
            cells = []
            for sites in options.sites:
                rate, early = false_rate(case, null, options.steps, sites)
                share, delay = detected(case, null, sites, options.events)
                cells.append(f"{rate:.1f} ({early:.1f}); {share:.0%}, {delay:.0f}")
            print(f"| {null.__name__} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
