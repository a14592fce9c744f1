"""Experiments: probes, and what they are asked to do."""

from typing import TYPE_CHECKING

from stabilitykit.experiments.spec import ProbeSpec, build_spec
from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.experiments.run_probe import ProbeListener, ProbePlan, ProbeResult, probe

__all__ = ["ProbeListener", "ProbePlan", "ProbeResult", "ProbeSpec", "build_spec", "probe"]


__getattr__ = lazy(__name__, dict.fromkeys(__all__, "stabilitykit.experiments.run_probe"))
