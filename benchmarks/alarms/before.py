"""What ``probe --check`` expects of the runs before they train, against what became of them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.alarms.labels import FAILED, Kind, Labels
from benchmarks.alarms.runs import Run
from benchmarks.detection.tables import Table
from stabilitykit.lab.probe import ProbeSpec
from stabilitykit.lab.probe.checks import verdict_of
from stabilitykit.lab.probe.spec import spec_of

BECAME = ("failed", "grey", "healthy")


def expected(run: Run) -> str:
    """Return what is expected of a run by its configuration."""
    fields = {name: value for name, value in run.config.items() if name in ProbeSpec.model_fields}
    return str(verdict_of(spec_of(run.arch, fields, {})))


def became(kind: Kind) -> str:
    """Return what became of a run in one word."""
    return "failed" if kind in FAILED else str(kind.value)


def check_table(parts: Mapping[str, Sequence[Run]], labels: Labels) -> Table:
    """Return one row for each part and expectation: what became of the runs."""
    lines = []
    for part, runs in parts.items():
        counts = Counter((expected(run), became(labels[run.name].kind)) for run in runs)
        for word in ("stable", "unstable", "unknown"):
            lines.append((part, word, *(str(counts[word, end] or "") for end in BECAME)))
    return Table("", ("runs", "expected", *BECAME), lines)
