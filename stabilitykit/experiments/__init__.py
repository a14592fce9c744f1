"""Experiments: probes, and what they are asked to do."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stabilitykit.experiments.spec import ProbeSpec, build_spec

if TYPE_CHECKING:
    from stabilitykit.experiments.run_probe import ProbeListener, ProbePlan, ProbeResult, probe

__all__ = ["ProbeListener", "ProbePlan", "ProbeResult", "ProbeSpec", "build_spec", "probe"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("stabilitykit.experiments.run_probe"), name)
