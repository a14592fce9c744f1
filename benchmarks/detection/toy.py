"""Six simple curves that any rule for a loss should get right."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.detection.cases import Case, Event, case
from benchmarks.detection.log import Tool, Values
from benchmarks.detection.truth import Counts, count

STEPS, AT = 3000, 1500
"""Length of the curves, and where something happens to them."""
RUNS = 10


def _falling(rng: np.random.Generator) -> Values:
    """Return a loss like a language model's: from 10.8 to 3 nats, with Gaussian noise of 0.06."""
    return 3 + 7.8 * np.exp(-np.arange(STEPS) / 300) + rng.normal(0, 0.06, STEPS)


def _clean(loss: Values) -> Case:
    return case(loss)


def _bump(loss: Values) -> Case:
    loss[AT : AT + 5] += 3
    return case(loss, Event(AT, AT + 4))


def _wide(loss: Values) -> Case:
    loss[AT : AT + 80] += 5 * (1 - np.abs(np.linspace(-1, 1, 80)))
    return case(loss, Event(AT, AT + 79))


def _creep(loss: Values) -> Case:
    loss[AT:] += 0.01 * np.arange(STEPS - AT)
    return case(loss, Event(AT, STEPS - 1, open=True))


def _nan(loss: Values) -> Case:
    loss[AT:] = np.nan
    return case(loss, Event(AT, STEPS - 1, open=True))


def _nan_then_bump(loss: Values) -> Case:
    loss[AT] = np.nan
    loss[AT + 50 : AT + 55] += 3
    return case(loss, Event(AT, AT), Event(AT + 50, AT + 54))


CURVES = {
    "none, falling loss": _clean,
    "bump of +3, 5 points": _bump,
    "3 to 8 to 3 in 80": _wide,
    "creep of .01 a point": _creep,
    "NaN from 1500 on": _nan,
    "NaN once, then a bump": _nan_then_bump,
}


def score_toys(tools: Sequence[Tool]) -> dict[str, dict[str, Counts]]:
    """Return each tool's counts on each curve, over ten seeds."""
    found: dict[str, dict[str, Counts]] = {tool.name: {} for tool in tools if tool.needs == "loss"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.csv"
        for name, make in CURVES.items():
            made = [make(_falling(np.random.default_rng(seed))) for seed in range(RUNS)]
            for tool in tools:
                if tool.needs == "loss":
                    found[tool.name][name] = _judge(tool, made, path)
    return found


def _judge(tool: Tool, made: Sequence[Case], path: Path) -> Counts:
    total = Counts()
    for each in made:
        each.log.write(path)
        total += count(each, tool.judge(path, each.log))
    return total
