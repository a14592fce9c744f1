"""How often a run that ``--stop-when-certain`` would have stopped ended otherwise.

python -m benchmarks.science.certainty runs/science/norm_placement.sweep.json
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.lab.probe.certainty import is_certain
from stabilitykit.lab.sweep.grid import SweepRun, held, open_sweep
from stabilitykit.store import open_run


@dataclass(frozen=True)
class Wager:
    """A run that would have been stopped."""

    run: SweepRun
    step: int
    """At which."""
    verdict: str
    """What it would have been given then."""
    saved: int
    """Steps that would not have been trained."""

    @property
    def lost(self) -> bool:
        """Whether the run held after all."""
        return self.run.result is not None and held(self.run.result)


def wager(run: SweepRun) -> Wager | None:
    """Return where a run would have been stopped, or None where it would have gone on to its end."""
    diagnosis, nonfinite, steps = Diagnosis(), 0, run.cell.spec.trainer.steps
    for record in open_run(run.folder).records():
        diagnosis.update(record)
        finite = math.isfinite(record.readings.get("train/loss", 0.0))
        nonfinite = 0 if finite else nonfinite + 1
        ended = record.step + 1 >= steps
        if not ended and is_certain(nonfinite, diagnosis.incidents, record.step, steps):
            return Wager(run, record.step, diagnosis.verdict().outcome, steps - record.step - 1)
    return None


def main() -> None:
    """Print what stopping would have saved, and at what price."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path, help="NAME.sweep.json of a finished sweep")
    sweep = open_sweep(parser.parse_args().plan)
    runs = [run for run in sweep.done if run.result and run.result.steps and not run.result.stopped_early]
    stopped = [found for run in runs if (found := wager(run)) is not None]
    failed = [run for run in runs if run.result and not held(run.result)]
    total = sum(run.cell.spec.trainer.steps for run in runs)
    lost = [each for each in stopped if each.lost]
    other = [each for each in stopped if each.run.result and each.verdict != each.run.result.outcome]
    print(f"{len(runs)} runs, {len(failed)} of them stuck or diverged at the end")
    print(f"stopped: {len(stopped)}, of which {len(lost)} held after all, {len(other)} got another verdict")
    print(f"saved: {sum(each.saved for each in stopped) / max(1, total):.1%} of all steps")
    for each in other:
        ending = each.run.result.outcome if each.run.result else "-"
        print(f"  {each.run.cell.key}: {each.verdict} at step {each.step}, {ending} at the end")


if __name__ == "__main__":
    main()
