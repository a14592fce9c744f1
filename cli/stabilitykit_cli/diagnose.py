"""``stabilitykit diagnose``: the incidents of finished logs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stabilitykit.errors import ConfigError, StabilityKitError
from stabilitykit_cli import consoles, exits
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.options import Debug, FailOn, Json
from stabilitykit_cli.pictures import Picture, Pictures, Plot

if TYPE_CHECKING:
    from stabilitykit.records import Verdict
    from stabilitykit.replay import Replay

HELP = """Say from the logs of a finished run whether it held, and what left its band first.

Reads folders of stabilitykit and CSV files of anybody; no torch is needed.

Examples:
  stabilitykit diagnose runs/post_norm-1
  stabilitykit diagnose history.csv --loss train/nll
  stabilitykit diagnose runs/* --json --fail-on unstable
  stabilitykit diagnose history.csv --plot
  stabilitykit diagnose runs/* -o runs.html
"""

Format = Literal["auto", "run", "csv"]
Runs = list[tuple[Path, "Replay"]]


def diagnose(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Run folders or log files.")],
    format: Annotated[Format, typer.Option("--format", help="What the logs are.")] = "auto",
    loss: Annotated[
        str | None, typer.Option("--loss", help="Name of the loss in the logs, where it cannot be guessed.")
    ] = None,
    plot: Plot = False,
    picture: Picture = None,
    json: Json = False,
    fail_on: FailOn = None,
    debug: Debug = False,
) -> int:
    """Diagnose each path, print the verdicts, and return the exit status.

    Raises:
        ConfigError: What was typed does not fit the logs.
        StabilityKitError: The only path given cannot be read, or the picture cannot be made.
    """
    pictures = Pictures.asked(plot, picture, json)
    runs, failures = _read_all(paths, format, loss, debug)
    if runs:
        if json:
            print_document(_document(runs, failures, several=len(paths) > 1))
        else:
            pictures.draw(runs)
            _show(runs, several=len(paths) > 1)
        pictures.write(runs)
    if failures:
        return exits.FAILED
    return exits.stability_status((run.verdict.outcome for _, run in runs), fail_on)


def _read_all(
    paths: list[Path], format: Format, loss: str | None, debug: bool
) -> tuple[Runs, dict[Path, StabilityKitError]]:
    from stabilitykit.replay import replay

    runs: Runs = []
    failures: dict[Path, StabilityKitError] = {}
    for path in paths:
        try:
            runs.append((path, replay(path, format=format, loss=loss)))
        except ConfigError:
            raise
        except StabilityKitError as error:
            # With several paths the others still get their verdicts; the exit status tells of the failure.
            if len(paths) == 1:
                raise
            failures[path] = error
            exits.report(error, debug)
    return runs, failures


def badness(verdict: "Verdict") -> tuple[int, int, int]:
    """Return a key that orders verdicts from best to worst."""
    from stabilitykit.records import OUTCOMES

    severest = max((incident.severity.rank for incident in verdict.incidents), default=-1)
    return OUTCOMES.index(verdict.outcome), severest, len(verdict.incidents)


def _worst(runs: Runs) -> "tuple[Path, Replay]":
    return max(runs, key=lambda run: badness(run[1].verdict))


def _document(runs: Runs, failures: dict[Path, StabilityKitError], several: bool) -> dict[str, Any]:
    worst = _one(*_worst(runs))
    if not several:
        return worst
    failed = [{"path": str(path), "error": str(error)} for path, error in failures.items()]
    return {**worst, "runs": [_one(path, run) for path, run in runs], "failed": failed}


def _one(path: Path, run: "Replay") -> dict[str, Any]:
    return {**run.verdict.to_json(), "path": str(path), "source": run.source, "notes": list(run.notes)}


def _show(runs: Runs, several: bool) -> None:
    from stabilitykit_cli.render import note_lines, runs_table, verdict_report

    path, worst = _worst(runs)
    if several:
        consoles.show(runs_table([(str(each), run.verdict) for each, run in runs]))
    consoles.show(verdict_report(worst.verdict, f"{path} · {worst.source} · {worst.verdict.steps} steps"))
    if worst.notes:
        consoles.show(note_lines(worst.notes))
