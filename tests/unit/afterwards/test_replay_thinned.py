"""Replay is the law where old steps are gone as well: resumed, after ``kill -9``, while it is written."""

import copy
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.afterwards.replay import replay
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.errors import DataError
from stabilitykit.records import StepRecord
from stabilitykit.store import RunWriter, open_run, readings, run_folder, thinning
from stabilitykit.store.segments import segment_files

LOSS, NORM = "train/loss", "optim/grad_norm"
RESIDUAL = tuple(f"act/rms/blocks.{index:02d}.resid_post" for index in range(6))
SHARES = tuple(f"grad/share/blocks.{index:02d}" for index in range(6))
ORDER = (*RESIDUAL, LOSS, *SHARES, NORM)
ROUND = 400


def record(step: int) -> StepRecord:
    """Return the record of a step; every 400 steps another round of incidents begins."""
    i = step % ROUND
    noise = np.random.default_rng(step).uniform(0.97, 1.03, 13).tolist()
    readings = {LOSS: 2.0 * noise[0] + {50: 4.0, 51: 1.5, 200: 6.0}.get(i, 0.0), NORM: 1.0}
    # From 250 to 380 the loss stays up and from 95 to 220 activations do: open over several segments.
    readings[LOSS] += 4.0 if 250 <= i < 380 else math.nan if i == 61 else 0.0
    if i % 10 != 5:
        readings |= {
            tag: n * (90.0 if 95 <= i < 220 else 1.0) for tag, n in zip(RESIDUAL, noise[1:], strict=False)
        }
    if i == 122:
        readings[RESIDUAL[2]] = math.inf
    readings |= {tag: n * (1e-5 if 150 <= i < 230 else 1.0) for tag, n in zip(SHARES, noise[7:], strict=True)}
    return StepRecord.of(step, {tag: readings[tag] for tag in ORDER if tag in readings})


def make_small() -> None:
    """Let a folder hold a few hundred steps, in batches of 20."""
    readings.MAX_ROWS = 20
    run_folder.check_folder_mb = lambda folder_mb: None


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    # Remembers what is there, so that it comes back.
    monkeypatch.setattr(readings, "MAX_ROWS", readings.MAX_ROWS)
    monkeypatch.setattr(run_folder, "check_folder_mb", run_folder.check_folder_mb)
    make_small()


def live(
    folder: Path, records: Iterable[StepRecord], diagnosis: Diagnosis | None = None, resume: bool = False
) -> Iterator[tuple[RunWriter, Diagnosis]]:
    """Record a run as the monitor does, and give way after each step."""
    diagnosis = diagnosis or Diagnosis()
    writer = RunWriter(folder, {}, resume=resume, state=diagnosis.snapshot, folder_mb=0.25)
    for each in records:
        changes = diagnosis.update(each)
        writer.record(each)
        for change in changes:
            writer.incident(change)
        yield writer, diagnosis
    writer.close()


def play(*arguments, **more) -> Diagnosis:
    *_, (_, diagnosis) = live(*arguments, **more)
    return diagnosis


class Lived:
    """How a run that was never broken stands after any number of steps."""

    EVERY = 200

    def __init__(self) -> None:
        self._at = {0: Diagnosis()}

    def after(self, steps: int) -> str:
        """Return the verdict, in full."""
        known = max(at for at in self._at if at <= steps)
        diagnosis = copy.deepcopy(self._at[known])
        for step in range(known, steps):
            diagnosis.update(record(step))
            if (step + 1) % self.EVERY == 0:
                self._at[step + 1] = copy.deepcopy(diagnosis)
        return repr(diagnosis.verdict(complete=False))


def test_a_thinned_run_replays_exactly(tmp_path, small):
    diagnosis = play(tmp_path, map(record, range(2000)))
    run = open_run(tmp_path)
    assert run.thinned[0].first == 0
    assert run.thinned[-1].last > 1000
    assert sum(1 for _ in run.records()) < 1500
    replayed = replay(tmp_path)
    assert repr(replayed.verdict) == repr(diagnosis.verdict(complete=False))
    assert len(diagnosis.incidents) > 20
    assert f"replayed from step {run.snapshot.step} on" in replayed.source
    assert replayed.notes == ()
    assert replayed.curves.loss.span[0] == 0


@pytest.mark.slow
def test_it_does_so_at_every_moment_also_with_incidents_open_where_the_replay_begins(tmp_path, small):
    lived = Lived()
    begun, open_there = set(), set()
    for step, _ in enumerate(live(tmp_path, map(record, range(1600)))):
        if step % 25:
            continue
        snapshot = open_run(tmp_path).snapshot
        if snapshot is not None and snapshot.step not in begun:
            verdict = replay(tmp_path).verdict
            assert repr(verdict) == lived.after(verdict.steps)
            begun.add(snapshot.step)
            open_there |= set(snapshot.state["open"])
    assert len(begun) > 4
    assert open_there


@pytest.mark.slow
def test_a_resumed_run_that_was_thinned_replays_as_it_was_lived(tmp_path, small):
    first = play(tmp_path, map(record, range(1500)))
    checkpoint = json.dumps(first.state_dict())
    play(tmp_path, map(record, range(1500, 1700)), first, resume=True)
    assert open_run(tmp_path).thinned
    resumed = Diagnosis()
    resumed.load_state_dict(json.loads(checkpoint))
    # From 1500 on otherwise than before.
    again = [
        StepRecord.of(s, {**record(s).readings, NORM: 50.0 if s > 1600 else 1.0}) for s in range(1500, 2600)
    ]
    play(tmp_path, again, resumed, resume=True)
    assert open_run(tmp_path).thinned[-1].last > 1700
    assert repr(replay(tmp_path).verdict) == repr(resumed.verdict(complete=False))


@pytest.mark.slow
@pytest.mark.parametrize("back", [40, 400, 1190])
def test_a_run_that_goes_on_from_within_its_thinned_steps_replays_as_it_was_lived(tmp_path, small, back):
    diagnosis = play(tmp_path, map(record, range(1200 - back)))
    checkpoint = json.dumps(diagnosis.state_dict())
    play(tmp_path, map(record, range(1200 - back, 1200)), diagnosis, resume=True)
    for length in (10, 30, 900):
        resumed = Diagnosis()
        resumed.load_state_dict(json.loads(checkpoint))
        play(tmp_path, map(record, range(1200 - back, 1200 - back + length)), resumed, resume=True)
        assert repr(replay(tmp_path).verdict) == repr(resumed.verdict(complete=False))


def train(folder: Path) -> None:
    """Record a run until killed, from the last checkpoint on. Its steps are on disk when one is made."""
    make_small()
    checkpoint = folder.with_suffix(".checkpoint")
    diagnosis, first = Diagnosis(), 0
    if checkpoint.exists():
        state = json.loads(checkpoint.read_text())
        first = state.pop("first")
        diagnosis.load_state_dict(state)
    for writer, now in live(folder, map(record, range(first, 1_000_000)), diagnosis, resume=True):
        print(flush=True)
        steps = now.verdict().steps
        if steps >= first + 50 and writer.last_step_kept == steps - 1:
            first = steps
            part = checkpoint.with_suffix(".new")
            part.write_text(json.dumps({**now.state_dict(), "first": first}))
            part.replace(checkpoint)


def check(folder: Path, lived: Lived) -> tuple[int, bool]:
    """Replay a run, killed or still growing, and compare; returns its steps and whether it is thinned."""
    replayed = replay(folder)
    assert repr(replayed.verdict) == lived.after(replayed.verdict.steps)
    return replayed.verdict.steps, replayed.source != "run folder"


@pytest.mark.slow
def test_kill_dash_nine_again_and_again(tmp_path):
    lived = Lived()
    generator = random.Random(0)
    folder = tmp_path / "run"
    reached, thinned, while_growing = [], 0, 0
    for _ in range(9):
        command = [sys.executable, __file__, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for number in range(generator.randrange(100, 300)):
                process.stdout.readline()
                if number % 90 == 89:
                    while_growing += check(folder, lived)[1]
            time.sleep(generator.uniform(0, 0.02))
            assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        steps, is_thinned = check(folder, lived)
        reached.append(steps)
        thinned += is_thinned
        assert sum(path.stat().st_size for path in (folder / "readings").glob("*")) < 300_000
    assert reached[-1] > 1_000
    assert thinned > 2
    assert while_growing > 2


def test_a_thinned_run_without_a_state_is_not_made_up(tmp_path, small):
    play(tmp_path, map(record, range(1500)))
    run = open_run(tmp_path)
    for path in segment_files(tmp_path / "readings"):
        data = path.read_bytes()
        path.write_bytes(data.replace(b'{"detectors": ', b'["detectors", '))
    with pytest.raises(DataError, match="no state of the detectors after them is left"):
        replay(tmp_path)
    assert open_run(tmp_path).thinned == run.thinned
    assert len(open_run(tmp_path).incidents) == len(run.incidents)


def test_a_state_of_another_version_is_not_made_up(tmp_path, small):
    play(tmp_path, map(record, range(1500)))
    for path in segment_files(tmp_path / "readings"):
        path.write_bytes(path.read_bytes().replace(b'"announced": ', b'"announcer": '))
    with pytest.raises(DataError, match="is not of this version of stabilitykit") as raised:
        replay(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_lost_line_of_an_earlier_incident_is_noted_and_the_others_keep_their_numbers(tmp_path, small):
    diagnosis = play(tmp_path, map(record, range(1500)))
    lines = (tmp_path / "incidents.jsonl").read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["incident"]["id"] != 3]
    (tmp_path / "incidents.jsonl").write_bytes(b"{half\n" + b"".join(kept))
    replayed = replay(tmp_path)
    assert replayed.notes == ("incidents.jsonl: line 1 is cut or damaged; passed over",)
    expected = [repr(incident) for incident in diagnosis.incidents if incident.id != 3]
    assert [repr(incident) for incident in replayed.verdict.incidents] == expected


@pytest.mark.slow
def test_a_run_that_ends_in_the_middle_of_a_rewriting_is_whole(tmp_path, small, monkeypatch):
    monkeypatch.setattr(thinning, "_SLICE_S", 0)
    lived = Lived()
    copies = []
    for number, _ in enumerate(live(tmp_path / "run", map(record, range(1600)))):
        if (
            len(copies) < 9
            and number > 140 * len(copies)
            and list((tmp_path / "run" / "readings").glob("*.part"))
        ):
            copies.append(shutil.copytree(tmp_path / "run", tmp_path / f"copy{number}"))
    assert len(copies) > 4
    assert sum(check(each, lived)[1] for each in copies) > 2
    # It goes on from there, and nothing is left of what was half done.
    RunWriter(copies[-1], {}, resume=True).close()
    assert not list((copies[-1] / "readings").glob("*.part"))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
