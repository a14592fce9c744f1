"""A document of costs as a report shows it: pictures, tables, and what they stand on."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stabilitykit.lab.cost.amounts import amount, seconds_text
from stabilitykit.lab.cost.document import ComparedSide, CostDocument, GrowthRow, OperationRow, Side, Times
from stabilitykit.lab.report.cost_document import read_cost
from stabilitykit.lab.report.cost_pictures import (
    NARROW,
    WIDE,
    RatioRow,
    growth_picture,
    ratios_picture,
    shares_picture,
    standalone,
)
from stabilitykit.lab.report.cost_tables import cost_tables
from stabilitykit.lab.report.cost_words import interval_text, percent, ratio_text

_COMPUTED = {
    "parameters": "parameters",
    "flops": "FLOPs",
    "bytes": "bytes",
    "memory": "memory",
    "kv_cache": "KV cache",
    "bound_s": "bound",
}
_MEASURED = {"step": "time of a step", "kernels": "time of all kernels"}
_DRAWN = ("FLOPs", "bytes", "memory", "KV cache", "bound")
"""Computed ratios that are drawn, where they are not all near 1."""
_NEAR = 0.005


@dataclass(frozen=True)
class CostView:
    """One document."""

    name: str
    """What its files are called."""
    document: CostDocument
    tables: Mapping[str, str]
    """As CSV, by their names."""

    @classmethod
    def of(cls, path: Path) -> "CostView":
        """Return how a document is shown.

        Args:
            path: What ``cost --json`` printed.

        Raises:
            DataError: It cannot be read.
        """
        document = read_cost(path)
        return cls(path.stem, document, cost_tables(document))

    @property
    def title(self) -> str:
        """What was priced."""
        names = [side.arch for side in self.document.sides]
        return names[0] if len(names) == 1 else f"{names[0]} against {', '.join(names[1:])}"

    def pictures(self) -> dict[str, str]:
        """Return its pictures as SVG files, by their names."""
        document = self.document
        drawn = {"shares": shares_picture(document)}
        groups = _ratio_groups(document)
        if groups:
            drawn["ratios"] = ratios_picture(groups)
        if _grows(document):
            drawn["growth"] = growth_picture(document)
        return {name: standalone(picture) for name, picture in drawn.items()}

    def contents(self) -> dict[str, Any]:
        """Return what the template takes."""
        document, groups = self.document, _ratio_groups(self.document)
        return {
            "name": self.name,
            "title": self.title,
            "workload": _workload(document),
            "is_measured": document.measured is not None,
            "classes": [each.name for each in document.classes],
            "shares": [shares_picture(document, width) for width in (WIDE, NARROW)],
            "sides": [_side(side) for side in document.sides],
            "ratio_names": _ratio_names(document),
            "ratio_rows": [_ratio_row(side, _ratio_names(document)) for side in document.compared],
            "ratios": [ratios_picture(groups, width) for width in (WIDE, NARROW)] if groups else [],
            "growth": [growth_picture(document, width) for width in (WIDE, NARROW)]
            if _grows(document)
            else [],
            "growth_rows": [_growth_row(document, row) for row in document.growth],
            "growth_is_measured": any(row.measured for row in document.growth),
            "machine": _machine(document),
            "csv": {
                f"{self.name}_{name}.csv": "data:text/csv;charset=utf-8;base64,"
                + base64.b64encode(text.encode()).decode()
                for name, text in self.tables.items()
            },
        }


def _workload(side: Side) -> str:
    tokens = f"behind a cache of {side.length}" if side.mode == "decode" else f"of {side.length} tokens"
    steps = f", {side.optimizer}" if side.optimizer else ""
    return (
        f"{side.mode}: {side.batch} sequence{'s' * (side.batch != 1)} {tokens}, {side.dtype}{steps};"
        f" {amount(side.parameters)} parameters, {amount(side.total.flops, 'FLOP')},"
        f" {amount(side.total.bytes, 'B')} of traffic, {amount(side.memory.total, 'B')} of memory"
    )


def _side(side: Side) -> dict[str, Any]:
    return {
        "name": side.arch,
        "shares": {name: [percent(each) for each in row] for name, row in side.shares.items()},
        "operations": [_operation(side, each) for each in side.operations],
    }


def _operation(side: Side, row: OperationRow) -> dict[str, Any]:
    measured = row.measured
    seconds = measured.seconds if measured else None
    whole = side.measured.kernels_s.median if side.measured else 0.0
    above = seconds.median / row.bound_s if seconds and row.bound_s else None
    return {
        "name": row.name,
        "class": row.op_class,
        "layers": row.layers,
        "flops": (row.flops, amount(row.flops)),
        "flops_share": (row.flops, percent(row.flops / side.total.flops if side.total.flops else 0.0)),
        "bytes": (row.bytes, amount(row.bytes, "B")),
        "bytes_share": (row.bytes, percent(row.bytes / side.total.bytes if side.total.bytes else 0.0)),
        "seconds": (seconds.median if seconds else -1, _spread(seconds)),
        "time_share": (
            seconds.median if seconds else -1,
            percent(seconds.median / whole if seconds and whole else None),
        ),
        "bound": (row.bound_s or 0, seconds_text(row.bound_s or None)),
        "bound_by": row.bound_by or "",
        "above": (above or -1, "–" if above is None else f"{above:.1f}"),
        "kernels": _kernels(row),
        "how": ("fused" if measured.fused else "composite") if measured else "",
    }


def _kernels(row: OperationRow) -> str:
    if row.measured is None:
        return f"in {row.done_by}" if row.done_by else ""
    return "; ".join(f"{name}: {', '.join(each)}" for name, each in row.measured.kernels.items() if each)


def _spread(found: Times | None) -> str:
    if found is None:
        return "–"
    return f"{seconds_text(found.median)} [{seconds_text(found.low)}, {seconds_text(found.high)}]"


def _ratio_names(document: CostDocument) -> dict[str, str]:
    """Return the quantities that some variant has a ratio in, by their keys."""
    computed = {
        key: name
        for key, name in _COMPUTED.items()
        if any(side.ratios.get(key) is not None for side in document.compared)
    }
    measured = _MEASURED | {each.name: f"time of {each.name}" for each in document.classes}
    found = {key for side in document.compared for key, each in side.measured_ratios.items() if each}
    return computed | {key: name for key, name in measured.items() if key in found}


def _ratio_groups(document: CostDocument) -> dict[str, list[RatioRow]]:
    """Return what is drawn: computed ratios that are not all near 1, then measured ones."""
    groups: dict[str, list[RatioRow]] = {}
    for key, name in _ratio_names(document).items():
        rows = []
        for side in document.compared:
            interval = side.measured_ratios.get(key)
            value = side.ratios.get(key) if interval is None else interval.median
            if value is not None:
                rows.append(RatioRow(side.arch, value, interval))
        if key not in _COMPUTED or (
            name in _DRAWN and any(row.value > 0 and abs(row.value - 1) > _NEAR for row in rows)
        ):
            groups[name] = rows
    return groups


def _ratio_row(side: ComparedSide, names: Mapping[str, str]) -> dict[str, Any]:
    cells = []
    for key, name in names.items():
        if key in _COMPUTED:
            cells.append({"name": name, "value": ratio_text(side.ratios.get(key)), "told": ""})
            continue
        found = side.measured_ratios.get(key)
        told = ""
        if found is not None and found.low <= 1 <= found.high:
            told = "no difference shown"
        cells.append({"name": name, "value": interval_text(found), "told": told})
    return {"name": side.arch, "cells": cells}


def _grows(document: CostDocument) -> bool:
    return any(row.measured or row.attention_bound(document.peaks) for row in document.growth)


def _growth_row(document: CostDocument, row: GrowthRow) -> dict[str, Any]:
    measured = row.measured
    return {
        "cache": row.cache,
        "name": row.arch,
        "kv_cache": amount(row.kv_cache, "B"),
        "bytes": amount(row.attention.bytes, "B"),
        "bound": seconds_text(row.attention_bound(document.peaks)),
        "attention": _spread(measured.attention_s if measured else None),
        "step": _spread(measured.step_s if measured else None),
        "ratio": interval_text(measured.attention_ratio if measured else None),
    }


def _machine(document: CostDocument) -> list[tuple[str, str]]:
    measured, peaks = document.measured, document.peaks
    told: list[tuple[str, str]] = []
    if measured is not None:
        told += [
            ("machine", f"{measured.device}, {measured.threads} thread{'s' * (measured.threads != 1)}"),
            ("torch", measured.torch),
            ("rounds", str(measured.rounds)),
            ("step", f"{_spread(measured.step_s)}; under the profiler {_spread(measured.profiled_s)}"),
            ("kernels of no known operation", f"{percent(measured.unattributed_share)} of kernels' time"),
            ("outside kernels", f"{percent(measured.outside_share)} of the step"),
        ]
    if document.bound_s is not None:
        told.append(("roofline's bound on the step", seconds_text(document.bound_s)))
    if peaks is not None:
        told.append(("peaks", f"{amount(peaks.flops_per_s, 'FLOP/s')}, {amount(peaks.bytes_per_s, 'B/s')}"))
    return told
