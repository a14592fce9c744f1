"""Runs killed at once, again and again, and a long one in little room: what is there reads back."""

import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.afterwards.replay import replay
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.records import StepRecord
from stabilitykit.store import RunWriter, TensorBoardWriter, open_run
from stabilitykit.store.contents import folder_bytes
from stabilitykit_cli import app

pytestmark = pytest.mark.slow

_TAGS = ("train/loss", *(f"act/rms/blocks.{n:02d}.resid_post" for n in range(30)))
_STEPS = 2_000
"""Steps of one process: on a fast machine incidents would else take all of their share of the folder."""
_ENDLESS = """
import signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
from integration.test_killed_and_resumed import Recorded
Recorded(Path({folder!r})).go_on({steps})
signal.pause()
"""


def _record(step: int) -> StepRecord:
    # A record depends on its step alone, whichever process makes it.
    values = np.random.default_rng(step).uniform(1, 2, len(_TAGS)).astype(np.float32)
    values[0] = 9.0 if step % 97 == 60 else 2.0 + 0.01 * values[0]
    return StepRecord(step, _TAGS, values)


class Recorded:
    """A run that is kept as the monitor keeps one, and goes on from what is on disk."""

    def __init__(self, folder: Path) -> None:
        resume = (folder / "config.yaml").exists()
        last = open_run(folder).last_step if resume else None
        self.diagnosis, self.step = Diagnosis(), 0 if last is None else last + 1
        for step in range(self.step):
            self.diagnosis.update(_record(step))
        self.writer = RunWriter(
            folder, {"arch": "made_up"}, resume=resume, state=self.diagnosis.snapshot, folder_mb=1
        )
        self.board = TensorBoardWriter(folder, folder_mb=1)

    def go_on(self, steps: int) -> None:
        for step in range(self.step, self.step + steps):
            changes = self.diagnosis.update(_record(step))
            self.writer.record(_record(step))
            self.board.record(_record(step))
            for change in changes:
                self.writer.incident(change)
                self.board.incident(change)
        self.step += steps

    def close(self) -> None:
        self.writer.close()
        self.board.close()


def test_a_run_killed_again_and_again_reads_back_and_replays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, draw = tmp_path / "run", random.Random(0)
    for _ in range(8):
        code = _ENDLESS.format(path=sys.path, folder=str(folder), steps=_STEPS)
        process = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 60
        before = folder_bytes(folder) if folder.exists() else 0
        while time.monotonic() < deadline and not (folder.exists() and folder_bytes(folder) != before):
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folder_bytes(folder) <= 1_000_000
        if open_run(folder).last_step is None:
            continue
        assert app.main(["runs", str(tmp_path)]) == 0
        assert app.main(["diagnose", str(folder)]) == 0
        assert "Traceback" not in capsys.readouterr().err
        last = open_run(folder).last_step
        assert last is not None
        expected = Diagnosis()
        for step in range(last + 1):
            expected.update(_record(step))
        told = [(i.kind, i.start, i.detected, i.site) for i in replay(folder).verdict.incidents]
        assert told == [(i.kind, i.start, i.detected, i.site) for i in expected.incidents]


def test_a_long_run_in_little_room_takes_neither_more_disk_nor_more_memory(tmp_path: Path) -> None:
    memory = []
    for _ in range(6):
        run = Recorded(tmp_path / "run")
        for _ in range(10):
            run.go_on(100)
            assert folder_bytes(tmp_path / "run") <= 1_000_000
        run.close()
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert memory[-1] - memory[1] < 40
    expected = Diagnosis()
    for step in range(6_000):
        expected.update(_record(step))
    assert repr(replay(tmp_path / "run").verdict) == repr(expected.verdict(complete=False))
