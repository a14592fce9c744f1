"""Where a callback keeps its run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stabilitykit.store import is_run_folder


def choose_folder(
    named: Path | None, usual: Path, state: Mapping[str, Any] | None, is_again: bool = False
) -> tuple[Path, bool]:
    """Return a run's folder, and whether to go on with what is in it.

    Args:
        named: The folder that somebody asked for, if somebody did.
        usual: The folder of a run for which nobody did.
        state: The monitor's state in a checkpoint that training goes on from, if it does.
        is_again: Whether the same callback has kept a run before.
    """
    kept = Path(state["folder"]) if state and state["folder"] else None
    if kept is not None and is_run_folder(kept):
        return kept, True
    # A folder that somebody names must be empty, but for this callback's own earlier run.
    if named and not is_again:
        return named, False
    return free_folder(named or usual), False


def free_folder(base: Path) -> Path:
    """Return a folder's name, numbered when an earlier run is kept there.

    Args:
        base: The name that is wanted.
    """
    candidate, n = base, 1
    while candidate.exists() and any(candidate.iterdir()):
        n += 1
        candidate = base.with_name(f"{base.name}-{n}")
    return candidate
