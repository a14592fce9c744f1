"""Experiments: probes and sweeps, what they are asked to do, and what comes of them."""

from typing import TYPE_CHECKING

from stabilitykit.experiments.spec import ProbeSpec, build_spec
from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.experiments.backends.local import LocalPool
    from stabilitykit.experiments.checks import CheckFinding, CheckReport, check, verdict_of
    from stabilitykit.experiments.claims import ClaimResult, check_claims, judge
    from stabilitykit.experiments.compare import Estimate, Summary, comparison_json, differences, summarise
    from stabilitykit.experiments.grid import Sweep, SweepPlan, SweepRun, open_sweep, read_plan
    from stabilitykit.experiments.run_probe import ProbeListener, ProbePlan, ProbeResult, probe
    from stabilitykit.experiments.run_sweep import SweepListener, sweep

__all__ = [
    "CheckFinding",
    "CheckReport",
    "ClaimResult",
    "Estimate",
    "LocalPool",
    "ProbeListener",
    "ProbePlan",
    "ProbeResult",
    "ProbeSpec",
    "Summary",
    "Sweep",
    "SweepListener",
    "SweepPlan",
    "SweepRun",
    "build_spec",
    "check",
    "check_claims",
    "comparison_json",
    "differences",
    "judge",
    "open_sweep",
    "probe",
    "read_plan",
    "summarise",
    "sweep",
    "verdict_of",
]

_ROOMS = {
    "backends.local": ("LocalPool",),
    "checks": ("CheckFinding", "CheckReport", "check", "verdict_of"),
    "claims": ("ClaimResult", "check_claims", "judge"),
    "compare": ("Estimate", "Summary", "comparison_json", "differences", "summarise"),
    "grid": ("Sweep", "SweepPlan", "SweepRun", "open_sweep", "read_plan"),
    "run_probe": ("ProbeListener", "ProbePlan", "ProbeResult", "probe"),
    "run_sweep": ("SweepListener", "sweep"),
}

__getattr__ = lazy(__name__, {name: f"{__name__}.{room}" for room, names in _ROOMS.items() for name in names})
