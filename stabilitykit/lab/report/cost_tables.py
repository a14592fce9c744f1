"""A document of costs as tables for other programs."""

from collections.abc import Iterator
from typing import Any

from stabilitykit.lab.cost.document import CostDocument, Quotient, Side, Times
from stabilitykit.lab.report.tables import csv_table

_SPREAD = ("median", "low", "high")


def cost_tables(document: CostDocument) -> dict[str, str]:
    """Return the tables of a document as CSV, by their names.

    Args:
        document: What ``cost --json`` printed.
    """
    tables = {"classes": _classes(document), "operations": _operations(document)}
    if document.compared:
        tables["ratios"] = _ratios(document)
    if document.growth:
        tables["growth"] = _growth(document)
    return tables


def _classes(document: CostDocument) -> str:
    head = ["arch", "class", "flops_share", "bytes_share", "time_share", "bound_s", *_columns("seconds")]
    rows = (
        [
            side.arch,
            each.name,
            each.flops_share,
            each.bytes_share,
            each.time_share,
            each.bound_s,
            *_three(each.seconds),
        ]
        for side in document.sides
        for each in side.classes
    )
    return csv_table(head, rows)


def _operations(document: CostDocument) -> str:
    head = ["arch", "name", "class", "layers", "flops", "bytes", "bound_s", "bound_by", *_columns("seconds")]
    return csv_table(
        [*head, "fused", "kernels", "done_by"], (row for side in document.sides for row in _of_side(side))
    )


def _of_side(side: Side) -> Iterator[list[Any]]:
    for each in side.operations:
        measured = each.measured
        kernels = [name for found in measured.kernels.values() for name in found] if measured else []
        yield [
            side.arch,
            each.name,
            each.op_class,
            each.layers,
            each.flops,
            each.bytes,
            each.bound_s,
            each.bound_by,
            *_three(measured.seconds if measured else None),
            measured.fused if measured else None,
            " ".join(dict.fromkeys(kernels)),
            each.done_by,
        ]


def _ratios(document: CostDocument) -> str:
    rows: list[list[Any]] = []
    for side in document.compared:
        rows += [[side.arch, name, value, None, None] for name, value in side.ratios.items()]
        rows += [[side.arch, f"time {name}", *_three(found)] for name, found in side.measured_ratios.items()]
    return csv_table(["arch", "of", *_SPREAD], rows)


def _growth(document: CostDocument) -> str:
    head = ["cache", "arch", "kv_cache", "attention_flops", "attention_bytes", "attention_bound_s"]
    rows = (
        [
            row.cache,
            row.arch,
            row.kv_cache,
            row.attention.flops,
            row.attention.bytes,
            row.attention_bound(document.peaks),
            *_three(row.measured.attention_s if row.measured else None),
            *_three(row.measured.attention_ratio if row.measured else None),
        ]
        for row in document.growth
    )
    return csv_table([*head, *_columns("attention_s"), *_columns("attention_ratio")], rows)


def _columns(name: str) -> list[str]:
    return [f"{name}_{each}" for each in _SPREAD]


def _three(found: Times | Quotient | None) -> tuple[float | None, ...]:
    return (None, None, None) if found is None else (found.median, found.low, found.high)
