"""What ``cost`` prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stabilitykit_cli.render.cost_compared import different_operations, growth_table, side_by_side
from stabilitykit_cli.render.fitting import Column, FittingTable
from stabilitykit_cli.render.quantities import percent, seconds, short, spread, summed

_BAR = 40
_LETTERS = {"contraction": "#", "normalisation": "=", "element-wise": "."}
_SHORT = {"contraction": "contract", "normalisation": "norm", "element-wise": "element"}
_LIMITS = {"memory": "bytes", "arithmetic": "FLOPs", None: ""}
_STYLES = {"contraction": "cyan", "normalisation": "yellow", "element-wise": "magenta"}
_SHARES = {"FLOPs": "flops_share", "bytes": "bytes_share", "time": "time_share"}
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


def cost_page(document: Mapping[str, Any]) -> RenderableType:
    """Return the page of one model's cost, or of several side by side.

    Args:
        document: What ``cost --json`` prints.
    """
    parts: list[RenderableType] = [_title(document), Text()]
    if "compared" in document:
        sides = [document, *document["compared"]]
        parts += [side_by_side(sides), different_operations(sides)]
        if "growth" in document:
            parts.append(growth_table(document["growth"]))
        parts.append(Text(f"shares of {document['arch']}"))
    else:
        parts += [_operations(document)]
    parts += [*_bars(document), Text(), *_step(document), _memory(document), _peaks(document)]
    return Group(*parts)


def _title(document: Mapping[str, Any]) -> Text:
    length = "cache" if document["mode"] == "decode" else "seq"
    told = (
        f"{document['mode']}, batch {document['batch']}, {length} {document['length']:,}, {document['dtype']}"
    )
    names = " · ".join([document["arch"], *(each["arch"] for each in document.get("compared", []))])
    return Text.assemble((names, "bold cyan"), f"  {told}  {document['parameters']:,} parameters")


def _operations(document: Mapping[str, Any]) -> FittingTable:
    measured = document["measured"]
    table = FittingTable([*_OPERATION, *(_MEASURED if measured else ())])
    whole = document["total"]
    for row in document["operations"]:
        flops, moved = (summed(row, key) for key in ("flops", "bytes"))
        table.add(
            row["name"],
            Text(_SHORT[row["class"]], style=_STYLES[row["class"]]),
            str(row["layers"] or ""),
            *_work(flops, moved, whole),
            seconds(row["bound_s"]),
            _LIMITS[row["bound_by"]],
            *(_timed(row, measured) if measured else ()),
        )
    table.add_section()
    for name, work in document["passes"].items():
        if work["flops"]:
            cells = _work(work["flops"], work["bytes"], whole)
            table.add(name, "", "", *cells, "", "", *(_pass_times(name, measured) if measured else ()))
    total = _work(whole["flops"], whole["bytes"], whole)
    times = (seconds(measured["kernels_s"]["median"]), "100.00", "") if measured else ()
    table.add("total", "", "", *total, seconds(document["bound_s"]), "", *times, style="bold")
    return table


def _work(flops: int, moved: int, whole: Mapping[str, Any]) -> tuple[str, ...]:
    intensity = f"{flops / moved:.3g}" if moved else "–"
    shares = percent(flops, whole["flops"]), percent(moved, whole["bytes"])
    return short(flops), shares[0], short(moved), shares[1], intensity


def _timed(row: Mapping[str, Any], measured: Mapping[str, Any]) -> tuple[str, str, str]:
    own = row["measured"]
    if own is None:
        return "", "", f"in {row['done_by']}" if row["done_by"] else ""
    took, kernels = own["seconds"]["median"], next(iter(own["kernels"].values()))
    told = " ".join(kernels)
    if len(told) > _KERNEL_WIDTH:
        told = kernels[0].strip("_")[:_KERNEL_WIDTH] + (f" +{len(kernels) - 1}" if len(kernels) > 1 else "")
    return seconds(took), percent(took, measured["kernels_s"]["median"]), told


def _pass_times(name: str, measured: Mapping[str, Any]) -> tuple[str, str, str]:
    took = measured["pass_s"][name]["median"]
    return seconds(took), percent(took, measured["kernels_s"]["median"]), ""


def _bars(document: Mapping[str, Any]) -> list[Text]:
    """Return the shares of the classes: in numbers, and one bar each of FLOPs, bytes and time."""
    classes = document["classes"]
    shares = {title: key for title, key in _SHARES.items() if key in classes[0]}
    lines = []
    for row in classes:
        name = row["class"]
        told = "".join(f"{100 * row[key]:7.2f} % of {title}" for title, key in shares.items())
        lines.append(Text.assemble((f"{_LETTERS[name]} {name:<14}", _STYLES[name]), told))
    return [*lines, Text(), *(_bar(title, classes, key) for title, key in shares.items())]


def _bar(title: str, classes: Sequence[Mapping[str, Any]], key: str) -> Text:
    bar, done, filled = Text(f"{title:<10}"), 0.0, 0
    whole = sum(row[key] for row in classes)
    for row in classes:
        done += row[key]
        end = round(done / whole * _BAR)
        bar.append(_LETTERS[row["class"]] * (end - filled), style=_STYLES[row["class"]])
        filled = end
    return bar


def _step(document: Mapping[str, Any]) -> list[Text]:
    measured = document["measured"]
    if measured is None:
        return []
    outside = f"{100 * measured['outside_share']:.0f} % of it outside kernels"
    unknown = f"{100 * measured['unattributed_share']:.2g} % of kernel time without an operation"
    machine = f"{measured['device']}, {measured['threads']} thread{'s' * (measured['threads'] != 1)}"
    told = f"{measured['rounds']} rounds on {machine}, torch {measured['torch']}; {unknown}"
    return [
        Text(f"step      {spread(measured['step_s'])}; {outside}"),
        Text(f"measured  {told}", style="dim"),
    ]


def _memory(document: Mapping[str, Any]) -> Text:
    parts = [f"{name.replace('_', ' ')} {short(size)}" for name, size in document["memory"].items() if size]
    text = Text("memory    " + ", ".join(parts) + " bytes")
    available = document["available"]
    if available is not None and document["memory"]["total"] > available:
        text.append(f"; more than the {short(available)} available here", style="red")
    return text


def _peaks(document: Mapping[str, Any]) -> Text:
    peaks = document["peaks"]
    told = f"{short(peaks['flops_per_s'])} FLOP/s, {short(peaks['bytes_per_s'])} byte/s"
    return Text(f"peaks     {told} here; below {peaks['ridge']:.3g} FLOP/B memory limits", style="dim")
