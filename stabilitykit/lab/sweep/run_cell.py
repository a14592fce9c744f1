"""What every worker does, whatever the backend: train one cell and write down how it ended."""

import gc
import json
import math
import os
import traceback
from contextlib import suppress
from pathlib import Path
from time import monotonic

from stabilitykit.detect.loss import LOSS
from stabilitykit.errors import RunFolderError
from stabilitykit.lab.probe.ranks import RankLostError
from stabilitykit.lab.probe.run_probe import ProbeResult, probe
from stabilitykit.lab.sweep.grid import CellResult, IncidentBrief, write_result
from stabilitykit.lab.sweep.job import Job
from stabilitykit.live.listener import Listener
from stabilitykit.records import StepRecord, number_to_json
from stabilitykit.store.contents import CRASH, PROGRESS
from stabilitykit.store.disk import replace_file
from stabilitykit.store.removal import empty

_SECONDS = 0.5


def run_cell(job: Job) -> CellResult | None:
    """Train a cell in its folder, from its beginning, and return how it ended.

    What an earlier attempt left in the folder is removed. An error of the training is a result; the folder
    then holds ``crash.txt``.

    Args:
        job: What to train, and where.

    Returns:
        The result, which the folder then holds as well; None where the run was interrupted, or one of its
        processes was killed.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    _clear(job.folder)
    progress, began = _Progress(job.folder, job.spec.trainer.steps), monotonic()
    try:
        ended = probe(job.spec, job.folder, progress, stop_when_certain=job.stop_when_certain)
    except RunFolderError:
        raise
    except RankLostError:
        return None
    except Exception as error:
        result = _crashed(job.folder, error, progress, monotonic() - began)
    else:
        if ended.disk_failed:
            raise RunFolderError(f"{job.folder}: the disk refused to be written")
        if not ended.verdict.complete:
            return None
        result = _result(ended, progress, monotonic() - began)
    with suppress(OSError):
        (job.folder / PROGRESS).unlink()
    _settle(job.folder)
    write_result(job.folder, result)
    # A run's model, trainer and text hold each other: a worker would grow by 19 MB a run until Python looks.
    gc.collect()
    return result


class _Progress(Listener):
    """Follows a run: keeps its first loss, and writes now and then how far it is."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.first_loss: float | None = None
        self.steps = 0
        self._folder = folder
        self._planned = steps
        self._due = -math.inf

    def record(self, record: StepRecord) -> None:
        """Keep the first loss; write the progress where that is due."""
        self.steps += 1
        if self.steps == 1:
            self.first_loss = number_to_json(record.readings.get(LOSS, math.nan))
        if monotonic() >= self._due:
            self._due = monotonic() + _SECONDS
            text = json.dumps({"step": record.step + 1, "steps": self._planned})
            with suppress(OSError):
                replace_file(self._folder / PROGRESS, text, sync=False)


def _clear(folder: Path) -> None:
    if folder.is_symlink():
        raise RunFolderError(f"{folder}: is a link, and nothing is removed through links")
    if folder.exists() and not empty(folder):
        raise RunFolderError(
            f"{folder}: beside what is left of an earlier attempt it holds files of somebody else;"
            " move them, or name another folder with --logdir"
        )


def _result(ended: ProbeResult, progress: _Progress, seconds: float) -> CellResult:
    return CellResult(
        outcome=ended.verdict.outcome,
        reason=ended.verdict.reason,
        first_loss=progress.first_loss,
        final_loss=ended.final_loss,
        best_loss=ended.best_loss,
        steps=ended.steps,
        seconds=round(seconds, 3),
        stopped_early=ended.stopped_early,
        incidents=tuple(map(IncidentBrief.of, ended.verdict.incidents)),
    )


def _crashed(folder: Path, error: Exception, progress: _Progress, seconds: float) -> CellResult:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / CRASH, "".join(traceback.format_exception(error)))
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return CellResult("crashed", line, progress.first_loss, steps=progress.steps, seconds=round(seconds, 3))


def _settle(folder: Path) -> None:
    """Wait until the disk has all of a folder: no result must outlast a power cut that the rest does not."""
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                descriptor = os.open(Path(place) / name, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
