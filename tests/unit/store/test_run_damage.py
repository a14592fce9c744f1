"""What is left of a run that was killed, cut, or met a full disk: all of it up to the last batch."""

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.records import StepRecord
from stabilitykit.store import RunWriter, TensorBoardWriter, open_run, read_scalars

TAGS = ("train/loss", *(f"act/rms/blocks.{index:02d}.resid_post" for index in range(20)))

_CHILD = """
import resource, sys, time
from pathlib import Path
import numpy as np
from stabilitykit.errors import RunFolderError
from stabilitykit.records import Finding, Incident, IncidentChange, Severity, StepRecord
from stabilitykit.store import RunWriter, TensorBoardWriter

tags = ("train/loss", *(f"act/rms/blocks.{index:02d}.resid_post" for index in range(20)))

def record(step):
    return StepRecord(step, tags, np.full(len(tags), step, np.float32))

def change(step):
    finding = Finding("loss_spike", "train/loss", step, step, float(step), 5.0, Severity.WARNING, "up")
    return IncidentChange("opened", step, Incident(
        step, "loss_spike", step, step, step, None, "train/loss", Severity.WARNING, float(step), 5.0, "up",
        evidence=(finding,)))

folder = Path(sys.argv[1])
"""


def child(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", _CHILD + textwrap.dedent(code), *arguments]


def write(folder: Path, steps: int) -> None:
    """Write a run in batches of 20 steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stabilitykit.store.readings.MAX_ROWS", 20)
        writer = RunWriter(folder, {})
        for step in range(steps):
            writer.record(StepRecord(step, TAGS, np.full(len(TAGS), step, np.float32)))
        writer.close()


@pytest.mark.parametrize("attempt", range(3))
def test_kill_dash_nine(tmp_path: Path, attempt: int):
    code = """
    writer = RunWriter(folder, {})
    step = 0
    while True:
        writer.record(record(step))
        if step % 7 == 6:
            writer.incident(change(step))
        step += 1
        time.sleep(0.0005)
    """
    process = subprocess.Popen(child(code, str(tmp_path / "run")))
    incidents = tmp_path / "run" / "incidents.jsonl"
    while not incidents.exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(random.Random(attempt).uniform(0, 0.5))
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    run = open_run(tmp_path / "run")
    read = list(run.records())
    assert [each.step for each in read] == list(range(len(read)))
    assert all((each.values == each.step).all() for each in read)
    assert run.incidents
    assert not run.complete
    evidence = [finding for incident in run.incidents for finding in incident.evidence]
    assert all(read[finding.step].readings["train/loss"] == finding.value for finding in evidence)


def test_a_cut_anywhere_loses_only_what_follows_it(tmp_path: Path):
    write(tmp_path / "whole", 200)
    data = (tmp_path / "whole" / "readings" / "segment-00000.arrow").read_bytes()
    cut = tmp_path / "cut"
    write(cut, 1)
    generator = random.Random(0)
    kept = []
    for length in sorted([0, 1, len(data) - 8, *(generator.randrange(len(data)) for _ in range(200))]):
        (cut / "readings" / "segment-00000.arrow").write_bytes(data[:length])
        run = open_run(cut)
        steps = [each.step for each in run.records()]
        assert steps == list(range(len(steps)))
        assert len(steps) % 20 == 0
        if 0 < len(steps) < 180:
            assert run.column("train/loss")[0].tolist() == steps
        # At the very end of a batch a cut cannot be told from a run that was killed there.
        assert len(run.notes) <= 1
        kept.append(len(steps))
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (0, 200)


def test_a_cut_segment_is_noted_and_the_next_one_read(tmp_path: Path):
    write(tmp_path / "run", 60)
    first = tmp_path / "run" / "readings" / "segment-00000.arrow"
    first.write_bytes(first.read_bytes()[:-1000])
    writer = RunWriter(tmp_path / "run", {}, resume=True)
    assert writer.last_step_kept == 39
    writer.record(StepRecord(40, TAGS, np.zeros(len(TAGS), np.float32)))
    writer.close()
    run = open_run(tmp_path / "run")
    assert [each.step for each in run.records()] == list(range(41))
    (note,) = run.notes
    assert note == "segment-00000.arrow: cut or damaged after step 39; what follows in it is passed over"


def test_garbage_is_passed_over(tmp_path: Path):
    write(tmp_path / "run", 60)
    readings = tmp_path / "run" / "readings"
    (readings / "segment-00001.arrow").write_bytes(b"garbage" * 100)
    (readings / "segment-00002.arrow").write_bytes(b"")
    (readings / "segment-x.arrow").write_bytes(b"")
    run = open_run(tmp_path / "run")
    assert len(list(run.records())) == 60
    assert run.notes == (
        "segment-00001.arrow: unreadable; passed over",
        "segment-00002.arrow: unreadable; passed over",
    )


def test_flipped_bytes_never_raise(tmp_path: Path):
    write(tmp_path / "run", 100)
    path = tmp_path / "run" / "readings" / "segment-00000.arrow"
    data = path.read_bytes()
    generator = random.Random(1)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        run = open_run(tmp_path / "run")
        assert sum(1 for _ in run.records()) <= 100
        assert len(run.notes) <= 1


_FILL = """
    writer = RunWriter(folder, {})
    try:
        for step in range(100_000):
            writer.record(record(step))
    except RunFolderError as error:
        print(error)
    again = lambda: writer.record(record(step))
    for call in (again, lambda: writer.incident(change(1)), lambda: writer.verdict({})):
        try:
            call()
        except RunFolderError as error:
            print(error)
    writer.close()
    print(writer.last_step_kept)
"""

_FILL_TENSORBOARD = """
    writer = TensorBoardWriter(folder)
    try:
        for step in range(100_000):
            writer.record(record(step))
    except RunFolderError as error:
        print(error)
    try:
        writer.incident(change(1))
    except RunFolderError as error:
        print(error)
    writer.close("stable")
"""

# Python ignores SIGXFSZ, so that writing past the limit fails as on a full disk.
_LIMIT = "\n    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"


def check_full(folder: Path, output: subprocess.CompletedProcess[str], cause: str) -> None:
    assert output.returncode == 0, output.stderr
    assert output.stderr == ""
    *errors, last = output.stdout.splitlines()
    assert len(errors) == 4
    assert set(errors) == {f"{folder}: cannot write readings ({cause}); last step kept: {last}"}
    run = open_run(folder)
    assert [each.step for each in run.records()] == list(range(int(last) + 1))
    assert len(run.notes) <= 1
    assert not run.complete


def test_a_disk_that_takes_no_more(tmp_path: Path):
    code = child(_LIMIT + _FILL, str(tmp_path / "run"))
    check_full(
        tmp_path / "run", subprocess.run(code, capture_output=True, text=True, check=False), "File too large"
    )


def test_a_disk_that_takes_no_more_from_tensorboard(tmp_path: Path):
    code = child(_LIMIT + _FILL_TENSORBOARD, str(tmp_path / "run"))
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == second == f"{tmp_path / 'run'}: cannot write for TensorBoard (File too large)"
    scalars = read_scalars(tmp_path / "run")
    assert scalars["train/loss"][0][:3].tolist() == [0, 10, 20]
    assert len(scalars.notes) == 1


def test_a_full_disk(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a small disk takes root")
    mounted = subprocess.run([mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        code = child(_FILL, str(disk / "run"))
        done = subprocess.run(code, capture_output=True, text=True, check=False)
        check_full(disk / "run", done, "No space left on device")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_tensorboard_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write for TensorBoard \(Not a directory\)"):
        TensorBoardWriter(tmp_path / "file" / "run")
