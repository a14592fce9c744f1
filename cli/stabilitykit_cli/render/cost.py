"""What ``cost`` prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_BAR = 40
_LETTERS = {"contraction": "#", "normalisation": "=", "element-wise": "."}
_SHORT = {"contraction": "contract", "normalisation": "norm", "element-wise": "element"}
_LIMITS = {"memory": "bytes", "arithmetic": "FLOPs", None: ""}
_STYLES = {"contraction": "cyan", "normalisation": "yellow", "element-wise": "magenta"}


def cost_page(document: Mapping[str, Any]) -> RenderableType:
    """Return the page of one prediction, or of several side by side.

    Args:
        document: What ``cost --json`` prints.
    """
    parts: list[RenderableType] = [_title(document), Text()]
    if "compared" in document:
        sides = [document, *document["compared"]]
        parts += [_side_by_side(sides), _different_operations(sides)]
        if "growth" in document:
            parts.append(_growth(document["growth"]))
    else:
        parts += [_operations(document)]
    parts += [*_bars(document), Text(), _memory(document), _peaks(document)]
    return Group(*parts)


def _title(document: Mapping[str, Any]) -> Text:
    length = "cache" if document["mode"] == "decode" else "seq"
    told = (
        f"{document['mode']}, batch {document['batch']}, {length} {document['length']:,}, {document['dtype']}"
    )
    names = " · ".join([document["arch"], *(each["arch"] for each in document.get("compared", []))])
    return Text.assemble((names, "bold cyan"), f"  {told}  {document['parameters']:,} parameters")


def _operations(document: Mapping[str, Any]) -> Table:
    table = _table("operation", "class", "layers", "FLOPs", "%", "bytes", "%", "FLOP/B", "at least", "limit")
    whole = document["total"]
    for row in document["operations"]:
        flops, moved = (_summed(row, key) for key in ("flops", "bytes"))
        table.add_row(
            row["name"],
            Text(_SHORT[row["class"]], style=_STYLES[row["class"]]),
            str(row["layers"]),
            short(flops),
            _percent(flops, whole["flops"]),
            short(moved),
            _percent(moved, whole["bytes"]),
            f"{flops / moved:.3g}" if moved else "–",
            seconds(row["bound_s"]),
            _LIMITS[row["bound_by"]],
        )
    table.add_section()
    for name, work in document["passes"].items():
        if work["flops"]:
            table.add_row(*_pass_row(name, work, whole))
    intensity = f"{whole['intensity']:.3g}"
    shown = ("total", "", "", short(whole["flops"]), "100", short(whole["bytes"]), "100", intensity)
    table.add_row(*shown, seconds(document["bound_s"]), "", style="bold")
    return table


def _pass_row(name: str, work: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[str, ...]:
    shares = [_percent(work[key], whole[key]) for key in ("flops", "bytes")]
    intensity = f"{work['intensity']:.3g}"
    return name, "", "", short(work["flops"]), shares[0], short(work["bytes"]), shares[1], intensity


def _side_by_side(sides: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("", *(each["arch"] for each in sides))
    rows: list[tuple[str, list[float]]] = [
        ("parameters", [each["parameters"] for each in sides]),
        ("FLOPs", [each["total"]["flops"] for each in sides]),
        ("bytes", [each["total"]["bytes"] for each in sides]),
    ]
    for i, row in enumerate(sides[0]["classes"]):
        rows.append((f"  {row['class']}: FLOPs", [each["classes"][i]["flops"] for each in sides]))
        rows.append((f"  {row['class']}: bytes", [each["classes"][i]["bytes"] for each in sides]))
    rows += [
        (f"memory: {part}", [each["memory"][part] for each in sides])
        for part in sides[0]["memory"]
        if any(each["memory"][part] for each in sides)
    ]
    for name, values in rows:
        table.add_row(name, *_with_ratios(values, short))
    table.add_row("FLOP/B", *(f"{each['total']['intensity']:.3g}" for each in sides))
    table.add_row("at least", *_with_ratios([each["bound_s"] for each in sides], seconds))
    return table


def _different_operations(sides: Sequence[Mapping[str, Any]]) -> Table:
    """Return the operations whose cost is not the same on all sides: FLOPs and bytes of each."""
    table = _table("operation", *(f"{each['arch']}: FLOPs, bytes" for each in sides))
    found = [{row["name"]: row for row in each["operations"]} for each in sides]
    for name in dict.fromkeys(name for each in found for name in each):
        rows = [each.get(name) for each in found]
        work = [row and (_summed(row, "flops"), _summed(row, "bytes")) for row in rows]
        if any(each != work[0] for each in work):
            table.add_row(name, *(f"{short(each[0])}, {short(each[1])}" if each else "–" for each in work))
    return table


def _growth(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("cache", "", "FLOPs", "bytes", "FLOP/B", "KV cache", "at least")
    last = None
    for row in rows:
        first, last = row["cache"] != last, row["cache"]
        if first:
            table.add_section()
        told = (short(row["flops"]), short(row["bytes"]), f"{row['intensity']:.3g}", short(row["kv_cache"]))
        table.add_row(f"{last:,}" if first else "", row["arch"], *told, seconds(row["bound_s"]))
    return table


def _bars(document: Mapping[str, Any]) -> list[Text]:
    """Return the shares of the classes: one bar of FLOPs, one of bytes."""
    lines = []
    for row in document["classes"]:
        name = row["class"]
        told = f"{100 * row['flops_share']:6.2f} % of FLOPs {100 * row['bytes_share']:6.2f} % of bytes"
        lines.append(Text.assemble((f"{_LETTERS[name]} {name:<14}", _STYLES[name]), told))
    return [*lines, Text(), *(_bar(title, document["classes"], key) for title, key in _SHARES.items())]


_SHARES = {"FLOPs": "flops_share", "bytes": "bytes_share"}


def _bar(title: str, classes: Sequence[Mapping[str, Any]], key: str) -> Text:
    bar, done, filled = Text(f"{title:<10}"), 0.0, 0
    for row in classes:
        done += row[key]
        end = round(done * _BAR)
        bar.append(_LETTERS[row["class"]] * (end - filled), style=_STYLES[row["class"]])
        filled = end
    return bar


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


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for i, column in enumerate(columns):
        left = i == 0 or column in ("class", "limit", "")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    return table


def _summed(row: Mapping[str, Any], key: str) -> int:
    return sum(row[name][key] for name in ("forward", "backward", "step"))


def _with_ratios(values: Sequence[float], shown: Any) -> list[str]:
    first = values[0]
    return [
        shown(value) if i == 0 or not first else f"{shown(value)}  ×{value / first:.3g}"
        for i, value in enumerate(values)
    ]


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f}" if whole else "–"


def short(value: float) -> str:
    """Return a count with its thousands in short, up to P."""
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 999.5 * size else f"{value / size:.0f} {unit}"
    return f"{value:.3g}"


def seconds(value: float | None) -> str:
    """Return a time with its unit."""
    if value is None:
        return "–"
    if value >= 999.5:
        return f"{value:,.0f} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"
