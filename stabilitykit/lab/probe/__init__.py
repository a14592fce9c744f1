"""Probes: one short training run that ends in a verdict, and the check of a configuration before it."""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.lab.probe.checks import CheckFinding, CheckReport, check, verdict_of
    from stabilitykit.lab.probe.run_probe import ProbePlan, ProbeResult, probe
    from stabilitykit.lab.probe.spec import ProbeSpec, build_spec

__all__ = [
    "CheckFinding",
    "CheckReport",
    "ProbePlan",
    "ProbeResult",
    "ProbeSpec",
    "build_spec",
    "check",
    "probe",
    "verdict_of",
]

_MODULES = {
    "checks": ("CheckFinding", "CheckReport", "check", "verdict_of"),
    "run_probe": ("ProbePlan", "ProbeResult", "probe"),
    "spec": ("ProbeSpec", "build_spec"),
}

__getattr__ = lazy(__name__, _MODULES)
