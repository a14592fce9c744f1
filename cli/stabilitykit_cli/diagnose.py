"""``stabilitykit diagnose``: the incidents of anybody's logs, finished or growing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stabilitykit_cli import consoles, exits
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.following import follow_all
from stabilitykit_cli.logs import AskedFor, Diagnosed, read_all
from stabilitykit_cli.options import Debug, FailOn, Json
from stabilitykit_cli.pictures import Picture, Pictures, Plot

if TYPE_CHECKING:
    from stabilitykit.afterwards.replay import Replay
    from stabilitykit.records import Verdict

HELP = """Say from the logs of a run whether it held, and what left its band first.

Reads TensorBoard event files, CSV, JSONL, trainer_state.json, text logs,
and folders of stabilitykit; compressed or not. Of a folder, every log in it
and below it. Loss, steps, gradient norm and learning rate are found by name.

Examples:
  stabilitykit diagnose runs/post_norm-1
  stabilitykit diagnose lightning_logs/ --json --fail-on unstable
  stabilitykit diagnose history.csv --loss train/nll --step it
  stabilitykit diagnose train.log --follow --plot
  stabilitykit diagnose runs/ -o runs.html
"""

Format = Literal["auto", "run", "csv", "jsonl", "trainer_state", "json", "notebook", "text", "tensorboard"]


def diagnose(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Logs, or folders with logs below them.")
    ],
    format: Annotated[
        Format, typer.Option("--format", help="What the logs are; found out by their content.")
    ] = "auto",
    loss: Annotated[
        str | None, typer.Option("--loss", help="Name of the training loss, where it cannot be guessed.")
    ] = None,
    step: Annotated[str | None, typer.Option("--step", help="Name of the steps.")] = None,
    grad_norm: Annotated[str | None, typer.Option("--grad-norm", help="Name of the gradient norm.")] = None,
    lr: Annotated[str | None, typer.Option("--lr", help="Name of the learning rate.")] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Go on as the logs grow, tell incidents at once; Ctrl-C ends it with the verdict.",
        ),
    ] = False,
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
    asked = AskedFor(tuple(paths), format, loss, step, grad_norm, lr, debug)
    found = follow_all(asked, quiet=json) if follow else read_all(asked, quiet=json)
    if found.runs:
        if json:
            print_document(_document(found))
        else:
            pictures.draw(found.runs)
            _show(found)
        pictures.write(found.runs)
    if found.interrupted:
        return exits.interrupted()
    if found.failures:
        return exits.FAILED
    return exits.stability_status((run.verdict.outcome for _, run in found.runs), fail_on)


def badness(verdict: "Verdict") -> tuple[int, int, int]:
    """Return a key that orders verdicts from best to worst."""
    from stabilitykit.records import OUTCOMES

    severest = max((incident.severity.rank for incident in verdict.incidents), default=-1)
    return OUTCOMES.index(verdict.outcome), severest, len(verdict.incidents)


def _worst(found: Diagnosed) -> "tuple[Path, Replay]":
    return max(found.runs, key=lambda run: badness(run[1].verdict))


def _document(found: Diagnosed) -> dict[str, Any]:
    worst = _one(*_worst(found))
    if not found.several:
        return worst
    return {
        **worst,
        "runs": [_one(path, run) for path, run in found.runs],
        "failed": [{"path": str(path), "error": str(error)} for path, error in found.failures.items()],
        "passed_over": [str(path) for path in found.passed_over],
    }


def _one(path: Path, run: "Replay") -> dict[str, Any]:
    return {**run.verdict.to_json(), "path": str(path), "source": run.source, "notes": list(run.notes)}


def _show(found: Diagnosed) -> None:
    from stabilitykit_cli.render import note_lines, runs_table, verdict_report

    path, worst = _worst(found)
    if found.several:
        consoles.show(runs_table([(each, run.verdict) for each, run in found.runs]))
    consoles.show(verdict_report(worst.verdict, f"{path} · {worst.source} · {worst.verdict.steps} steps"))
    notes = list(worst.notes)
    if found.passed_over:
        notes.append(f"without a training loss and passed over: {len(found.passed_over)} (--json lists them)")
    if notes:
        consoles.show(note_lines(notes))
