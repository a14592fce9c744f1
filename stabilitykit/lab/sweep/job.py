"""What a worker is sent: one cell to be trained."""

from dataclasses import dataclass
from pathlib import Path

from stabilitykit.lab.probe.spec import ProbeSpec


@dataclass(frozen=True)
class Job:
    """One cell to be trained, as it is sent to a worker."""

    spec: ProbeSpec
    folder: Path
    """The cell's folder, which the worker can reach under this path."""
    stop_when_certain: bool = False
    """Whether training ends once the verdict is certain."""
