"""Measure what ``docs/cost.md`` tells of this machine, and keep it in ``benchmarks/costs/figures.json``.

Run ``OMP_NUM_THREADS=1 KINETO_LOG_LEVEL=99 python -m benchmarks.costs.figures``, with nothing beside it: some
ten minutes. Then ``python -m benchmarks.costs.page`` writes the page.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stabilitykit.lab.cost import (
    COMPARISONS,
    Peaks,
    Priced,
    Workload,
    cost_document,
    measure_peaks,
    priced,
    variants,
)
from stabilitykit.lab.cost.document import PeaksRow
from stabilitykit.lab.cost.growth import growth
from stabilitykit.lab.cost.measured.variant import Variant
from stabilitykit.lab.cost.spread import median_ratio
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.presets import preset_fields
from stabilitykit.lab.nested import merged
from stabilitykit.lab.validation import validated

FILE = Path(__file__).parent / "figures.json"
SECONDS = 8.0
"""For each model."""
WORKLOAD = Workload(batch=2, length=256)
WIDTHS = {
    "d 256": ("small", {}),
    "d 1,024": ("small", {"d_model": 1024, "n_layers": 2, "attention": {"n_heads": 16}}),
}
"""Sizes at which norms are compared: llama2, 512 tokens."""
_NO_DROPOUT = {
    "attention": {"dropout": 0.0},
    "residual": {"dropout": 0.0},
    "embedding": {"dropout": 0.0},
}
SHARES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "gpt2 without dropout": ("gpt2", _NO_DROPOUT),
    "llama2": ("llama2", {}),
    "gemma2": ("gemma2", {}),
    "olmo2": ("olmo2", {}),
}
"""Architectures whose shares are told."""


def main() -> None:
    """Measure everything, and write the file after each part."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    peaks = measure_peaks("float32")
    told: dict[str, Any] = {"peaks": PeaksRow.model_validate(peaks).to_json()}
    parts = {"shares": _shares, "norms": _norms, "comparisons": _comparisons, "decode": _decode}
    for name, part in parts.items():
        told[name] = part(peaks)
        sys.stderr.write(f"{name} done\n")
    FILE.write_text(json.dumps(_rounded(told), indent=1) + "\n")


def _shares(peaks: Peaks) -> list[dict[str, Any]]:
    rows = []
    for label, (arch, changes) in SHARES.items():
        fields = merged(preset_fields(arch, "small"), changes)
        (side,) = _measured([Variant(label, validated(TransformerConfig, fields))])
        whole = cost_document([side], peaks).to_json()
        keys = ("class", "flops_share", "bytes_share", "time_share")
        classes = [{key: row[key] for key in keys} for row in whole["classes"]]
        rows.append({"arch": label, "classes": classes, "measured": whole["measured"]})
    return rows


def _norms(peaks: Peaks) -> list[dict[str, Any]]:
    """Return every kind of norm by every kernel, and RMSNorm over LayerNorm by each."""
    rows = []
    for width, (scale, changes) in WIDTHS.items():
        sides = _measured(variants("norm", merged(preset_fields("llama2", scale), changes)))
        times = {each.label: each.measurement.of_class("normalisation") for each in sides if each.measurement}
        for side in sides:
            rows.append({"width": width, **_norm_row(side), "seconds": _median(side)})
        for told in ("", ", torch's", ", composite"):
            ratio = median_ratio(times[f"RMSNorm{told}"], times[f"LayerNorm{told}"])
            rows.append({"width": width, "arch": f"RMSNorm / LayerNorm{told}", "ratio": ratio._asdict()})
    return rows


def _norm_row(side: Priced) -> dict[str, Any]:
    measured = side.measurement
    operation = next(each for each in measured.operations if each.name == "attn_norm") if measured else None
    return {
        "arch": side.label,
        "share": measured.share("normalisation") if measured else None,
        "kernels": {}
        if operation is None
        else {work: list(each) for work, each in operation.kernels.items()},
    }


def _median(side: Priced) -> dict[str, float]:
    told = side.to_json(None)["classes"]
    return next(dict(row["seconds"]) for row in told if row["class"] == "normalisation")


def _comparisons(peaks: Peaks) -> list[dict[str, Any]]:
    return [row for name in COMPARISONS if name not in ("norm", "kv_heads") for row in _compared(name, peaks)]


def _compared(name: str, peaks: Peaks) -> Iterator[dict[str, Any]]:
    whole = cost_document(_measured(variants(name, preset_fields("llama2", "small"))), peaks).to_json()
    for side in (whole, *whole["compared"]):
        yield {
            "name": name,
            "arch": side["arch"],
            "step_s": side["measured"]["step_s"],
            "ratios": side.get("ratios"),
            "measured_ratios": side.get("measured_ratios"),
        }


def _decode(peaks: Peaks) -> list[dict[str, Any]]:
    sides = variants("kv_heads", preset_fields("llama2", "small"))
    rows = growth(sides, Workload("decode", 8, 256), "adamw", peaks, SECONDS)
    return [row.to_json() for row in rows]


def _measured(sides: Sequence[Variant]) -> list[Priced]:
    return priced(sides, WORKLOAD, "adamw", SECONDS)


def _rounded(value: Any) -> Any:
    """Return the figures with four digits: no more is known."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
