"""The examples run as they stand, find the blocks of their models, and end in a verdict."""

import subprocess
import sys
from pathlib import Path

import pytest

from stabilitykit.store import open_run

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = 25


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, str(path), "--steps", str(STEPS), "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "stable: the loss shows no incident" in done.stdout
    assert f"stabilitykit diagnose {folder}" in done.stdout
    records = list(open_run(folder).records())
    assert [r.step for r in records] == list(range(STEPS))
    last = records[-1].readings
    assert {f"act/rms/blocks.{n:02d}.resid_post" for n in range(4)} <= set(last)
    assert {f"attn/logit_max/blocks.{n:02d}" for n in range(4)} <= set(last)
    assert last["train/loss"] < records[0].readings["train/loss"]
    if path.stem == "plain_loop":
        assert last["outliers/kurtosis/blocks.03.resid_post"] > 1
