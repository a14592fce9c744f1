"""What a transformer costs: operations, bytes, memory, and the least time a machine takes for them.

Names are loaded when first used. What is predicted comes from the configuration alone.
"""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.lab.cost.comparisons import COMPARISONS, compared, variants
    from stabilitykit.lab.cost.counted.count import Count
    from stabilitykit.lab.cost.measured.variant import Variant
    from stabilitykit.lab.cost.memory import memory_available, require_memory
    from stabilitykit.lab.cost.operation import Operation, Work
    from stabilitykit.lab.cost.peaks import Peaks, measure_peaks
    from stabilitykit.lab.cost.predicted.prediction import Prediction, predict
    from stabilitykit.lab.cost.pricing import Priced, cost_document, priced
    from stabilitykit.lab.cost.profiling import profile
    from stabilitykit.lab.cost.workload import Workload

_MODULES = {
    "comparisons": ("COMPARISONS", "compared", "variants"),
    "counted.count": ("Count",),
    "measured.variant": ("Variant",),
    "memory": ("memory_available", "require_memory"),
    "operation": ("Operation", "Work"),
    "peaks": ("Peaks", "measure_peaks"),
    "predicted.prediction": ("Prediction", "predict"),
    "pricing": ("Priced", "cost_document", "priced"),
    "profiling": ("profile",),
    "workload": ("Workload",),
}

__all__ = [
    "COMPARISONS",
    "Count",
    "Operation",
    "Peaks",
    "Prediction",
    "Priced",
    "Variant",
    "Work",
    "Workload",
    "compared",
    "cost_document",
    "measure_peaks",
    "memory_available",
    "predict",
    "priced",
    "profile",
    "require_memory",
    "variants",
]

__getattr__ = lazy(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
