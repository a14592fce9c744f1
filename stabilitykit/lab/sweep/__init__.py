"""Sweeps: a grid of probes, who trains them, and how they compare. Naming this room loads no torch."""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.lab.sweep.backends.local import LocalPool
    from stabilitykit.lab.sweep.compare import Estimate, Summary, differences, summarise
    from stabilitykit.lab.sweep.grid import Sweep, SweepPlan, SweepRun, open_sweep, read_plan
    from stabilitykit.lab.sweep.run_sweep import SweepListener, run_sweep

__all__ = [
    "Estimate",
    "LocalPool",
    "Summary",
    "Sweep",
    "SweepListener",
    "SweepPlan",
    "SweepRun",
    "differences",
    "open_sweep",
    "read_plan",
    "run_sweep",
    "summarise",
]

_MODULES = {
    "backends.local": ("LocalPool",),
    "compare": ("Estimate", "Summary", "differences", "summarise"),
    "grid": ("Sweep", "SweepPlan", "SweepRun", "open_sweep", "read_plan"),
    "run_sweep": ("SweepListener", "run_sweep"),
}

__getattr__ = lazy(__name__, _MODULES)
