"""Real sweeps by the command: killed, repeated, spread over workers, and read back."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stabilitykit.lab.sweep.grid import open_sweep, plan_files, read_result
from stabilitykit.store import open_run

SMALL = (
    *("--set", "model.d_model=16", "--set", "model.n_layers=2", "--set", "model.seq_len=16"),
    *("--set", "data.batch_size=4", "--set", "data.kind=synthetic", "--set", "data.synthetic.length=20000"),
)
GRID = ("--arch", "post_norm", "--lr", "1e-2,0.5", "--warmup", "0", "--seeds", "1", "--steps", "60", *SMALL)
"""Two runs, of which the second fails."""

# In one process, which sweeps the grid once for all the tests that compare with it.
together = pytest.mark.xdist_group("sweep")


def command(*arguments: str, logdir: Path) -> list[str]:
    return [sys.executable, "-m", "stabilitykit_cli", "sweep", *arguments, "--logdir", str(logdir), "--json"]


def swept(*arguments: str, logdir: Path) -> dict[str, Any]:
    done = subprocess.run(command(*arguments, logdir=logdir), capture_output=True, text=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def numbers(logdir: Path) -> dict[str, Any]:
    """Return everything that a sweep's folder holds but times: results, and every reading of every step."""
    found: dict[str, Any] = {}
    for run in open_sweep(plan_files(logdir)[0]).runs:
        result = read_result(run.folder)
        if result is not None:
            opened = open_run(run.folder)
            readings = {tag: opened.column(tag)[1].tobytes() for tag in opened.tags}
            found[run.cell.key] = (result.outcome, result.final_loss, result.incidents, readings)
    return found


@dataclass
class Whole:
    """A sweep that came to its end."""

    document: dict[str, Any]
    """What the command printed."""
    numbers: dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The grid, swept without a disturbance."""
    logdir = tmp_path_factory.mktemp("whole")
    return Whole(swept(*GRID, "--workers", "1", logdir=logdir), numbers(logdir))


@together
@pytest.mark.slow
def test_killing_a_sweep_and_repeating_it_gives_the_same_numbers(whole: Whole, tmp_path: Path) -> None:
    assert [run["outcome"] for run in whole.document["runs"]] == ["stable", "stuck"]
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        command(*GRID, "--workers", "1", logdir=killed), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not list(killed.glob("*/result.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert len(list(killed.glob("*/result.json"))) == 1, "it was killed while the second trained"
    # Workers end with whoever started them, so that none writes where the next attempt does.
    time.sleep(0.5)
    repeated = swept(*GRID, "--workers", "1", logdir=killed)
    assert numbers(killed) == whole.numbers
    for one, other in zip(whole.document["runs"], repeated["runs"], strict=True):
        assert {**one, "logdir": ""} == {**other, "logdir": ""}
    assert {**whole.document, "runs": 0, "logdir": 0} == {**repeated, "runs": 0, "logdir": 0}


@pytest.mark.slow
def test_an_interrupted_sweep_says_how_to_go_on_and_leaves_no_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(*GRID, "--steps", "100000", logdir=tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/progress.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in told
    assert "Traceback" not in told
    deadline = time.monotonic() + 10
    while _alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(process.pid)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_cell_that_crashes_is_a_result_with_its_traceback(tmp_path: Path) -> None:
    # The corpus is long enough for sequences of 16, and not for those of 40,000.
    document = swept(
        *("--arch", "pre_norm", "--vary", "model.seq_len=16,40000", "--seeds", "1", "--steps", "10"),
        *(*SMALL[:2], *SMALL[2:4], *SMALL[6:]),
        *("--workers", "1"),
        logdir=tmp_path,
    )
    good, bad = document["runs"]
    assert (good["outcome"], bad["outcome"]) == ("stable", "crashed")
    assert "bytes to train on" in bad["reason"]
    assert "Traceback" in (Path(bad["logdir"]) / "crash.txt").read_text()


@pytest.mark.slow
def test_stopping_early_is_counted_and_saves_steps(tmp_path: Path) -> None:
    stuck = ("--arch", "post_norm", "--lr", "0.1", "--warmup", "0", "--seeds", "1", "--steps", "300", *SMALL)
    early = swept(*stuck, "--stop-when-certain", logdir=tmp_path)
    assert early["stopped_early"] == 1
    assert early["runs"][0]["steps"] < 300
    full = swept(*stuck, logdir=tmp_path)
    assert full["stopped_early"] == 0
    assert full["runs"][0]["steps"] == 300
    assert full["runs"][0]["outcome"] == early["runs"][0]["outcome"]
    steps, losses = open_run(Path(full["runs"][0]["logdir"])).column("train/loss")
    assert np.array_equal(steps, np.arange(300))
    assert np.isfinite(losses).all()


@together
@pytest.mark.slow
@pytest.mark.parametrize(
    "backend", [("ray",), ("slurm", "--backend-option", "executor=local")], ids=lambda b: b[0]
)
def test_a_backend_ends_with_the_same_numbers(whole: Whole, tmp_path: Path, backend: tuple[str, ...]) -> None:
    there = swept(*GRID, "--workers", "1", "--backend", *backend, logdir=tmp_path)
    assert len(whole.numbers) == 2
    assert numbers(tmp_path) == whole.numbers
    assert {**there, "runs": 0, "logdir": 0} == {**whole.document, "runs": 0, "logdir": 0}
