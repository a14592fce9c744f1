"""Several models' costs side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType

from stabilitykit_cli.render.fitting import Column, FittingTable
from stabilitykit_cli.render.quantities import interval, ratio, seconds, short, summed

Side = Mapping[str, Any]

_PREDICTED = ("parameters", "flops", "bytes", "memory", "kv_cache", "bound_s")
_TITLES = {"flops": "FLOPs", "kv_cache": "KV cache", "bound_s": "at least"}


def side_by_side(sides: Sequence[Side]) -> RenderableType:
    """Return what every side costs, and the ratios to the first: predicted, and measured where it was.

    Args:
        sides: The first is what the others are compared with.
    """
    predicted = _predicted(sides)
    return Group(predicted, _measured(sides)) if sides[0]["measured"] else predicted


def different_operations(sides: Sequence[Side]) -> RenderableType:
    """Return the operations whose work or whose kernels are not the same on all sides.

    Cells are seconds where sides were measured, otherwise FLOPs and bytes.

    Args:
        sides: Two or more.
    """
    titles = [each["arch"].replace(", ", ",\n") for each in sides]
    columns = [Column(title, keep=len(sides) - n) for n, title in enumerate(titles)]
    table = FittingTable([Column("operation", left=True), *columns])
    found = [{row["name"]: row for row in each["operations"]} for each in sides]
    for name in dict.fromkeys(name for each in found for name in each):
        rows = [each.get(name) for each in found]
        if any(not _is_alike(rows[0], row) for row in rows[1:]):
            table.add(name, *(_cell(row) for row in rows))
    return table


def growth_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return a row for every length of the cache and side.

    Args:
        rows: ``growth`` of ``cost --json``.
    """
    predicted = [
        Column("cache"),
        Column("", left=True),
        Column("KV cache", 2),
        Column("FLOP/B", 3),
        Column("at least", 1),
        Column("attention FLOP/B", 4),
    ]
    measured = [Column("step"), Column("", 5), Column("attention"), Column("", 6)]
    table = FittingTable([*predicted, *(measured if rows[0]["measured"] else ())])
    last = None
    for row in rows:
        first, last = row["cache"] != last, row["cache"]
        if first:
            table.add_section()
        cells = [f"{last:,}" if first else "", row["arch"], short(row["kv_cache"]), f"{row['intensity']:.3g}"]
        cells += [seconds(row["bound_s"]), f"{row['attention']['intensity']:.3g}"]
        times = row["measured"]
        if times:
            cells += [seconds(times["step_s"]["median"]), "" if first else interval(times["step_ratio"])]
            cells += [
                seconds(times["attention_s"]["median"]),
                "" if first else interval(times["attention_ratio"]),
            ]
        table.add(*cells)
    return table


def _predicted(sides: Sequence[Side]) -> FittingTable:
    keep = {"bound_s": 2, "kv_cache": 1, "memory": 3, "parameters": 4}
    shown = [each for each in _PREDICTED if _value(sides[0], each)]
    columns = [Column(_TITLES.get(each, each), keep.get(each, 0)) for each in shown]
    table = FittingTable([Column("predicted", left=True), *columns])
    for n, side in enumerate(sides):
        cells = [(seconds if each == "bound_s" else short)(_value(side, each)) for each in shown]
        if n:
            ratios = [ratio(side["ratios"][each]) for each in shown]
            cells = [f"{cell}  {by}" for cell, by in zip(cells, ratios, strict=True)]
        table.add(side["arch"], *cells)
    return table


def _value(side: Side, name: str) -> float:
    """Return what a side costs, 0 where it is not known."""
    if name in ("flops", "bytes"):
        return float(side["total"][name])
    if name in ("memory", "kv_cache"):
        return float(side["memory"]["total" if name == "memory" else name])
    return float(side[name] or 0)


def _measured(sides: Sequence[Side]) -> FittingTable:
    classes = [row["class"] for row in sides[0]["classes"]]
    # What neither side spends time on is left out.
    shown = [name for n, name in enumerate(classes) if sides[0]["classes"][n]["seconds"]["median"]]
    columns = [Column("measured", left=True), Column("step"), Column("ratio, 95 %"), Column("kernels", 1)]
    table = FittingTable([*columns, *(Column(name, 5 if name == "normalisation" else 2) for name in shown)])
    for n, side in enumerate(sides):
        step = seconds(side["measured"]["step_s"]["median"])
        if n:
            ratios = side["measured_ratios"]
            table.add(side["arch"], step, *(interval(ratios[name]) for name in ("step", "kernels", *shown)))
        else:
            times = {row["class"]: seconds(row["seconds"]["median"]) for row in side["classes"]}
            kernels = seconds(side["measured"]["kernels_s"]["median"])
            table.add(side["arch"], step, "", kernels, *(times[name] for name in shown))
    return table


def _is_alike(one: Side | None, other: Side | None) -> bool:
    """Return whether two sides do an operation alike: the same work, and the longest kernels are shared."""
    if one is None or other is None:
        return one is other
    if any(summed(one, key) != summed(other, key) for key in ("flops", "bytes")):
        return False
    kernels = [next(iter(row["measured"]["kernels"].values())) for row in (one, other) if row["measured"]]
    if len(kernels) < 2 or not all(kernels):
        return len(kernels) != 1
    # The order of two that take alike long changes from run to run.
    return kernels[0][0] in kernels[1] and kernels[1][0] in kernels[0]


def _cell(row: Side | None) -> str:
    if row is None:
        return "–"
    if row["measured"]:
        return seconds(row["measured"]["seconds"]["median"])
    if row.get("done_by"):
        return f"in {row['done_by']}"
    return f"{short(summed(row, 'flops'))}, {short(summed(row, 'bytes'))}"
