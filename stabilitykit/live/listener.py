"""What may follow a run while it goes on."""

from collections.abc import Mapping
from typing import Any

from stabilitykit.records import IncidentChange, StepRecord, Verdict


class Listener:
    """Follows a run: override what you want to hear of, everything else does nothing.

    On several ranks the first one's listeners alone are called. An error in one drops it, and is logged.

    Example:
        >>> class Losses(Listener):
        ...     def record(self, record):
        ...         print(record.step, record.readings["train/loss"])
    """

    def started(self, plan: Any) -> None:
        """Hear, before the first step, what a probe is about to run: a ``ProbePlan``."""

    def record(self, record: StepRecord) -> None:
        """Take the readings of an observed step; steps come in order."""

    def incident(self, change: IncidentChange) -> None:
        """Hear that an incident opened, changed or closed at the step just recorded."""

    def notice(self, message: str) -> None:
        """Take one line that the user of a probe should see."""

    def flush(self) -> None:
        """Write what is held back: a checkpoint is about to be made that rests on it."""

    def verdict(self, verdict: Verdict, document: Mapping[str, Any]) -> None:
        """Take the end of the run: its verdict, and the JSON document that is kept of it."""
