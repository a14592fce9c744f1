"""What ``cost`` prints."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from stabilitykit.lab.cost.amounts import amount, seconds_text
from stabilitykit.lab.cost.document import CostDocument, OperationRow, StepMeasured, WorkRow
from stabilitykit_cli.render.cost_compared import different_operations, growth_table, side_by_side
from stabilitykit_cli.render.fitting import Column, FittingTable
from stabilitykit_cli.render.quantities import intensity, percent, spread

_BAR = 40
_LETTERS = {"contraction": "#", "normalisation": "=", "element-wise": "."}
_SHORT = {"contraction": "contract", "normalisation": "norm", "element-wise": "element"}
_LIMITS = {"memory": "bytes", "arithmetic": "FLOPs", None: ""}
_STYLES = {"contraction": "cyan", "normalisation": "yellow", "element-wise": "magenta"}
_KERNEL_WIDTH = 30

_OPERATION = (
    Column("operation", left=True),
    Column("class", 7, left=True),
    Column("layers", 1),
    Column("FLOPs", 5),
    Column("% FLOPs", 10),
    Column("bytes", 4),
    Column("% bytes", 9),
    Column("FLOP/B", 2),
    Column("at least", 6),
    Column("limit", 3, left=True),
)
_MEASURED = (Column("time"), Column("% time"), Column("kernels, forward", 8, left=True))


def cost_page(document: CostDocument) -> RenderableType:
    """Return the page of one model's cost, or of several side by side.

    Args:
        document: What was priced.
    """
    parts: list[RenderableType] = [_title(document), Text()]
    if document.compared:
        parts += [side_by_side(document), different_operations(document.sides)]
        if document.growth:
            parts.append(growth_table(document.growth))
        parts.append(Text(f"shares of {document.arch}"))
    else:
        parts += [_operations(document)]
    parts += [*_bars(document), Text(), *_step(document), _memory(document), *_peaks(document)]
    return Group(*parts)


def _title(document: CostDocument) -> Text:
    length = "cache" if document.mode == "decode" else "seq"
    told = f"{document.mode}, batch {document.batch}, {length} {document.length:,}, {document.dtype}"
    names = " · ".join(each.arch for each in document.sides)
    return Text.assemble((names, "bold cyan"), f"  {told}  {document.parameters:,} parameters")


def _operations(document: CostDocument) -> FittingTable:
    measured = document.measured
    table = FittingTable([*_OPERATION, *(_MEASURED if measured else ())])
    whole = document.total
    for row in document.operations:
        table.add(
            row.name,
            Text(_SHORT[row.op_class], style=_STYLES[row.op_class]),
            str(row.layers or ""),
            *_work(row, whole),
            seconds_text(row.bound_s),
            _LIMITS[row.bound_by],
            *(_timed(row, measured) if measured else ()),
        )
    table.add_section()
    for name, work in document.passes.items():
        if work.flops:
            cells = _work(work, whole)
            table.add(name, "", "", *cells, "", "", *(_pass_times(name, measured) if measured else ()))
    times = (seconds_text(measured.kernels_s.median), "100.00", "") if measured else ()
    table.add("total", "", "", *_work(whole, whole), seconds_text(document.bound_s), "", *times, style="bold")
    return table


def _work(work: WorkRow | OperationRow, whole: WorkRow) -> tuple[str, ...]:
    flops, moved = work.flops, work.bytes
    shares = percent(flops, whole.flops), percent(moved, whole.bytes)
    return amount(flops), shares[0], amount(moved), shares[1], intensity(flops / moved if moved else None)


def _timed(row: OperationRow, measured: StepMeasured) -> tuple[str, str, str]:
    own = row.measured
    if own is None:
        return "", "", f"in {row.done_by}" if row.done_by else ""
    took, kernels = own.seconds.median, next(iter(own.kernels.values()))
    told = " ".join(kernels)
    if len(told) > _KERNEL_WIDTH:
        told = kernels[0].strip("_")[:_KERNEL_WIDTH] + (f" +{len(kernels) - 1}" if len(kernels) > 1 else "")
    return seconds_text(took), percent(took, measured.kernels_s.median), told


def _pass_times(name: str, measured: StepMeasured) -> tuple[str, str, str]:
    took = measured.pass_s[name].median
    return seconds_text(took), percent(took, measured.kernels_s.median), ""


def _bars(document: CostDocument) -> list[Text]:
    """Return the shares of the classes: in numbers, and one bar each of FLOPs, bytes and time."""
    rows, shares = document.classes, document.shares
    lines = []
    for n, row in enumerate(rows):
        told = "".join(f"{100 * each[n]:7.2f} % of {title}" for title, each in shares.items())
        lines.append(Text.assemble((f"{_LETTERS[row.name]} {row.name:<14}", _STYLES[row.name]), told))
    names = [row.name for row in rows]
    return [*lines, Text(), *(_bar(title, names, each) for title, each in shares.items())]


def _bar(title: str, classes: Sequence[str], shares: Sequence[float]) -> Text:
    bar, done, filled = Text(f"{title:<10}"), 0.0, 0
    whole = sum(shares)
    for name, share in zip(classes, shares, strict=True):
        done += share
        end = round(done / whole * _BAR)
        bar.append(_LETTERS[name] * (end - filled), style=_STYLES[name])
        filled = end
    return bar


def _step(document: CostDocument) -> list[Text]:
    measured = document.measured
    if measured is None:
        return []
    outside = f"{100 * measured.outside_share:.0f} % of it outside kernels"
    unknown = f"{100 * measured.unattributed_share:.2g} % of kernel time without an operation"
    machine = f"{measured.device}, {measured.threads} thread{'s' * (measured.threads != 1)}"
    told = f"{measured.rounds} rounds on {machine}, torch {measured.torch}; {unknown}"
    return [
        Text(f"step      {spread(measured.step_s)}; {outside}"),
        Text(f"measured  {told}", style="dim"),
    ]


def _memory(document: CostDocument) -> Text:
    parts = [f"{name.replace('_', ' ')} {amount(size)}" for name, size in document.memory if size]
    text = Text("memory    " + ", ".join(parts) + " bytes")
    available = document.available
    if available is not None and document.memory.total > available:
        text.append(f"; more than the {amount(available)} available here", style="red")
    return text


def _peaks(document: CostDocument) -> list[Text]:
    peaks = document.peaks
    if peaks is None:
        return []
    told = f"{amount(peaks.flops_per_s)} FLOP/s, {amount(peaks.bytes_per_s)} byte/s"
    return [Text(f"peaks     {told} here; below {peaks.ridge:.3g} FLOP/B memory limits", style="dim")]
