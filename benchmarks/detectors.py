"""How well loss events are found: stabilitykit and the rules of peers, on real and on made-up runs.

The traces are a folder with a manifest of labels and its own scorer; the made-up runs need no file.

    python benchmarks/detectors.py --traces DIR                        # everything
    python benchmarks/detectors.py --traces DIR --only stabilitykit    # one tool, by a part of its name
    python benchmarks/detectors.py --family creep --seeds 50           # families, by a part of their names
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from detection.baselines import BASELINES
from detection.families import FAMILIES, score_families
from detection.log import Tool
from detection.ours import OURS
from detection.tables import (
    Table,
    confusion_table,
    families_table,
    sources_table,
    tools_table,
    traces_table,
)
from detection.traces import Score, Traces
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as RichTable


def show(console: Console, table: Table) -> None:
    """Print a table."""
    shown = RichTable(title=table.title, title_justify="left")
    for n, name in enumerate(table.head):
        shown.add_column(name, justify="right" if n else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)


def on_traces(traces: Traces, tools: Sequence[Tool]) -> list[Score]:
    """Score every tool on the traces, with a progress bar."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("traces", total=len(traces.scored) * len(tools))
        return [traces.score(tool, lambda: progress.advance(task)) for tool in tools]


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
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Score, and print the tables."""
    options = parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 150)
    tools = [tool for tool in (OURS, *BASELINES) if options.only.lower() in tool.name.lower()]
    scores = on_traces(Traces(options.traces), tools) if options.traces else []
    if scores:
        show(console, traces_table(scores))
        show(console, sources_table(scores))
    for score in scores:
        if score.tool is OURS:
            show(console, confusion_table("Verdicts on traces: stabilitykit", score.confusion()))
        if options.rows:
            for row in score.rows:
                print(json.dumps({name: value for name, value in row.items() if name != "delays"}))
    names = [name for name in FAMILIES if options.family.lower() in name.lower()]
    if names:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("made-up runs", total=len(names) * options.seeds)
            found = score_families(tools, names, options.seeds, lambda: progress.advance(task))
        show(console, tools_table(found))
        for name, by_family in found.items():
            if name == OURS.name or len(tools) == 1:
                show(console, families_table(name, by_family))


if __name__ == "__main__":
    # Windows that hold NaN or Inf are part of the test.
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    main()
