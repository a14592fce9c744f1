"""Experiments: probes and sweeps, and what they are asked to do."""

from typing import TYPE_CHECKING

from stabilitykit.experiments.spec import ProbeSpec, build_spec
from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.experiments.backends.local import LocalPool
    from stabilitykit.experiments.grid import Sweep, SweepPlan, SweepRun, open_sweep, read_plan
    from stabilitykit.experiments.run_probe import ProbeListener, ProbePlan, ProbeResult, probe
    from stabilitykit.experiments.run_sweep import SweepListener, sweep

__all__ = [
    "LocalPool",
    "ProbeListener",
    "ProbePlan",
    "ProbeResult",
    "ProbeSpec",
    "Sweep",
    "SweepListener",
    "SweepPlan",
    "SweepRun",
    "build_spec",
    "open_sweep",
    "probe",
    "read_plan",
    "sweep",
]

_ROOMS = {
    "backends.local": ("LocalPool",),
    "grid": ("Sweep", "SweepPlan", "SweepRun", "open_sweep", "read_plan"),
    "run_probe": ("ProbeListener", "ProbePlan", "ProbeResult", "probe"),
    "run_sweep": ("SweepListener", "sweep"),
}

__getattr__ = lazy(__name__, {name: f"{__name__}.{room}" for room, names in _ROOMS.items() for name in names})
