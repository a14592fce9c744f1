"""Presets that together have every option of all compile as one graph, and learn what they learn uncompiled.

In a process of its own: torch's compiler cannot trace the checks of shapes that are on in this one.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stabilitykit.lab.model.presets import PRESETS, preset

pytestmark = pytest.mark.slow

Option = tuple[str, object]


def options(value: Any, path: str = "") -> Iterator[Option]:
    """Yield what makes one graph another: every field with its word, or whether its number is neutral."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from options(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from options(inner, path)
    else:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        yield path, "number" if is_number and value not in (0, 1) else value


def covering() -> list[str]:
    """Return few presets that together have every option that any of them has."""
    found = {}
    for name in PRESETS:
        fields = preset(name, "tiny").model_dump(mode="json")
        del fields["initialization"]  # Of the weights, not of the graph.
        found[name] = frozenset(options(fields))
    missing = frozenset().union(*found.values())
    chosen = []
    while missing:
        chosen.append(max(found, key=lambda name: len(found[name] & missing)))
        missing -= found[chosen[-1]]
    return chosen


def compiled_and_plain(backend: str, *names: str) -> dict[str, list[list[float]]]:
    script = Path(__file__).with_name("compile_presets.py")
    command = [sys.executable, str(script), backend, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == list(names)
    return found


@pytest.mark.parametrize("part", range(2))
def test_a_preset_is_one_graph(part: int) -> None:
    for name, (compiled, plain) in compiled_and_plain("aot_eager", *covering()[part::2]).items():
        assert compiled == pytest.approx(plain, rel=1e-5), name


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler for CPUs calls g++")
def test_a_preset_runs_in_generated_code() -> None:
    found = compiled_and_plain("inductor", "llama2")
    for name, (compiled, plain) in found.items():
        assert compiled == pytest.approx(plain, rel=1e-4), name
