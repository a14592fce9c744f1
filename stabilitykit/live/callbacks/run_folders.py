"""Where a callback keeps its run: in the folder of the run that it goes on with, or in one of its own."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stabilitykit.errors import RunFolderError
from stabilitykit.guard import say
from stabilitykit.live.kept_run import numbered, run_id
from stabilitykit.live.monitor import whole_number
from stabilitykit.store import is_run_folder, open_run
from stabilitykit.store.writer_lock import is_being_written


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is kept, and how: arguments of the monitor."""

    folder: Path
    resume: bool = False
    """Whether to go on with the run that is in it."""
    continues: Mapping[str, Any] = field(default_factory=dict)
    """For ``config.yaml``: what a run in a folder of its own goes on from; empty where from nothing."""
    why: str = ""
    """Why a run that goes on does not go on in its folder."""


def choose_folder(
    named: Path | None,
    usual: Path,
    state: Mapping[str, Any] | None,
    is_again: bool = False,
    versioned: bool = False,
) -> Place:
    """Return where a run is kept.

    A run that goes on from a checkpoint goes on in that run's folder where it is its continuation: the folder
    is where this run would be kept too, holds that very run, nobody writes it, and the run has not ended with
    later steps. In any other case it has a folder of its own.

    Args:
        named: The folder that somebody asked for, if somebody did.
        usual: The folder of a run for which nobody did.
        state: The monitor's state in a checkpoint that training goes on from, if it does.
        is_again: Whether the same callback has kept a run before.
        versioned: Whether each run's usual folder lies in a numbered one of its own, as loggers number them.
    """
    base = named or usual
    own = base if named and not is_again else free_folder(base)
    kept, step = _kept_in(state)
    if kept is None or state is None:
        return Place(own)
    if step is None:
        return Place(own, False, {"folder": str(kept)}, "its state does not say at which step it stood")
    why = _why_not(kept, base, versioned and named is None, state, step)
    if not why:
        return Place(kept, True)
    # Its folder may have been moved, or copied, to where this run would be kept.
    for moved in _siblings(base):
        if _is_of(moved, state) and not _why_taken(moved, step):
            return Place(moved, True)
    return Place(own, False, {"folder": str(kept), "step": step}, why)


def tell(place: Place, monitor_folder: Path | None) -> None:
    """Say in one line where a run goes on that does not go on in its folder.

    Args:
        place: The place that was chosen.
        monitor_folder: Where the run is kept.
    """
    if place.why:
        say(f"{place.continues['folder']}: {place.why}; what follows is kept in {monitor_folder}")


def free_folder(base: Path) -> Path:
    """Return a folder's name, numbered when an earlier run is kept there.

    Args:
        base: The name that is wanted.
    """
    # One that cannot be looked into is for the monitor to tell of.
    with suppress(OSError):
        return next(name for name in numbered(base) if not name.exists() or not any(name.iterdir()))
    return base


def _kept_in(state: Mapping[str, Any] | None) -> tuple[Path | None, int | None]:
    """Return the folder that a state names, and the step at which it stood, as far as it says so."""
    if not isinstance(state, Mapping) or not isinstance(state.get("folder"), str):
        return None, None
    try:
        return Path(state["folder"]), whole_number(state.get("steps"))
    except (TypeError, ValueError):
        return Path(state["folder"]), None


def _why_not(kept: Path, base: Path, versioned: bool, state: Mapping[str, Any], step: int) -> str:
    """Return why a run is not the one to go on in a folder; nothing where it is."""
    if not is_run_folder(kept):
        return "that run's folder is gone"
    if not _is_place_of(kept, base, versioned):
        return "that run's folder is another's"
    if not _is_of(kept, state, or_unknown=True):
        return "another run is kept there by now"
    return _why_taken(kept, step)


def _why_taken(folder: Path, step: int) -> str:
    if is_being_written(folder):
        return "another process writes that run"
    try:
        run = open_run(folder)
        last = run.last_step
        if run.complete and last is not None and last >= step:
            return f"that run has ended, at step {last}, after the checkpoint's"
    except (OSError, ValueError) as error:
        return f"that run cannot be read ({error})"
    return ""


def _is_place_of(kept: Path, base: Path, versioned: bool) -> bool:
    """Return whether a run with this base may be kept in a folder: the same name, numbered or not."""
    kept, base = kept.resolve(), base.resolve()
    if not re.fullmatch(re.escape(base.name) + r"(-\d+)?", kept.name):
        return False
    return kept.parent == base.parent or (versioned and kept.parent.parent == base.parent.parent)


def _is_of(folder: Path, state: Mapping[str, Any], or_unknown: bool = False) -> bool:
    """Return whether a folder holds the run of a state.

    Args:
        folder: The folder.
        state: The state.
        or_unknown: What to say where one of them is of a version that gave runs no name.
    """
    try:
        found, wanted = run_id(folder), state.get("run")
    except (RunFolderError, OSError):
        return False
    return or_unknown if found is None or wanted is None else found == wanted


def _siblings(base: Path) -> Iterator[Path]:
    """Yield the folders in which runs with this base are kept."""
    for name in numbered(base):
        if not name.exists():
            return
        if is_run_folder(name):
            yield name
