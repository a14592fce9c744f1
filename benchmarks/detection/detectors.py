"""How well loss events are found: stabilitykit and the rules of peers, on real and on made-up runs.

The traces are a folder with a manifest of labels and its own scorer; all else needs no file.

    python -m benchmarks.detection.detectors --traces DIR              # traces and made-up runs, 5 minutes
    python -m benchmarks.detection.detectors --traces DIR --only stabilitykit --family none
    python -m benchmarks.detection.detectors --family creep --seeds 50 # families, by a part of their names
    python -m benchmarks.detection.detectors --traces DIR --tool "stabilitykit diagnose --json"
    python -m benchmarks.detection.detectors --traces DIR --leave-one-out --docs docs/detectors.md
"""

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.detection import gradients, tables
from benchmarks.detection.baselines import BASELINES
from benchmarks.detection.families import FAMILIES, pooled, score_families
from benchmarks.detection.left_out import AXES, LeftOut, grid, leave_one_out
from benchmarks.detection.log import Tool
from benchmarks.detection.ours import OURS, command
from benchmarks.detection.toy import score_toys
from benchmarks.detection.traces import Score, Traces
from benchmarks.detection.truth import Counts

COMPARED = ("kj_207", "kl_0", "na_63", "sy_4", "jh_0")
"""Traces on which the command is held against the call, small ones."""
PROBES = ((8, 0), (8, 1), (2, 0), (2, 1))
"""Batch size and seed of the runs that are trained."""

ByFamily = dict[str, dict[str, Counts]]


def show(console: Console, table: tables.Table) -> None:
    """Print a table."""
    shown = Table(title=table.title, title_justify="left")
    for n, name in enumerate(table.head):
        shown.add_column(name, justify="right" if n else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)


@contextmanager
def ticking(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar of progress on stderr, and yield what moves it on."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def on_traces(traces: Traces, tools: Sequence[Tool]) -> list[Score]:
    """Score every tool on the traces."""
    with ticking("traces", len(traces.scored) * len(tools)) as tick:
        return [traces.score(tool, tick) for tool in tools]


def on_families(tools: Sequence[Tool], names: Sequence[str], seeds: int) -> ByFamily:
    """Score every tool on the families."""
    with ticking("made-up runs", len(names) * seeds) as tick:
        return score_families(tools, names, seeds, tick)


def without_each_source(traces: Traces) -> LeftOut:
    """Choose settings with each source left out."""
    settings = grid(AXES)
    with ticking("settings", len(traces.scored) * len(settings)) as tick:
        return leave_one_out(traces, settings, tick)


def compare(traces: Traces, line: str) -> bool:
    """Return whether a command says of some traces just what the call says, and print where it does not."""
    said = {tool.name: traces.judge(tool, COMPARED) for tool in (OURS, command(line))}
    differing = [name for name in COMPARED if said[OURS.name][name] != said[line][name]]
    print(f"{line!r} says the same as the call on {len(COMPARED) - len(differing)} of {len(COMPARED)} traces")
    for name in differing:
        print(f"{name}: {said[line][name]} instead of {said[OURS.name][name]}")
    return not differing


def write_docs(
    path: Path,
    tools: Sequence[Tool],
    traces: Traces,
    scores: list[Score],
    found: ByFamily,
    seeds: int,
    left_out: LeftOut,
) -> None:
    """Train, draw, and write the page."""
    from benchmarks.detection.page import Findings, write_page
    from benchmarks.detection.shapes import draw_shapes
    from benchmarks.detection.unigram import unigram_gain

    with ticking("training", len(PROBES)) as tick:
        gains = unigram_gain(PROBES, tick)
    (path.parent / "images").mkdir(exist_ok=True)
    pictures = draw_shapes(tools, path.parent / "images")
    norms = {**gradients.on_traces(traces), **gradients.on_made_up(seeds)}
    write_page(
        path, Findings(tools, scores, found, seeds, score_toys(tools), gains, left_out, pictures, norms)
    )


def document(scores: Sequence[Score], found: ByFamily, left_out: LeftOut | None) -> dict[str, Any]:
    """Return all figures as one JSON document."""
    families = {
        tool: {name: counts.to_json() for name, counts in {**by, "all": pooled(by)}.items()}
        for tool, by in found.items()
    }
    traces = {s.tool.name: {"pooled": s.pooled, "by_source": s.by_source, "rows": s.rows} for s in scores}
    chosen = None if left_out is None else {"pooled": left_out.pooled, "chosen": left_out.chosen}
    return {"traces": _plain(traces), "families": families, "left_out": _plain(chosen)}


def _plain(value: Any) -> Any:
    """Return a value with null for what is no number, which JSON cannot say."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def print_tables(scores: Sequence[Score], found: ByFamily, tools: Sequence[Tool], rows: bool) -> None:
    """Print what was found."""
    console = Console(width=None if sys.stdout.isatty() else 170)
    if scores:
        show(console, tables.traces_table(scores))
        show(console, tables.sources_table(scores))
    for score in scores:
        if score.tool is OURS:
            show(console, tables.confusion_table("Verdicts on traces: stabilitykit", score.confusion()))
        for row in score.rows if rows else ():
            print(json.dumps({name: value for name, value in row.items() if name != "delays"}))
    if found:
        show(console, tables.tools_table(found))
        show(console, tables.matrix_table(found, tools))
    for name, by_family in found.items():
        if name == OURS.name or len(found) == 1:
            show(console, tables.families_table(name, by_family))
            verdicts = pooled(by_family).verdicts
            show(console, tables.confusion_table(f"Verdicts on made-up runs: {name}", verdicts))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, help="folder with manifest.json, score.py and the traces")
    parser.add_argument("--only", default="", help="tools whose name holds this")
    parser.add_argument("--family", default="", help="families whose name holds this; 'none' for none")
    parser.add_argument("--seeds", type=int, default=20, help="made-up runs of each family")
    parser.add_argument("--rows", action="store_true", help="print each trace's counts, misses, false alarms")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.add_argument("--tool", help="a command to hold against the call on a few traces")
    parser.add_argument(
        "--leave-one-out", action="store_true", help="choose settings without the source judged"
    )
    parser.add_argument("--docs", type=Path, help="write the page of the documents there, and its pictures")
    options = parser.parse_args(arguments)
    if not options.traces and (options.leave_one_out or options.docs or options.tool):
        parser.error("--leave-one-out, --docs and --tool need --traces")
    if options.docs and (options.only or options.family or not options.leave_one_out):
        parser.error("--docs is written from everything: with --leave-one-out, without --only and --family")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Score, and print the tables; the status is 1 where a command was found to differ."""
    options = parse(arguments)
    tools = [tool for tool in (OURS, *BASELINES) if options.only.lower() in tool.name.lower()]
    names = [name for name in FAMILIES if options.family.lower() in name.lower()]
    traces = Traces(options.traces) if options.traces else None
    if traces and options.tool:
        return int(not compare(traces, options.tool))
    scores = on_traces(traces, tools) if traces else []
    found = on_families(tools, names, options.seeds) if names else {}
    left_out = without_each_source(traces) if traces and options.leave_one_out else None
    if options.json:
        print(json.dumps(document(scores, found, left_out), indent=1))
    else:
        print_tables(scores, found, tools, options.rows)
        if left_out:
            show(Console(width=170), tables.left_out_table(left_out))
    if options.docs and traces and left_out:
        write_docs(options.docs, tools, traces, scores, found, options.seeds, left_out)
    return 0


if __name__ == "__main__":
    # Windows that hold NaN or Inf are part of the test.
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    raise SystemExit(main())
