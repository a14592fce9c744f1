"""``stabilitykit runs``: the runs and sweeps that are kept, and removing them."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stabilitykit.errors import ConfigError, RunFolderError
from stabilitykit_cli import consoles, exits
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.options import Debug, Json
from stabilitykit_cli.run_documents import run_document, sweep_document

if TYPE_CHECKING:
    from stabilitykit.lab.sweep.inventory import Inventory, Kept

HELP = """List the runs that are kept, with verdicts and sizes; or remove some.

A sweep is one line; --cells lists its cells. Folders without a verdict are
running, or unfinished: killed, or running on another machine.

--remove takes what is named or chosen by --unfinished and --older-than. It
only says what would go until --yes is given. What stabilitykit did not write
stays, and so does a run that is being written.

Examples:
  stabilitykit runs
  stabilitykit runs experiments/ --sort size --json
  stabilitykit runs runs/post_norm-1 runs/lr/ --remove
  stabilitykit runs --unfinished --older-than 7d --remove --yes
"""

Sort = Literal["age", "folder", "size", "loss"]
_USUAL = Path("runs")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def runs(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH…",
            help="Runs, sweeps' plans, or folders that hold such; runs/ when left out.",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        Sort, typer.Option("--sort", help="What lines are sorted by, the newest or largest last.")
    ] = "age",
    cells: Annotated[bool, typer.Option("--cells", help="List every cell of a sweep.")] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Only runs without a verdict; a sweep's with --cells.")
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only what was last written before: 30m, 12h, 7d, 2w."),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Say what would be removed; with --yes, remove it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do remove.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """List or remove, and return the exit status.

    Raises:
        ConfigError: The options do not go together, or a time is not readable.
        RunFolderError: A path is not there or cannot be read, or the disk refused.
    """
    age = None if older_than is None else _seconds(older_than)
    if yes and not remove:
        raise ConfigError("--yes: needs --remove; it removes nothing alone")
    named = remove and not unfinished and age is None
    if named and not paths:
        raise ConfigError(
            "--remove: needs what to remove: runs or sweeps by name, --unfinished, or --older-than 7d"
        )
    found = [_look(path) for path in paths or [_USUAL]]
    if named:
        found = [_named(path, each) for path, each in zip(paths or [], found, strict=True)]
    chosen = _chosen(found, cells, unfinished, age)
    for note in (note for each in found for note in each.notes):
        exits.complain(note)
    if remove:
        from stabilitykit_cli.removing import remove_chosen

        return remove_chosen(_sorted(chosen, sort), yes, json, named)
    if json:
        print_document(_document(_sorted(chosen, sort), found))
    else:
        _show(_sorted(chosen, sort))
    return exits.OK


def _document(chosen: "list[Kept]", found: "list[Inventory]") -> dict[str, Any]:
    """Return every run, those of sweeps too, with the sweeps that it belongs to."""
    from stabilitykit.lab.sweep.inventory import KeptSweep

    sweeps = [sweep for each in found for sweep in each.sweeps]
    rows = {}
    for each in chosen:
        for run in each.runs if isinstance(each, KeptSweep) else (each,):
            rows[run.folder] = run_document(run, [sweep for sweep in sweeps if run in sweep.runs])
    shown = [sweep_document(each) for each in chosen if isinstance(each, KeptSweep)]
    return {"runs": list(rows.values()), "sweeps": shown}


def _show(chosen: "list[Kept]") -> None:
    from stabilitykit_cli.render.runs import inventory_lines, inventory_table

    if not chosen:
        consoles.progress().print("no runs", markup=False)
    elif sys.stdout.isatty():
        consoles.show(inventory_table(chosen))
    else:
        consoles.show_lines(inventory_lines(chosen))


def _look(path: Path) -> "Inventory":
    from stabilitykit.lab.sweep.inventory import take_inventory

    if path == _USUAL and not path.exists():
        raise RunFolderError(f"{path}: no such folder; probes are kept there, or name another")
    return take_inventory(path)


def _named(path: Path, found: "Inventory") -> "Inventory":
    """Return the run or the sweeps that a path names by itself.

    Raises:
        ConfigError: It is a folder of several things.
    """
    from stabilitykit.lab.sweep.inventory import Inventory

    runs = tuple(run for run in found.runs if run.folder == path)
    sweeps = tuple(sweep for sweep in found.sweeps if path in (sweep.folder, sweep.file))
    if not runs and not sweeps:
        raise ConfigError(
            f"--remove: {path} is no run and no sweep; name those in it,"
            " or choose by --unfinished or --older-than 7d"
        )
    return Inventory(runs, sweeps, found.notes)


def _chosen(found: "list[Inventory]", cells: bool, unfinished: bool, age: float | None) -> "list[Kept]":
    from stabilitykit.lab.sweep.inventory import KeptSweep, older_than

    kept: dict[Path, Kept] = {}
    for each in found:
        kept |= {run.folder: run for run in each.runs}
        for sweep in each.sweeps:
            if cells:
                kept |= {run.folder: run for run in sweep.runs}
            else:
                kept[sweep.file] = sweep
    chosen = list(kept.values())
    if unfinished:
        # A sweep that is not done holds runs that are.
        chosen = [each for each in chosen if not isinstance(each, KeptSweep) and each.outcome is None]
    return chosen if age is None else older_than(chosen, age)


def _sorted(chosen: "list[Kept]", sort: Sort) -> "list[Kept]":
    keys: dict[str, Any] = {
        "age": lambda each: each.written,
        "folder": lambda each: str(each.folder),
        "size": lambda each: each.size,
        "loss": _loss,
    }
    return sorted(chosen, key=keys[sort])


def _loss(each: "Kept") -> float:
    """Return a loss to sort by; what has none counts as infinite."""
    loss = getattr(each, "final_loss", None)
    return float("inf") if loss is None else float(loss)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if match is None:
        raise ConfigError(
            f"--older-than: got {text!r}; must be a number and a unit, as in 30m, 12h, 7d or 2w"
        )
    return float(match[1]) * _UNITS[match[2]]
