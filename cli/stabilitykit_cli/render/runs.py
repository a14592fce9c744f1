"""What ``runs`` prints: one line a run or a sweep."""

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stabilitykit.lab.sweep.inventory import Kept, KeptSweep
from stabilitykit.store.inventory import KeptRun
from stabilitykit_cli.render.words import OUTCOME_STYLES, age, bytes_taken, number

_UNKNOWN = "-"
_STATE_STYLES = {"running": "cyan", "unfinished": "yellow", "interrupted": "yellow"}


def inventory_table(kept: Sequence[Kept]) -> RenderableType:
    """Return the table of runs and sweeps, with what all of them take."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("folder", overflow="fold")
    table.add_column("arch", overflow="fold")
    table.add_column("steps", justify="right", no_wrap=True)
    table.add_column("verdict")
    for column in ("final loss", "incidents", "size", "age"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in kept:
        table.add_row(*_cells(each))
    return Group(table, Text(), Text(_total(kept), style="dim"))


def inventory_lines(kept: Sequence[Kept]) -> list[str]:
    """Return the same cells as plain lines, separated by tabs."""
    return ["\t".join(cell.plain for cell in _cells(each)) for each in kept]


def _total(kept: Sequence[Kept]) -> str:
    # Sweeps may share cells, which are there once.
    runs = [run for each in kept for run in (each.runs if isinstance(each, KeptSweep) else (each,))]
    sizes = {run.folder: run.size for run in runs}
    told = bytes_taken(sum(sizes.values()))
    return f"{len(sizes)} run{'' if len(sizes) == 1 else 's'}, {told}"


def _cells(each: Kept) -> list[Text]:
    own = _sweep_cells(each) if isinstance(each, KeptSweep) else _run_cells(each)
    return [*own, Text(bytes_taken(each.size)), Text(age(time.time() - each.written))]


def _run_cells(run: KeptRun) -> list[Text]:
    return [
        Text(str(run.folder)),
        Text(run.arch or _UNKNOWN),
        Text(_UNKNOWN if run.steps is None else str(run.steps)),
        _verdict(run),
        Text(number(run.final_loss)),
        Text(_UNKNOWN if run.incidents is None else str(run.incidents)),
    ]


def _sweep_cells(sweep: KeptSweep) -> list[Text]:
    outcomes = Text(", ").join(
        Text.assemble(f"{n} ", (word, OUTCOME_STYLES.get(word, "red")))
        for word, n in sorted(sweep.outcomes.items(), key=lambda each: -each[1])
    )
    if sweep.state == "running":
        outcomes = Text(", ").join([*([outcomes] if outcomes else []), Text("running", style="cyan")])
    return [
        Text(str(sweep.file)),
        Text("sweep"),
        Text(f"{sweep.done}/{sweep.total} cells"),
        outcomes or Text(_UNKNOWN),
        Text(_UNKNOWN),
        Text(str(sweep.incidents)),
    ]


def _verdict(run: KeptRun) -> Text:
    if run.outcome is None:
        return Text(run.state, style=_STATE_STYLES.get(run.state, ""))
    outcome = Text(run.outcome, style=OUTCOME_STYLES.get(run.outcome, "red"))
    return outcome.append(" (interrupted)", style="yellow") if run.state == "interrupted" else outcome
