"""Experiments: probes and sweeps, what they are asked to do, and what comes of them."""

from typing import TYPE_CHECKING

from stabilitykit.experiments.spec import ProbeSpec, build_spec
from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.experiments.claims import ClaimResult, check_claims, judge
    from stabilitykit.experiments.compare import Estimate, Summary, comparison_json, differences, summarise
    from stabilitykit.experiments.run_probe import ProbeListener, ProbePlan, ProbeResult, probe

__all__ = [
    "ClaimResult",
    "Estimate",
    "ProbeListener",
    "ProbePlan",
    "ProbeResult",
    "ProbeSpec",
    "Summary",
    "build_spec",
    "check_claims",
    "comparison_json",
    "differences",
    "judge",
    "probe",
    "summarise",
]

_MODULES = {
    "run_probe": ("ProbeListener", "ProbePlan", "ProbeResult", "probe"),
    "compare": ("Estimate", "Summary", "comparison_json", "differences", "summarise"),
    "claims": ("ClaimResult", "check_claims", "judge"),
}

__getattr__ = lazy(
    __name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}
)
