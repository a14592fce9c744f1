"""TensorBoard beside a run: a few scalars, heat maps that carry the depth story, incidents and verdict."""

import logging
import math
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary

from stabilitykit.errors import RunFolderError
from stabilitykit.figures import heat_map
from stabilitykit.records import Incident, IncidentChange, StepRecord
from stabilitykit.store import charts
from stabilitykit.store.contents import event_bytes, folder_bytes
from stabilitykit.store.depth_history import DepthHistory
from stabilitykit.store.disk import reason
from stabilitykit.store.event_file import EventFile
from stabilitykit.tags import REGISTRY, by_conventional_site

log = logging.getLogger(__name__)

_SHARE = 1 / 4
"""Of a folder's budget, for event files."""
_OF_PICTURES = 1 / 2
"""Of that share, where heat maps and tables end."""
WRITES = 1000
"""Writings of scalars after which the steps between two double; TensorBoard shows no more points of a tag."""
SPANS_PER_IMAGE = 10
"""Heat maps are written after so many columns of steps, and once a twentieth of the run has passed since."""
PROMPT = 100
"""Openings and closings of incidents that are shown at once; later ones come with the next heat maps."""


@dataclass(frozen=True, slots=True)
class _HeatMap:
    """One kind of depth × step picture."""

    tag: str
    title: str
    family: str
    suffix: str


_HEAT_MAPS = (
    _HeatMap("depth/gradient_share", "Gradient share", "grad/share", ""),
    _HeatMap("depth/residual_rms", "Residual RMS", "act/rms", ".resid_post"),
)


class _Plan:
    """Where in a record of certain tags the charted values are, and when they are due."""

    def __init__(
        self, tags: tuple[str, ...], renamed: Mapping[str, str], histories: dict[_HeatMap, DepthHistory]
    ) -> None:
        self.due = 0
        self.charted = [(at, tag) for at, tag in enumerate(tags) if charts.is_charted(tag, renamed)]
        self.heat: list[tuple[DepthHistory, NDArray[np.intp], NDArray[np.intp]]] = []
        where = {tag: at for at, tag in enumerate(tags)}
        for kind, history in histories.items():
            by_name = by_conventional_site(tags, kind.family, renamed)
            chosen = [name for name in by_name if name.endswith(kind.suffix)]
            if chosen:
                sites = [name.removesuffix(kind.suffix) for name in chosen]
                places = np.array([where[by_name[name]] for name in chosen], np.intp)
                self.heat.append((history, history.rows(sites), places))


class TensorBoardWriter:
    """Writes event files beside a run: scalars every few steps, heat maps, incidents, the verdict.

    The file grows with the logarithm of the run's length. Scalars come every 10 steps up to step 10,000,
    then every 20 up to 20,000, every 40 up to 40,000, and so on; heat maps every 100 steps, and from step
    2,000 on when the run has grown by a twentieth.

    A heat map's cell is the largest reading of its steps, whether or not these were written as scalars.

    Once the disk has refused, every later call raises the same error, and ``close`` stays quiet.

    Args:
        folder: Where the event file goes; made with its parents.
        every: Steps between two of the first 1,000 writings of scalars, and in a heat map's first columns.
        folder_mb: What the folder may take, in megabytes (1e6 bytes), all that is in it. A quarter of it is
            for event files, those of earlier writers included: heat maps and tables end where half of that
            is used, and scalars where all of it is; a line of the log says so.

    Raises:
        RunFolderError: The folder cannot be written.
    """

    def __init__(self, folder: Path, every: int = 10, folder_mb: float = math.inf) -> None:
        self.folder = folder
        self._every = every
        self._failure: RunFolderError | None = None
        self._histories: dict[_HeatMap, DepthHistory] = {}
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._plan: tuple[tuple[str, ...], _Plan] | None = None
        self._known: dict[str, None] = {}
        self._incidents: dict[int, Incident] = {}
        self._step = 0
        self._image_due = 0
        self._told = 0
        self._table_waits = False
        self._budget = 1e6 * folder_mb
        self._share = _SHARE * self._budget
        self._spent = event_bytes(folder)
        self._is_full = False
        self._file: EventFile | None = None
        if self._spent < self._share:
            with self._disk():
                self._file = EventFile(folder)

    def record(self, record: StepRecord, force: bool = False) -> None:
        """Take one step: into the heat maps always, as scalars when it is their turn.

        Args:
            record: The step.
            force: Whether to write its scalars out of turn, as at a finding.

        Raises:
            RunFolderError: The disk did not take it.
        """
        if self._failure is not None:
            raise self._failure
        plan = self._plan_of(record)
        self._step = record.step
        for history, rows, places in plan.heat:
            history.add(record.step, rows, record.values[places])
        if force or record.step >= plan.due:
            interval = self._interval(record.step)
            plan.due = (record.step // interval + 1) * interval
            self._write(self._scalars(plan, record))
        if record.step >= self._image_due:
            self._image_due = self._next_image(record.step)
            self._write(self._images() + (self._table() if self._table_waits else []), _OF_PICTURES)

    def incident(self, change: IncidentChange) -> None:
        """Write the table of incidents when one opens or closes, and the heat maps when one opens.

        After the first hundred of these the table waits for the next heat maps.

        Raises:
            RunFolderError: The disk did not take it.
        """
        self._incidents[change.incident.id] = change.incident
        if change.what == "updated":
            return
        self._step = max(self._step, change.step)
        self._told += 1
        if self._told > PROMPT:
            self._table_waits = True
            return
        self._write(self._table(), _OF_PICTURES)
        if change.what == "opened":
            self._write(self._images(), _OF_PICTURES)

    def close(self, verdict_text: str | None = None) -> None:
        """Write the last heat maps, the incidents and the verdict, and close the file.

        Args:
            verdict_text: How the run ended, in Markdown; None where nobody knows.

        Raises:
            RunFolderError: The disk did not take it; after an earlier failure nothing is tried.
        """
        try:
            if self._failure is None:
                last = self._images()
                if self._incidents:
                    last += self._table()
                if verdict_text is not None:
                    last.append(charts.text("verdict", verdict_text))
                self._write(last)
        finally:
            if self._file is not None:
                self._file.close()

    def _plan_of(self, record: StepRecord) -> _Plan:
        if self._plan is None or self._plan[0] is not record.tags:
            if not self._histories:
                span = self._interval(record.step)
                first = record.step // span * span
                self._histories = {kind: DepthHistory(first, span) for kind in _HEAT_MAPS}
                self._image_due = first + span * SPANS_PER_IMAGE
            if record.tags not in self._plans:
                self._plans[record.tags] = _Plan(record.tags, record.renamed, self._histories)
            self._plan = record.tags, self._plans[record.tags]
        return self._plan[1]

    def _scalars(self, plan: _Plan, record: StepRecord) -> list[Summary.Value]:
        # TensorBoard marks a NaN by a triangle and leaves an Inf out; which it was stands in the readings.
        values = np.where(np.isinf(record.values), np.nan, record.values).tolist()
        scalars = [Summary.Value(tag=tag, simple_value=values[at]) for at, tag in plan.charted]
        new = [tag for _, tag in plan.charted if tag not in self._known]
        if new:
            self._known.update(dict.fromkeys(new))
            scalars.append(charts.layout(self._known, record.renamed))
        return scalars

    def _interval(self, step: int) -> int:
        """Return the steps between two writings of scalars: the same however often a run resumes."""
        return self._every << (step // (self._every * WRITES)).bit_length()

    def _next_image(self, step: int) -> int:
        grid = SPANS_PER_IMAGE * max(history.span for history in self._histories.values())
        return max(step // grid + 1, -(-(step + step // 20) // grid)) * grid

    def _images(self) -> list[Summary.Value]:
        if self._is_full:
            # They would not be written, and take milliseconds to draw.
            return []
        drawn = [(kind, history) for kind, history in self._histories.items() if not history.is_empty]
        return [charts.picture(kind.tag, self._draw(kind, history)) for kind, history in drawn]

    def _table(self) -> list[Summary.Value]:
        self._table_waits = False
        return [charts.text("incidents", charts.incidents_markdown(self._incidents.values()))]

    def _draw(self, kind: _HeatMap, history: DepthHistory) -> Image.Image:
        values, missing = history.table()
        return heat_map(
            values,
            history.sites,
            history.step_range,
            f"{kind.title}, largest of every {history.span} steps",
            REGISTRY[kind.family].unit,
            log=True,
            missing=missing,
            # TensorBoard shrinks pictures to cards of some 350 pixels; a narrow one stays legible.
            width=360,
            markers=[incident.start for incident in self._incidents.values()],
        )

    def _write(self, values: list[Summary.Value], of_share: float = 1.0) -> None:
        """Write an event, if it stays within so much of the event files' share and within the budget."""
        if not values:
            return
        with self._disk():
            most = self._share * of_share - self._spent
            if math.isfinite(most):
                most = min(most, self._budget - folder_bytes(self.folder))
            written = 0 if self._file is None else self._file.write(values, self._step, most)
        self._spent += written
        if not written and not self._is_full:
            self._is_full = True
            log.warning(
                "%s: TensorBoard's files have taken their share of folder_mb; from step %d on it shows less,"
                " and the readings have all",
                self.folder,
                self._step,
            )

    @contextmanager
    def _disk(self) -> Iterator[None]:
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except OSError as error:
            self._failure = RunFolderError(f"{self.folder}: cannot write for TensorBoard ({reason(error)})")
            raise self._failure from error


def tensorboard_command(folder: str | Path) -> str:
    """Return the command that shows a folder, to be typed into a shell.

    It names the TensorBoard beside the running interpreter, as briefly as the present folder allows.

    Args:
        folder: A run's folder, or one that holds several.
    """
    beside = Path(sys.executable).with_name("tensorboard")
    found = shutil.which("tensorboard")
    if found and Path(found) == beside:
        program = "tensorboard"
    elif beside.exists():
        inside = beside.is_relative_to(Path.cwd())
        program = shlex.quote(str(beside.relative_to(Path.cwd()) if inside else beside))
    else:
        program = f"{shlex.quote(sys.executable)} -m tensorboard.main"
    return f"{program} --logdir {shlex.quote(str(folder))}"


def tensorboard_url(port: int = 6006) -> str:
    """Return the address of the custom scalars with smoothing off, which would hide spikes.

    Args:
        port: Where TensorBoard listens.
    """
    return f"http://localhost:{port}/?smoothing=0#custom_scalars&_smoothingWeight=0"
