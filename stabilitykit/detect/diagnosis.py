"""Step records in, incidents and verdict out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stabilitykit.detect import Detector, default_detectors
from stabilitykit.detect.incidents import IncidentBook
from stabilitykit.detect.loss import LOSS
from stabilitykit.detect.running import RunningDetectors
from stabilitykit.detect.state import StateParts
from stabilitykit.records import LOSS_KINDS, Incident, IncidentChange, Outcome, StepRecord, Verdict


class Diagnosis:
    """Runs detectors over step records and keeps the incidents.

    The same records give the same incidents, live, resumed or replayed.

    Args:
        detectors: What to run; all built-in ones unless given.

    Raises:
        ConfigError: Two detectors are of one kind, or one is no detector.
    """

    def __init__(self, detectors: Sequence[Detector] | None = None) -> None:
        self._detectors = RunningDetectors(default_detectors() if detectors is None else detectors)
        self._book = IncidentBook(self._detectors)
        self._step = -1
        self._loss: float | None = None

    @property
    def settings(self) -> dict[str, dict[str, float]]:
        """The limits of every detector, by kind; kept with the run."""
        return self._detectors.settings

    @property
    def failed(self) -> dict[str, str]:
        """Why detectors are off, by kind: an error ends one, and the others go on."""
        return self._detectors.failed

    @property
    def unkept(self) -> dict[str, str]:
        """Why the state of detectors cannot be kept, by kind: where training is resumed, they begin anew."""
        return self._detectors.unkept

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All incidents so far, in the order in which they were announced."""
        return self._book.incidents

    def update(self, record: StepRecord) -> list[IncidentChange]:
        """Take the next record and return what happened to incidents at it."""
        loss = record.readings.get(LOSS)
        if loss is not None:
            self._loss, self._step = loss, record.step
        return self._book.take(record.step, self._detectors.look(record))

    def untold(self) -> list[IncidentChange]:
        """Return updates of open incidents whose peak has moved since they were last told of."""
        return self._book.untold(self._step)

    def verdict(self, complete: bool = True) -> Verdict:
        """Return how the run stands, from the loss alone, with all incidents beside it."""
        outcome, reason = self._outcome()
        return Verdict(outcome, reason, complete, self._book.seen, self.incidents)

    def _outcome(self) -> tuple[Outcome, str]:
        if self._loss is None:
            return "unknown", self._what_is_missing()
        if not math.isfinite(self._loss):
            return "diverged", f"the last loss, at step {self._step}, is {self._loss}"
        if (diverged := self._book.open_one("divergence")) is not None:
            return "diverged", diverged.message
        if (stuck := self._book.open_one("stuck")) is not None:
            return "stuck", stuck.message
        past = [i for i in self.incidents if i.kind in LOSS_KINDS or (i.kind, i.site) == ("nonfinite", LOSS)]
        if past:
            words = ", ".join(f"{i.kind} at step {i.start}" for i in past[:3])
            more = f" and {len(past) - 3} more" if len(past) > 3 else ""
            return "recovered", f"the loss came back after {words}{more}"
        return "stable", f"the loss shows no incident over {self._book.seen} steps"

    def _what_is_missing(self) -> str:
        """Return why there is nothing at all to judge a run by, and what its inside says instead."""
        if not self._book.seen:
            return "no step was recorded"
        missing = f"no loss was recorded in {self._book.seen} steps"
        broken = self._book.open_one("nonfinite")
        return f"{missing}; {broken.message}" if broken else missing

    def snapshot(self) -> dict[str, Any]:
        """Return what a replay of the records to come needs, as plain JSON types.

        Unlike ``state_dict`` it does not grow with the run: incidents that closed at earlier records, whose
        record is kept elsewhere, are not in it.
        """
        return {
            "detectors": self._detectors.states(),
            **self._book.snapshot(),
            "inside": self._detectors.sees_inside,
            "step": self._step,
            "loss": self._loss,
            "failed": dict(self.failed),
        }

    def load_snapshot(self, state: Mapping[str, Any], record: Iterable[Incident]) -> list[str]:
        """Take up what ``snapshot`` returned, with the same detectors.

        Args:
            state: The snapshot.
            record: All incidents of the run, in their newest state; later ones are passed over.

        Returns:
            What could not be taken up, and why.
        """
        known = {incident["id"] for incident in state["closed"]}
        known |= {now["id"] for now, *_ in state["open"].values()}
        earlier = [i for i in record if i.id < state["announced"] and i.id not in known]
        closed = [*(incident.to_json() for incident in earlier), *state["closed"]]
        return self.load_state_dict({**state, "closed": closed})

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain JSON types."""
        return {**self.snapshot(), "closed": self._book.closed()}

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Take up the state that ``state_dict`` returned, as far as it can be read.

        It may be another version's, or of other detectors, or damaged: what is good of it is taken up, and
        what is not begins anew.

        Returns:
            What could not be taken up, and why.
        """
        parts = StateParts(state)
        self._detectors.failed = parts.read("failed", _texts, {}) if "failed" in parts else {}
        self._detectors.forget_choices()
        parts.unread += parts.read("detectors", self._detectors.load_states, [])
        self._book.load(parts)
        self._step = parts.read("step", int, self._step)
        self._loss = parts.read("loss", _number, self._loss)
        self._detectors.sees_inside = parts.read("inside", bool, self._detectors.sees_inside)
        return parts.unread


def _texts(given: Mapping[str, str]) -> dict[str, str]:
    return {str(kind): str(why) for kind, why in given.items()}


def _number(given: Any) -> float | None:
    return None if given is None else float(given)
