"""Counts faults injected into everything that watching may call, and what they did to training.

``PYTHONPATH=tests python -m fault_injection.measure`` from the repository's root; the tests inject a part.
With a number, such as 3, each target gets one of so many faults.
"""

import logging
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track

from .loops import Own, OwnDetector, OwnSink, differs, modes_left, plain_loop
from .targets import FAULTS, Injection, Target, targets

OWN = [
    *(Target(OwnDetector, name) for name in ("update", "state_dict", "load_state_dict")),
    *(Target(OwnSink, name) for name in ("record", "incident", "verdict")),
    *(Target(Own, name) for name in ("statistic", "reaction")),
]
_ON_DISK = ("store", "monitor", "diagnosis", "fault_injection")
"""Where a folder is needed to reach all; it takes most of the time."""
MOMENTS = (-1, 1)
"""Steps from which on a fault is there; -1 before watching begins."""


@dataclass
class Counts:
    """What came of all injections."""

    hit: int = 0
    never_called: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """After which a mode of torch functions was still on: it costs time from then on."""


def inject(
    all_targets: Iterable[Target],
    faults: Iterable[str] = tuple(FAULTS),
    every: int = 1,
    moments: Iterable[int] = MOMENTS,
) -> Counts:
    """Inject faults into every target, at both moments, and compare training bit by bit.

    Args:
        all_targets: What to inject into.
        faults: Names of faults.
        every: Of these each target gets one in so many, its neighbour the next ones.
        moments: Steps from which on a fault is there.
    """
    counts, expected, faults = Counts(), plain_loop(False), tuple(faults)
    chosen = list(all_targets)
    called = {moment: called_from(moment, chosen) for moment in moments}
    counts.never_called = [str(each) for each in chosen if not any(each in called[m] for m in called)]
    shown = track(chosen, "Injecting", console=Console(stderr=True), disable=not sys.stderr.isatty())
    for number, target in enumerate(shown):
        for moment in called:
            for fault in faults[number % every :: every] if target in called[moment] else ():
                _one(Injection(target, fault), moment, f"{target}: {fault} from {moment}", expected, counts)
    return counts


def called_from(moment: int, chosen: Iterable[Target]) -> set[Target]:
    """Return which targets are called from a moment on."""
    injections = [Injection(target, None) for target in chosen]
    with ExitStack() as stack:
        for injection in injections:
            stack.enter_context(injection.placed())
        _run(injections, moment, on_disk=True)
    return {injection.target for injection in injections if injection.hits}


def _run(injections: list[Injection], moment: int, on_disk: bool) -> list[object]:
    def arm(step: int) -> None:
        for injection in injections:
            injection.armed = injection.armed or step >= moment

    with tempfile.TemporaryDirectory() as folder:
        return plain_loop(True, arm, Path(folder) / "run" if on_disk else None)


def _one(injection: Injection, moment: int, name: str, expected: list[object], counts: Counts) -> None:
    on_disk = str(injection.target).startswith(_ON_DISK)
    try:
        with injection.placed():
            found = _run([injection], moment, on_disk)
    except Exception as error:
        counts.ended.append(f"{name}: {type(error).__name__}: {error}")
    else:
        if differs(found, expected):
            counts.altered.append(name)
    # The next fault must not find what this one left.
    if modes_left():
        counts.left.append(name)
    counts.hit += injection.hits > 0


def main() -> int:
    """Inject all, and print the counts."""
    logging.getLogger("stabilitykit").setLevel(logging.CRITICAL)
    chosen = [*targets(), *OWN]
    counts = inject(chosen, every=int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print(f"{len(chosen)} functions and methods, {len(chosen) - len(counts.never_called)} of them called")
    print(
        f"{counts.hit} injections: {len(counts.ended)} ended training, {len(counts.altered)} altered it,"
        f" {len(counts.left)} left a mode on"
    )
    for title, names in (("ended", counts.ended), ("altered", counts.altered), ("left", counts.left)):
        for name in names:
            print(f"{title}: {name}")
    print("never called:", ", ".join(counts.never_called))
    return bool(counts.ended or counts.altered)


if __name__ == "__main__":
    sys.exit(main())
