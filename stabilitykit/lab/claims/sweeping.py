"""A sweep whose claims are checked before anything of it runs."""

from pathlib import Path

from stabilitykit.lab.claims.claim import check_claims
from stabilitykit.lab.sweep.backends import Pool
from stabilitykit.lab.sweep.grid import Sweep, SweepPlan
from stabilitykit.lab.sweep.run_sweep import SweepListener, run_sweep


def sweep(
    plan: SweepPlan,
    pool: Pool,
    logdir: Path | None = None,
    listener: SweepListener | None = None,
    *,
    stop_when_certain: bool = False,
    retry_crashed: bool = False,
) -> Sweep:
    """Check what a plan claims, train every cell that its folder does not hold yet, and return them all.

    Args:
        plan: What to train, and what is claimed of it.
        pool: Who trains it.
        logdir: As ``run_sweep`` takes it.
        listener: Follows the sweep.
        stop_when_certain: As ``run_sweep`` takes it.
        retry_crashed: As ``run_sweep`` takes it.

    Raises:
        ConfigError: A cell's configuration is refused, or a claim does not fit the plan.
        DataError: A corpus cannot be used.
        RunFolderError: The folder cannot be written, or another sweep is at work in it.
    """
    check_claims(plan)
    return run_sweep(
        plan,
        pool,
        logdir,
        listener,
        stop_when_certain=stop_when_certain,
        retry_crashed=retry_crashed,
    )
