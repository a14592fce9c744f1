"""What ``presets`` prints."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_COLUMNS = ("norm", "block", "position", "ffn", "tricks")
_NO_WRAP = ("norm", "position", "ffn")
_TITLE = 13
"""Columns of a title that stands beside its line."""


def presets_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return the table of architectures, wirings first.

    Args:
        rows: ``name``, ``kind`` and the columns of each.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("name", style="cyan", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, no_wrap=column in _NO_WRAP)
    for i, row in enumerate(rows):
        last_wiring = row["kind"] == "wiring" and rows[min(i + 1, len(rows) - 1)]["kind"] != "wiring"
        table.add_row(row["name"], *(row[column] for column in _COLUMNS), end_section=last_wiring)
    hint = "wirings at the probe's sizes, presets as published; stabilitykit presets NAME shows one in full"
    return Group(table, Text(hint, style="dim"))


def preset_page(document: Mapping[str, Any]) -> RenderableType:
    """Return everything about one architecture: what it is, its parameters, its configuration, its sources.

    Args:
        document: What ``presets NAME --json`` prints.
    """
    parts: list[RenderableType] = [
        Text.assemble((document["name"], "bold cyan"), "  ", document["about"]),
        Text(),
    ]
    parts += [_titled(title, text) for title, text in document["columns"].items() if text]
    parts += [_titled("proportions", _proportions(document["ratios"])), Text()]
    parts += [_parameters(document["parameters"]), Text()]
    text = yaml.safe_dump(document["config"], sort_keys=False, default_flow_style=None, width=80)
    parts.append(Text(text.rstrip()))
    if document["sources"]:
        parts += [
            Text(),
            Text("Sources", style="dim"),
            *(Text(f"  {source}") for source in document["sources"]),
        ]
    return Group(*parts)


def _titled(title: str, text: str) -> Text:
    return Text.assemble((f"{title:<{_TITLE}}", "dim"), text)


def _proportions(ratios: Mapping[str, float]) -> str:
    return (
        f"d_ff/d {ratios['d_ff_per_d_model']:g} · h·k/d {ratios['heads_width_per_d_model']:g} "
        f"· d/L {ratios['d_model_per_layer']:g}"
    )


def _parameters(counts: Mapping[str, int]) -> RenderableType:
    total = sum(counts.values())
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", width=_TITLE - 1)
    table.add_column(justify="right")
    table.add_column(justify="right", style="dim")
    for part, count in counts.items():
        if count:
            table.add_row(part, f"{count:,}", f"{100 * count / total:.1f} %")
    table.add_row("parameters", f"{total:,}")
    return table
