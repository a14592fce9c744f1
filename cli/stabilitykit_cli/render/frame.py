"""One frame of the live view."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from stabilitykit.records import Incident
from stabilitykit_cli.consoles import MAX_WIDTH
from stabilitykit_cli.progress import LOSS, UNIGRAM, RunProgress
from stabilitykit_cli.render.curve import LossCurve
from stabilitykit_cli.render.depth import DepthTable
from stabilitykit_cli.render.words import (
    ASCII,
    SEVERITY_STYLES,
    UNICODE,
    Glyphs,
    clock_time,
    number,
    setting,
    settings,
    size,
)

_LABEL, _NUMBER, _AXIS, _MARGIN = 15, 9, 8, 11
"""Columns beside the curve: a label, its number, the axis, and what stands to the right."""
_BESIDE = 64
"""From this width on numbers stand beside the curve; below it they take the place of the corpus."""
_FIXED = 10
"""Rows that every frame has: three of head, bar, two titles, three blank ones, and the cursor's."""


@dataclass(frozen=True)
class _Rows:
    """How many rows each part gets."""

    head: bool
    curve: int
    blocks: int
    incidents: int


class LiveFrame:
    """The run as it stands now: what is trained, the loss, the blocks, the incidents.

    It takes the size and the encoding of the console that it is printed on.

    Args:
        progress: The run.
    """

    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines of the frame."""
        width = min(options.max_width, MAX_WIDTH)
        glyphs = ASCII if options.ascii_only else UNICODE
        rows = _share_rows(options.size.height, self._progress.plan.n_blocks)
        for line in self._lines(width, rows, glyphs):
            line.no_wrap = True
            line.truncate(width, overflow="crop" if options.ascii_only else "ellipsis")
            yield line

    def _lines(self, width: int, rows: _Rows, glyphs: Glyphs) -> Iterator[Text]:
        if rows.head:
            yield from _head(self._progress, width, glyphs)
            yield Text()
        yield from _course(self._progress, width, rows.curve, glyphs)
        if rows.head:
            yield Text()
        if rows.blocks:
            yield from DepthTable(self._progress, width, rows.blocks, glyphs).rows()
            yield Text()
        yield from self._incidents(rows.incidents, glyphs)

    def _incidents(self, height: int, glyphs: Glyphs) -> Iterator[Text]:
        incidents = list(self._progress.incidents.values())
        yield _incidents_title(incidents)
        lines = _notice(self._progress.notice, glyphs)
        lines = (_incident_lines(incidents, max(0, height - len(lines)), glyphs) + lines)[:height]
        yield from lines
        if not self._progress.finished:
            # A frame of constant height does not jump while it is drawn again.
            yield from (Text() for _ in range(height - len(lines)))


def starting_line(arch: str) -> Text:
    """Return what stands on the screen until the first frame."""
    return Text.assemble(
        " ", (arch, "bold"), ("  loading torch, building the model, reading the corpus", "dim")
    )


def _share_rows(height: int, n_blocks: int) -> _Rows:
    spare = height - _FIXED
    if spare < 1:
        return _Rows(False, curve=max(1, height - 5), blocks=0, incidents=max(0, min(2, height - 4)))
    if spare < 8:
        return _Rows(True, curve=min(3, spare + 1), blocks=0, incidents=max(1, min(3, spare - 1)))
    curve = 3 + (spare >= 11) + 2 * (spare >= n_blocks + 12)
    blocks = min(n_blocks, spare - curve - (3 if spare >= 12 else 2))
    return _Rows(True, curve, blocks, min(8, spare - curve - blocks))


def _head(progress: RunProgress, width: int, glyphs: Glyphs) -> Iterator[Text]:
    plan = progress.plan
    yield Text.assemble(" ", (plan.spec.arch, "bold cyan"), "  ", (size(plan), "dim"))
    yield Text(f" {settings(plan)}")
    if width >= _BESIDE:
        yield Text(f" {glyphs.plain(plan.corpus)}", style="dim")
    else:
        yield Text(" " + ", ".join(f"{label} {value}" for label, value in _numbers(progress)[:3]))


def _course(progress: RunProgress, width: int, height: int, glyphs: Glyphs) -> Iterator[Text]:
    beside = width >= _BESIDE
    left = _LABEL + _NUMBER if beside else 1
    axis, margin = (_AXIS, _MARGIN) if beside else (0, 0)
    reference = progress.reading(UNIGRAM)
    curve = LossCurve(progress.trend, reference, max(8, width - left - axis - margin - 1), height, glyphs)
    numbers = _numbers(progress)[:height] if beside else []
    for row, picture in enumerate(curve.rows()):
        line = _labelled(*numbers[row]) if row < len(numbers) else Text(" " * left)
        if beside:
            line.append_text(_axis(curve, row, height, glyphs))
        line.append_text(picture)
        if beside and row == curve.reference_row:
            line.append(" unigram", style="dim")
        yield line
    yield _bar_line(progress, left, axis, width, glyphs, beside)


def _numbers(progress: RunProgress) -> list[tuple[str, str]]:
    loss, reference = progress.reading(LOSS), progress.reading(UNIGRAM)
    excess = None if loss is None or reference is None else loss - reference
    sign = "+" if excess is not None and excess > 0 else ""
    rate = progress.reading("optim/lr")
    return [
        ("loss", number(loss)),
        ("over unigram", sign + number(excess)),
        ("grad norm", number(progress.reading("optim/grad_norm"))),
        ("LR", "-" if rate is None else setting(rate)),
    ]


def _labelled(label: str, value: str) -> Text:
    style = "bold red" if value in ("nan", "inf", "-inf") else "bold"
    return Text.assemble((f" {label:<{_LABEL - 1}}", "dim"), (f"{value:<{_NUMBER}}", style))


def _axis(curve: LossCurve, row: int, height: int, glyphs: Glyphs) -> Text:
    shown = {0: curve.high, height - 1: curve.low}.get(row)
    if shown is None or curve.is_empty:
        return Text(" " * _AXIS)
    return Text(f"{number(shown):>{_AXIS - 2}} {glyphs.tick}", style="dim")


def _bar_line(progress: RunProgress, left: int, axis: int, width: int, glyphs: Glyphs, beside: bool) -> Text:
    steps, done = progress.plan.steps, progress.done
    told = f"{done}/{steps}"
    if len(told) >= _NUMBER:
        told = f"{100 * done // steps} %"
    line = _labelled("step", told) + Text(" " * axis) if beside else Text(f" {told} ")
    cells = max(8, width - len(line) - _MARGIN - 1)
    line.append_text(_progress_bar(progress, cells, glyphs))
    over = progress.finished or done >= steps
    ending = clock_time(progress.elapsed) if over else f"{clock_time(progress.left)} left"
    line.append(f" {ending}", style="dim")
    return line


def _progress_bar(progress: RunProgress, cells: int, glyphs: Glyphs) -> Text:
    steps = progress.plan.steps
    full = cells * progress.done // steps
    bar = Text(glyphs.filled * full, style="cyan") + Text(glyphs.empty * (cells - full), style="dim")
    marked = list(bar.plain)
    places: dict[int, str] = {}
    for incident in progress.incidents.values():
        place = min(cells - 1, cells * incident.start // steps)
        marked[place] = glyphs.mark(incident)
        places[place] = SEVERITY_STYLES[incident.severity]
    bar.plain = "".join(marked)
    for place, style in places.items():
        bar.stylize(style, place, place + 1)
    return bar


def _incidents_title(incidents: list[Incident]) -> Text:
    title = Text(" incidents  ", style="dim")
    if not incidents:
        return title.append("none so far")
    still_open = sum(incident.is_open for incident in incidents)
    return title.append(f"{still_open} open, {len(incidents) - still_open} closed")


def _incident_lines(incidents: list[Incident], height: int, glyphs: Glyphs) -> list[Text]:
    shown = incidents
    if len(incidents) > height:
        # What left its band first stays, then the newest.
        shown = incidents[:1] + incidents[len(incidents) - height + 1 :]
    kind, site = (max((len(getattr(each, name)) for each in shown), default=0) for name in ("kind", "site"))
    lines = []
    for incident in shown[:height]:
        style = SEVERITY_STYLES[incident.severity]
        line = Text.assemble(
            (f" {glyphs.mark(incident)} ", style),
            f"{incident.detected:>5}  ",
            (f"{incident.kind:<{kind}}  ", style if incident.is_open else ""),
            f"{incident.site:<{site}}  ",
            (glyphs.plain(" ".join(incident.message.split())), "dim"),
        )
        lines.append(line)
    return lines


def _notice(message: str, glyphs: Glyphs) -> list[Text]:
    return [Text(f" ! {glyphs.plain(message)}", style="yellow")] if message else []
