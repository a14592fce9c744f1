"""Every preset compiles as one graph and learns what it learns uncompiled.

In a process of its own: torch's compiler cannot trace the checks of shapes that are on in this one.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stabilitykit.model.presets import PRESETS

pytestmark = pytest.mark.slow


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
    for name, (compiled, plain) in compiled_and_plain("aot_eager", *list(PRESETS)[part::2]).items():
        assert compiled == pytest.approx(plain, rel=1e-5), name


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler for CPUs calls g++")
def test_a_preset_runs_in_generated_code() -> None:
    found = compiled_and_plain("inductor", "llama2")
    for name, (compiled, plain) in found.items():
        assert compiled == pytest.approx(plain, rel=1e-4), name
