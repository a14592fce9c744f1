"""The depth table: what every block shows now."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

from stabilitykit import tags
from stabilitykit.records import Incident
from stabilitykit_cli.progress import RunProgress
from stabilitykit_cli.render.words import SEVERITY_STYLES, Glyphs, number

_VALUE = 8
"""Columns of a number."""
_MARK = 10
"""Columns of mark and block."""


@dataclass(frozen=True)
class Column:
    """One statistic of the table."""

    title: str
    short: str
    """The title where columns are narrow."""
    family: str
    site: str
    """What follows the block's site in the tag."""
    worst: Callable[[Iterable[float]], float]
    share: bool
    """Whether values lie between 0 and 1, so that bars do not depend on the other blocks."""
    kinds: frozenset[str]
    """Incidents that speak of this statistic."""


COLUMNS = (
    Column("residual RMS", "RMS", "act/rms", ".resid_post", max, False, frozenset({"activation_blow_up"})),
    Column(
        "grad share",
        "share",
        "grad/share",
        "",
        min,
        True,
        frozenset({"vanishing_gradient", "gradient_spike"}),
    ),
    Column("max logit", "logit", "attn/logit_max", "", max, False, frozenset({"attention_logit_growth"})),
    Column("entropy", "entropy", "attn/entropy", "", min, True, frozenset({"entropy_collapse"})),
    Column("update ratio", "update", "optim/update_ratio", "", max, False, frozenset({"update_spike"})),
)


class DepthTable:
    """One row a block: residual RMS, gradient share, attention's maximum logit and entropy, update ratio.

    The worst number of each statistic is bold; a block with an open incident carries a mark, and the number
    that the incident speaks of its colour.

    Args:
        progress: The run.
        width: Columns.
        height: Rows of blocks at most; with more blocks than that, those with an open incident and an even
            choice of the others are shown.
        glyphs: What the terminal can show.
    """

    def __init__(self, progress: RunProgress, width: int, height: int, glyphs: Glyphs) -> None:
        self._glyphs = glyphs
        self._n_blocks = progress.plan.n_blocks
        self._width = width
        self._sites = [tags.block_site(index, self._n_blocks) for index in range(self._n_blocks)]
        self._values = [
            [progress.reading(tags.tag(column.family, site + column.site)) for site in self._sites]
            for column in COLUMNS
        ]
        self._open = _open_by_block(progress.incidents.values())
        self._shown = _choose(self._n_blocks, height, self._open)

    def rows(self) -> list[Text]:
        """Return the head and the rows, in depth order."""
        cells = [self._column(column, values) for column, values in zip(COLUMNS, self._values, strict=True)]
        lines = [self._head()]
        for index in self._shown:
            line = self._label(index)
            for column in cells:
                line.append_text(column[index])
            lines.append(line)
        return lines

    @property
    def _cell(self) -> int:
        return max(_VALUE + 1, (self._width - _MARK) // len(COLUMNS))

    def _head(self) -> Text:
        head = Text(f"   {'block':<{_MARK - 3}}", style="dim")
        for column in COLUMNS:
            title = column.title if len(column.title) < self._cell else column.short
            head.append(f"{title:<{self._cell}}")
        return head

    def _label(self, index: int) -> Text:
        incidents = self._open.get(index, ())
        name = self._sites[index].removeprefix("blocks.")
        if not incidents:
            return Text(f"   {name:<{_MARK - 3}}")
        style = SEVERITY_STYLES[max(incidents, key=lambda each: each.severity.rank).severity]
        return Text.assemble((f" {self._glyphs.open} {name:<{_MARK - 3}}", style))

    def _column(self, column: Column, values: Sequence[float | None]) -> list[Text]:
        finite = [value for value in values if value is not None and math.isfinite(value)]
        top = 1.0 if column.share else max((abs(value) for value in finite), default=1.0) or 1.0
        worst = column.worst(finite) if len(set(finite)) > 1 else None
        return [
            self._cell_text(value, top, self._style(column, index, value, worst))
            for index, value in enumerate(values)
        ]

    def _style(self, column: Column, index: int, value: float | None, worst: float | None) -> str:
        if value is not None and not math.isfinite(value):
            return "bold red"
        for incident in self._open.get(index, ()):
            if incident.kind in column.kinds:
                return f"bold {SEVERITY_STYLES[incident.severity]}"
        return "bold" if value is not None and value == worst else ""

    def _cell_text(self, value: float | None, top: float, style: str) -> Text:
        shown = self._glyphs.absent if value is None else number(value)
        text = Text(f"{shown:<{_VALUE}}", style="dim" if value is None else style)
        bar_width = self._cell - _VALUE - 2
        if bar_width >= 3:
            text.append_text(_bar(value, top, bar_width, self._glyphs, style))
        return text + Text(" " * (self._cell - len(text)))


def _bar(value: float | None, top: float, width: int, glyphs: Glyphs, style: str) -> Text:
    if value is None or not math.isfinite(value):
        return Text(" " * width)
    halves = round(min(1.0, max(0.0, value / top)) * width * 2)
    filled = glyphs.filled * (halves // 2) + glyphs.half * (halves % 2)
    colour = style.removeprefix("bold").strip() or "cyan"
    return Text(f"{filled:<{width}}", style=colour)


def _open_by_block(incidents: Iterable[Incident]) -> dict[int, list[Incident]]:
    found: dict[int, list[Incident]] = {}
    for incident in incidents:
        match = re.match(r"blocks\.(\d+)", incident.site)
        if match and incident.is_open:
            found.setdefault(int(match[1]), []).append(incident)
    return found


def _choose(n_blocks: int, height: int, first: Iterable[int]) -> list[int]:
    if n_blocks <= height:
        return list(range(n_blocks))
    chosen = sorted(index for index in first if index < n_blocks)[:height]
    even = [round(row * (n_blocks - 1) / max(1, height - 1)) for row in range(height)]
    for index in (even[0], even[-1], *even):
        if len(chosen) < height and index not in chosen:
            chosen.append(index)
    return sorted(chosen)
