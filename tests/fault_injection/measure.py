"""Counts faults injected into everything that watching may call, and what they did to training.

``PYTHONPATH=tests python -m fault_injection.measure`` from the repository's root; the tests inject a part.
"""

import logging
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .loops import Own, OwnDetector, OwnSink, differs, plain_loop
from .targets import FAULTS, Injection, Target, targets

OWN = [
    *(Target(OwnDetector, name) for name in ("update", "state_dict", "load_state_dict")),
    *(Target(OwnSink, name) for name in ("record", "incident", "verdict")),
    *(Target(Own, name) for name in ("statistic", "reaction")),
]
MOMENTS = (-1, 1)
"""Steps from which on a fault is there; -1 before watching begins."""


@dataclass
class Counts:
    """What came of all injections."""

    hit: int = 0
    never_called: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)


def inject(all_targets: Iterable[Target], faults: Iterable[str] = tuple(FAULTS)) -> Counts:
    """Inject every fault into every target, at both moments, and compare training bit by bit."""
    counts, expected, faults = Counts(), plain_loop(None), tuple(faults)
    for target in all_targets:
        called = _calls(target)
        if not any(called.values()):
            counts.never_called.append(str(target))
        for moment in MOMENTS:
            for fault in faults if called[moment] else ():
                _one(Injection(target, fault), moment, f"{target}: {fault} from {moment}", expected, counts)
    return counts


def _calls(target: Target) -> dict[int, int]:
    """Return how often a target is called, from each moment on."""
    calls = {}
    for moment in MOMENTS:
        injection = Injection(target, None)
        _run(injection, moment)
        calls[moment] = injection.hits
    return calls


def _run(injection: Injection, moment: int) -> list[object]:
    def arm(step: int) -> None:
        injection.armed = injection.armed or step >= moment

    with tempfile.TemporaryDirectory() as folder, injection.placed():
        return plain_loop(Path(folder) / "run", arm)


def _one(injection: Injection, moment: int, name: str, expected: list[object], counts: Counts) -> None:
    try:
        found = _run(injection, moment)
    except Exception as error:
        counts.ended.append(f"{name}: {type(error).__name__}: {error}")
    else:
        if differs(found, expected):
            counts.altered.append(name)
    counts.hit += injection.hits > 0


def main() -> int:
    """Inject all, and print the counts."""
    logging.getLogger("stabilitykit").setLevel(logging.CRITICAL)
    every = [*targets(), *OWN]
    counts = inject(every)
    print(f"{len(every)} functions and methods, {len(every) - len(counts.never_called)} of them called")
    print(f"{counts.hit} injections: {len(counts.ended)} ended training, {len(counts.altered)} altered it")
    for title, names in (("ended", counts.ended), ("altered", counts.altered)):
        for name in names:
            print(f"{title}: {name}")
    print("never called:", ", ".join(counts.never_called))
    return bool(counts.ended or counts.altered)


if __name__ == "__main__":
    sys.exit(main())
