"""A document of costs as ``cost --json`` prints it: predicted by the toolkit, its times made up."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stabilitykit.lab.cost import Peaks, Workload, cost_document, priced, variants
from stabilitykit.lab.cost.growth import growth
from stabilitykit.lab.model.presets import arch_fields

PEAKS = Peaks(1e11, 1e10)


def predicted(compare: str, workload: Workload) -> dict[str, Any]:
    """Return what ``cost --predict --json`` prints, as it is read back."""
    sides = variants(compare, arch_fields("pre_norm"))
    rows = growth(sides, workload, "adamw", PEAKS, None) if workload.mode == "decode" else None
    found = cost_document(priced(sides, workload, "adamw", None), PEAKS, rows)
    return dict(json.loads(json.dumps(found.to_json())))


def with_times(told: dict[str, Any]) -> dict[str, Any]:
    """Give operations twice their bound, classes 50, 30 and 20 % of the time, variants intervals."""
    for n, side in enumerate((told, *told.get("compared", ()))):
        for row in side["operations"]:
            row["measured"] = {
                "seconds": spread(2 * row["bound_s"]),
                "pass_seconds": {},
                "kernels": {"forward": ["mm", "add"], "backward": ["mm"]},
                "fused": False,
            }
        for row, share in zip(side["classes"], (0.5, 0.3, 0.2), strict=True):
            row |= {"seconds": spread(share * 0.01), "time_share": share}
        side["measured"] = {
            **{name: spread(0.01) for name in ("step_s", "profiled_s", "kernels_s")},
            **{"rounds": 5, "outside_share": 0.25, "unattributed_share": 0.001},
            **{"device": "a machine", "threads": 1, "torch": "2.13.0"},
        }
        if n:
            side["measured_ratios"] = {
                "step": {"median": 1.1, "low": 0.9, "high": 1.2},
                "normalisation": {"median": 2.0, "low": 1.9, "high": 2.1},
                "element-wise": None,
            }
    for row in told.get("growth", ()):
        times = {name: spread(1e-6 * row["cache"]) for name in ("step_s", "attention_s")}
        row["measured"] = {**times, "step_ratio": spread(1.0), "attention_ratio": spread(0.5)}
    return told


def spread(median: float) -> dict[str, float]:
    """Return a median with ends a tenth away."""
    return {"median": median, "low": 0.9 * median, "high": 1.1 * median}


def written(path: Path, told: Mapping[str, Any]) -> Path:
    """Write a document, and return its file."""
    path.write_text(json.dumps(told))
    return path


TRAIN = Workload("train", 2, 16)
DECODE = Workload("decode", 2, 16)
