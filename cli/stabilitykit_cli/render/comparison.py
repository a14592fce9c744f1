"""What came of a sweep: the grid of verdicts, a line for each setting, and its claims."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from stabilitykit.lab.report.landscape import short
from stabilitykit_cli.render.grid import counts, fits, legend, shown, verdict_grid
from stabilitykit_cli.render.words import ASCII, UNICODE, number, setting

if TYPE_CHECKING:
    from stabilitykit.lab.claims import ClaimResult
    from stabilitykit.lab.sweep.compare import Estimate, Summary
    from stabilitykit.lab.sweep.grid import Sweep

_CLAIM_STYLES = {"holds": "green", "does not hold": "red", "undecided": "yellow"}
_MOST_ROWS = 60
_MOST_SITES = 3


class Comparison:
    """What came of a sweep; it takes the width and the encoding of the console that it is printed on.

    Args:
        sweep: With the runs that have ended.
        summaries: One for each setting.
        claims: What became of the recipe's claims.
    """

    def __init__(
        self, sweep: "Sweep", summaries: "Sequence[Summary]", claims: "Sequence[ClaimResult]"
    ) -> None:
        self._sweep = sweep
        self._summaries = summaries
        self._claims = claims

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the question, the grid, the summaries, the claims and what the numbers mean."""
        glyphs, runs = (ASCII if options.ascii_only else UNICODE), self._sweep.runs
        yield Text()
        if question := self._sweep.plan.about.get("question"):
            yield Text(str(question), style="bold")
            yield Text()
        if runs:
            grid = fits(runs, options.max_width, _MOST_ROWS)
            yield verdict_grid(runs, glyphs, options.max_width) if grid else counts(runs, glyphs)
            yield legend(runs, glyphs) if grid else Text()
            yield Text()
        if self._summaries and len(self._summaries) <= _MOST_ROWS:
            yield _summary_table(self._summaries)
            yield Text()
            if order := _failure_order(self._summaries):
                yield order
                yield Text()
        if self._claims:
            yield _claim_table(self._claims)
            yield Text()
        yield from _footnotes(self._sweep, self._summaries)


def _summary_table(summaries: "Sequence[Summary]") -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    names = list(summaries[0].values)
    for name in names:
        table.add_column(short(name), no_wrap=True)
    has_rates = any(summary.lrs for summary in summaries)
    if has_rates:
        table.add_column("stable up to LR", no_wrap=True)
        table.add_column("best LR", justify="right")
    table.add_column("loss there" if has_rates else "loss", no_wrap=True)
    if has_rates:
        table.add_column("LR sensitivity", no_wrap=True)
    table.add_column("failed", justify="right")
    for each in summaries:
        cells = [shown(value) for value in each.values.values()]
        if has_rates:
            cells += [
                _interval(each.stable_lr_max, number),
                "-" if each.best_lr is None else setting(each.best_lr),
            ]
        cells.append(_interval(each.best_loss, number))
        if has_rates:
            cells.append(_interval(each.lr_sensitivity, _two_decimals))
        table.add_row(*cells, _failed(each))
    return table


def _interval(estimate: "Estimate", text: Any) -> str:
    if estimate.value is None:
        return "-"
    above = "≥ " if estimate.censored else ""
    value = f"{above}{text(estimate.value)}"
    if estimate.low is None and estimate.high is None:
        return value
    low = "-" if estimate.low is None else text(estimate.low)
    high = "?" if estimate.high is None else text(estimate.high)
    return f"{value} [{low}, {high}]"


def _two_decimals(nats: float) -> str:
    return f"{nats:.2f}"


def _failed(summary: "Summary") -> str:
    share = summary.failed
    return "-" if share.value is None else f"{round(share.value * share.n)}/{share.n}"


def _failure_order(summaries: "Sequence[Summary]") -> RenderableType | None:
    """Return what left its band first where runs failed; None where none did."""
    failing = [each for each in summaries if each.first_sites]
    if not failing:
        return None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("where runs failed", no_wrap=True)
    table.add_column("first to leave its band, in how many", overflow="fold")
    for each in failing:
        name = ", ".join(shown(value) for value in each.values.values())
        sites = sorted(each.first_sites.items(), key=lambda item: -item[1])[:_MOST_SITES]
        table.add_row(name or "all", ", ".join(f"{site} {times}" for site, times in sites))
    return table


def _claim_table(claims: "Iterable[ClaimResult]") -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("claim", overflow="fold")
    table.add_column("outcome", no_wrap=True)
    table.add_column("measured", no_wrap=True)
    table.add_column("band", no_wrap=True)
    table.add_column("seeds", justify="right")
    for claim in claims:
        measured = "-" if claim.value is None else number(claim.value)
        if claim.low is not None or claim.high is not None:
            measured += f" [{_end(claim.low)}, {_end(claim.high)}]"
        outcome = Text(claim.outcome, style=f"bold {_CLAIM_STYLES[claim.outcome]}")
        says = Text(claim.says)
        if claim.note:
            says.append(f" ({claim.note})", style="dim")
        table.add_row(
            says,
            outcome,
            f"{measured} {claim.unit}".strip(),
            f"{_end(claim.band[0])} to {_end(claim.band[1])}",
            str(claim.n),
        )
    return table


def _end(value: float | None) -> str:
    return "…" if value is None else number(value)


def _footnotes(sweep: "Sweep", summaries: "Sequence[Summary]") -> list[Text]:
    notes = [
        "[ , ] 95 % over seeds; failed: no stable verdict, or a loss 0.5 nat above the architecture's best"
    ]
    grid = next((each.lrs for each in summaries if each.lrs), ())
    if grid:
        notes.append(
            f"LR sensitivity: mean loss over {len(grid)} rates from {setting(grid[0])} to"
            f" {setting(grid[-1])}, less the best"
        )
    stopped = sum(run.result.stopped_early for run in sweep.runs if run.result)
    if stopped:
        notes.append(f"{stopped} runs were stopped early, as good as certain of their verdict")
    missing = len(sweep.runs) - len(sweep.done)
    if missing:
        notes.append(f"{missing} of {len(sweep.runs)} cells have not ended; repeat the command to go on")
    return [Text(note, style="dim") for note in notes]
