"""The runs and sweeps that are kept below a folder, and their removal. No torch."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stabilitykit.errors import ConfigError, RunFolderError
from stabilitykit.lab.sweep.grid.folder import (
    SUFFIX,
    Sweep,
    SweepRun,
    open_sweep,
    plan_files,
    remove_plan_leftovers,
)
from stabilitykit.lab.sweep.grid.lock import remove_lock
from stabilitykit.store.contents import CONFIG, is_run_folder, own_hparams
from stabilitykit.store.disk import reason
from stabilitykit.store.inventory import KeptRun, State, folders_below, kept_run
from stabilitykit.store.removal import remove_if_empty, remove_run, why_kept

_CELL = re.compile(r"[a-z0-9_.]+-[0-9a-f]{12}")


@dataclass(frozen=True, eq=False)
class KeptSweep:
    """A sweep's plan, and what there is of its cells."""

    file: Path
    """Its plan."""
    total: int
    """Cells that it asks for."""
    done: int
    outcomes: Mapping[str, int]
    """How often each cell's outcome, of those that are done."""
    runs: tuple[KeptRun, ...]
    """The cells that have a folder. Where the plan is the only one there, also those it does not ask for:
    an earlier plan's, or those between its values."""

    @property
    def folder(self) -> Path:
        """Where the plan and its cells lie."""
        return self.file.parent

    @property
    def name(self) -> str:
        """What the sweep is called."""
        return self.file.name.removesuffix(SUFFIX)

    @property
    def state(self) -> State:
        """Of the whole: running if one of its cells is."""
        if any(run.state == "running" for run in self.runs):
            return "running"
        return "finished" if self.done == self.total else "unfinished"

    @property
    def incidents(self) -> int:
        """How many, in all cells."""
        return sum(run.incidents or 0 for run in self.runs)

    @property
    def size(self) -> int:
        """Bytes of all its cells, those too that it shares with other sweeps."""
        return sum(run.size for run in self.runs)

    @property
    def written(self) -> float:
        """When the last of it was, in seconds since 1970."""
        return max([self.file.stat().st_mtime, *(run.written for run in self.runs)])


Kept = KeptRun | KeptSweep


@dataclass(frozen=True, eq=False)
class Inventory:
    """What is kept below a folder."""

    runs: tuple[KeptRun, ...]
    """Runs that are no cells of a sweep."""
    sweeps: tuple[KeptSweep, ...]
    notes: tuple[str, ...] = ()
    """Plans that could not be read; their cells are among the runs."""


def take_inventory(path: Path) -> Inventory:
    """Return the runs and sweeps at a path and below it.

    Args:
        path: A run's folder, a sweep's plan, or a folder that holds such.

    Raises:
        RunFolderError: There is nothing of this name, or it may not be read.
    """
    if path.name.endswith(SUFFIX) and path.is_file():
        return Inventory((), (_kept_sweep(_opened(path), path, {}),))
    runs: dict[Path, KeptRun] = {}
    plans: list[Path] = []
    for folder, names in folders_below(path):
        if CONFIG in names and is_run_folder(folder):
            runs[folder] = kept_run(folder)
        plans += [folder / name for name in names if name.endswith(SUFFIX)]
    sweeps, notes = [], []
    for file in plans:
        try:
            sweeps.append(_kept_sweep(_opened(file), file, runs))
        except RunFolderError as error:
            notes.append(str(error))
    cells = {run.folder for sweep in sweeps for run in sweep.runs}
    return Inventory(
        tuple(run for folder, run in runs.items() if folder not in cells), tuple(sweeps), tuple(notes)
    )


def _opened(file: Path) -> Sweep:
    try:
        return open_sweep(file)
    except RunFolderError:
        raise
    except (ConfigError, KeyError, TypeError) as error:
        raise RunFolderError(f"{file}: its cells are not known to this version ({error})") from None


def _kept_sweep(sweep: Sweep, file: Path, known: Mapping[Path, KeptRun]) -> KeptSweep:
    asked = {run.folder for run in sweep.runs}
    cells = [_cell(run, known) for run in sweep.runs if run.folder.is_dir()]
    if len(plan_files(file.parent)) == 1:
        cells += [
            run
            for folder, run in known.items()
            if folder.parent == file.parent and folder not in asked and _CELL.fullmatch(folder.name)
        ]
    outcomes = Counter(str(run.result.outcome) for run in sweep.runs if run.result is not None)
    return KeptSweep(file, len(sweep.runs), len(sweep.done), outcomes, tuple(cells))


def _cell(run: SweepRun, known: Mapping[Path, KeptRun]) -> KeptRun:
    """Return a cell; one that crashed at once has no config to tell its architecture."""
    kept = known.get(run.folder) or kept_run(run.folder)
    return replace(kept, arch=run.cell.spec.arch)


@dataclass(frozen=True, eq=False)
class Removal:
    """What the removal of a run or a sweep comes to."""

    kept: Kept
    runs: tuple[KeptRun, ...]
    """The folders that go: of a sweep the cells that no other sweep asks for."""
    refused: str | None = None
    """Why it must stay."""

    @property
    def name(self) -> str:
        """What is named to have it removed: the run's folder, or the sweep's plan."""
        return str(self.kept.file if isinstance(self.kept, KeptSweep) else self.kept.folder)

    @property
    def size(self) -> int:
        """Bytes that become free."""
        return sum(run.size for run in self.runs)


def removals(chosen: Iterable[Kept]) -> list[Removal]:
    """Return what the removal of some runs and sweeps comes to; removes nothing.

    Args:
        chosen: Of inventories.
    """
    chosen = list(chosen)
    refused = {id(kept): _why_kept(kept) for kept in chosen}
    going = {each.file for each in chosen if isinstance(each, KeptSweep) and refused[id(each)] is None}
    found: list[Removal] = []
    taken: set[Path] = set()
    for kept in chosen:
        why = refused[id(kept)]
        runs: Sequence[KeptRun] = ()
        if why is None:
            try:
                runs = _going_with(kept, going)
            except RunFolderError as error:
                why = f"may share cells with a plan that cannot be read: {error}"
        runs = tuple(run for run in runs if run.folder not in taken)
        taken |= {run.folder for run in runs}
        found.append(Removal(kept, runs, why))
    return found


def remove(removal: Removal) -> bool:
    """Remove a run or a sweep: what stabilitykit wrote, and the folders that are empty then.

    Args:
        removal: Of ``removals``, not refused.

    Returns:
        Whether the folder has gone; False where it holds other files, or another sweep.

    Raises:
        RunFolderError: A run is being written by now, or the disk refused.
    """
    for run in removal.runs:
        remove_run(run.folder)
    if isinstance(removal.kept, KeptSweep):
        try:
            _remove_plan(removal.kept)
        except OSError as error:
            raise RunFolderError(f"{removal.kept.file}: cannot be removed ({reason(error)})") from None
        remove_if_empty(removal.kept.folder)
    return not removal.kept.folder.exists()


def _why_kept(kept: Kept) -> str | None:
    if isinstance(kept, KeptRun):
        return why_kept(kept)
    if kept.folder.is_symlink():
        return "is a link, and links are left alone; name the folder itself"
    reasons = ((run.folder.name, why_kept(run)) for run in kept.runs)
    return next((f"{name} {why}" for name, why in reasons if why is not None), None)


def _going_with(kept: Kept, going: set[Path]) -> Sequence[KeptRun]:
    if isinstance(kept, KeptRun):
        return (kept,)
    others = [_opened(file) for file in plan_files(kept.folder) if file not in going]
    shared = {run.folder.name for sweep in others for run in sweep.runs}
    return tuple(run for run in kept.runs if run.folder.name not in shared)


def _remove_plan(sweep: KeptSweep) -> None:
    sweep.file.unlink(missing_ok=True)
    if plan_files(sweep.folder):
        return
    # The columns of TensorBoard's table are of no use without a sweep.
    for entry in own_hparams(sweep.folder):
        Path(entry.path).unlink(missing_ok=True)
    remove_plan_leftovers(sweep.folder)
    remove_lock(sweep.folder)


def older_than(kept: Iterable[Kept], seconds: float) -> list[Kept]:
    """Return those that were last written so long ago."""
    now = time.time()
    return [each for each in kept if now - each.written > seconds]
