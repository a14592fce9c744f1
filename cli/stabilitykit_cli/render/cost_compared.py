"""Several models' costs side by side."""

from collections.abc import Sequence

from rich.console import Group, RenderableType

from stabilitykit.lab.cost.amounts import amount, seconds_text
from stabilitykit.lab.cost.document import CostDocument, GrowthRow, OperationRow, Side, StepMeasured
from stabilitykit_cli.render.fitting import Column, FittingTable
from stabilitykit_cli.render.quantities import intensity, interval, ratio

_PREDICTED = ("parameters", "flops", "bytes", "memory", "kv_cache", "bound_s")
_TITLES = {"flops": "FLOPs", "kv_cache": "KV cache", "bound_s": "at least"}


def side_by_side(document: CostDocument) -> RenderableType:
    """Return what every side costs, and the ratios to the first: predicted, and measured where it was.

    Args:
        document: One of two sides or more.
    """
    predicted = _predicted(document)
    return Group(predicted, _measured(document, document.measured)) if document.measured else predicted


def different_operations(sides: Sequence[Side]) -> RenderableType:
    """Return the operations whose work or whose kernels are not the same on all sides.

    Cells are seconds where sides were measured, otherwise FLOPs and bytes.

    Args:
        sides: Two or more.
    """
    titles = [each.arch.replace(", ", ",\n") for each in sides]
    columns = [Column(title, keep=len(sides) - n) for n, title in enumerate(titles)]
    table = FittingTable([Column("operation", left=True), *columns])
    found = [{row.name: row for row in each.operations} for each in sides]
    for name in dict.fromkeys(name for each in found for name in each):
        rows = [each.get(name) for each in found]
        if any(not _is_alike(rows[0], row) for row in rows[1:]):
            table.add(name, *(_cell(row) for row in rows))
    return table


def growth_table(rows: Sequence[GrowthRow]) -> RenderableType:
    """Return a row for every length of the cache and side.

    Args:
        rows: One or more.
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
    table = FittingTable([*predicted, *(measured if rows[0].measured else ())])
    last = None
    for row in rows:
        first, last = row.cache != last, row.cache
        if first:
            table.add_section()
        cells = [f"{last:,}" if first else "", row.arch, amount(row.kv_cache), intensity(row.intensity)]
        cells += [seconds_text(row.bound_s), intensity(row.attention.intensity)]
        times = row.measured
        if times:
            cells += [seconds_text(times.step_s.median), "" if first else interval(times.step_ratio)]
            cells += [
                seconds_text(times.attention_s.median),
                "" if first else interval(times.attention_ratio),
            ]
        table.add(*cells)
    return table


def _predicted(document: CostDocument) -> FittingTable:
    keep = {"bound_s": 2, "kv_cache": 1, "memory": 3, "parameters": 4}
    shown = [each for each in _PREDICTED if _value(document, each)]
    columns = [Column(_TITLES.get(each, each), keep.get(each, 0)) for each in shown]
    table = FittingTable([Column("predicted", left=True), *columns])
    table.add(document.arch, *_values(document, shown))
    for side in document.compared:
        ratios = [ratio(side.ratios[each]) for each in shown]
        cells = zip(_values(side, shown), ratios, strict=True)
        table.add(side.arch, *(f"{cell}  {by}" for cell, by in cells))
    return table


def _values(side: Side, shown: Sequence[str]) -> list[str]:
    return [(seconds_text if each == "bound_s" else amount)(_value(side, each)) for each in shown]


def _value(side: Side, name: str) -> float:
    """Return what a side costs, 0 where it is not known."""
    if name in ("flops", "bytes"):
        return float(getattr(side.total, name))
    if name in ("memory", "kv_cache"):
        return float(getattr(side.memory, "total" if name == "memory" else name))
    return float(getattr(side, name) or 0)


def _measured(document: CostDocument, measured: StepMeasured) -> FittingTable:
    # What neither side spends time on is left out.
    times = {row.name: row.seconds.median for row in document.classes if row.seconds and row.seconds.median}
    columns = [Column("measured", left=True), Column("step"), Column("ratio, 95 %"), Column("kernels", 1)]
    table = FittingTable([*columns, *(Column(name, 5 if name == "normalisation" else 2) for name in times)])
    kernels = seconds_text(measured.kernels_s.median)
    table.add(
        document.arch,
        seconds_text(measured.step_s.median),
        "",
        kernels,
        *(seconds_text(each) for each in times.values()),
    )
    for side in document.compared:
        step = side.measured.step_s.median if side.measured else None
        ratios = (interval(side.measured_ratios[name]) for name in ("step", "kernels", *times))
        table.add(side.arch, seconds_text(step), *ratios)
    return table


def _is_alike(one: OperationRow | None, other: OperationRow | None) -> bool:
    """Return whether two sides do an operation alike: the same work, and the longest kernels are shared."""
    if one is None or other is None:
        return one is other
    if (one.flops, one.bytes) != (other.flops, other.bytes):
        return False
    kernels = [next(iter(row.measured.kernels.values())) for row in (one, other) if row.measured]
    if len(kernels) < 2 or not all(kernels):
        return len(kernels) != 1
    # The order of two that take alike long changes from run to run.
    return kernels[0][0] in kernels[1] and kernels[1][0] in kernels[0]


def _cell(row: OperationRow | None) -> str:
    if row is None:
        return "–"
    if row.measured:
        return seconds_text(row.measured.seconds.median)
    if row.done_by:
        return f"in {row.done_by}"
    return f"{amount(row.flops)}, {amount(row.bytes)}"
