"""What the pictures of a run are drawn from: its curves, its verdict, a title."""

from dataclasses import dataclass, field

from stabilitykit.figures.lanes import Mark, is_of_gradient_norm, mark
from stabilitykit.figures.loss_curve import LossCurve
from stabilitykit.records import Incident, StepRecord, Verdict, is_of_loss

_LOSS = ("train/cross_entropy", "train/loss")
"""Tags of the loss; the first that is there is what the detectors judge."""
_GRAD_NORM = ("optim/grad_norm",)


class RunCurves:
    """The loss and the gradient norm over a run, taken from its records."""

    def __init__(self) -> None:
        self.loss = LossCurve()
        self.grad_norm = LossCurve()
        self._tags: tuple[str, ...] | None = None
        self._loss_at: int | None = None
        self._grad_norm_at: int | None = None

    def add(self, record: StepRecord) -> None:
        """Take in a record; what it does not hold is passed over."""
        # Records in a row share their tags, so that looking for them is rare.
        if record.tags is not self._tags:
            self._tags = record.tags
            self._loss_at = _index(record.tags, _LOSS)
            self._grad_norm_at = _index(record.tags, _GRAD_NORM)
        if self._loss_at is not None:
            self.loss.add(record.step, record.values.item(self._loss_at))
        if self._grad_norm_at is not None:
            self.grad_norm.add(record.step, record.values.item(self._grad_norm_at))


@dataclass(frozen=True)
class RunPicture:
    """A run, ready to be drawn."""

    title: str
    verdict: Verdict
    curves: RunCurves = field(default_factory=RunCurves)

    def __post_init__(self) -> None:
        # Names of files may hold anything; neither XML nor a terminal may.
        object.__setattr__(self, "title", printable(self.title))

    @property
    def span(self) -> tuple[int, int]:
        """First and last step of the curves."""
        spans = [curve.span for curve in (self.curves.loss, self.curves.grad_norm) if curve.points]
        return (min(s for s, _ in spans), max(e for _, e in spans)) if spans else (0, 0)

    @property
    def panels(self) -> list["Panel"]:
        """What is drawn above each other: the loss, and the gradient norm where there is one."""
        incidents = self.verdict.incidents
        panels = [Panel("loss", self.curves.loss, tuple(i for i in incidents if is_of_loss(i.kind, i.site)))]
        if self.curves.grad_norm.points:
            seen = tuple(i for i in incidents if is_of_gradient_norm(i))
            panels.append(Panel("gradient norm", self.curves.grad_norm, seen))
        return panels


@dataclass(frozen=True)
class Panel:
    """One curve, and the incidents that were seen in it."""

    name: str
    curve: LossCurve
    incidents: tuple[Incident, ...]

    @property
    def marks(self) -> list[Mark]:
        """Where the incidents stand."""
        return [mark(incident) for incident in self.incidents]

    @property
    def peaks(self) -> list[tuple[int, float]]:
        """Step and value of the incidents' peaks, where they are finite."""
        found = (self.curve.near(incident.peak) for incident in self.incidents)
        return [peak for peak in found if peak is not None]


def printable(text: str) -> str:
    """Return a text without what cannot be printed."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _index(tags: tuple[str, ...], wanted: tuple[str, ...]) -> int | None:
    return next((tags.index(tag) for tag in wanted if tag in tags), None)
