"""From tensor to verdict on real input, at the smallest scale."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stabilitykit.afterwards.replay import replay
from stabilitykit.lab.probe import ProbeSpec, probe
from stabilitykit.live.listener import Listener
from stabilitykit.records import IncidentChange, StepRecord
from stabilitykit.store import open_run, read_scalars

COMMAND = (sys.executable, "-m", "stabilitykit_cli")
FAILING = ("optimizer.lr=0.5", "schedule.warmup=0", "trainer.steps=60")
"""Post-norm fails at this rate whatever the seed."""


class Recorder(Listener):
    """A listener that keeps all it hears."""

    def __init__(self) -> None:
        self.records: list[StepRecord] = []
        self.changes: list[IncidentChange] = []
        self.notices: list[str] = []
        self.plans: list[Any] = []

    def started(self, plan: Any) -> None:
        self.plans.append(plan)

    def record(self, record: StepRecord) -> None:
        self.records.append(record)

    def incident(self, change: IncidentChange) -> None:
        self.changes.append(change)

    def notice(self, message: str) -> None:
        self.notices.append(message)


def test_a_probe_keeps_all_that_it_says(tiny: Callable[..., ProbeSpec], tmp_path: Path) -> None:
    heard = Recorder()
    result = probe(tiny(), tmp_path / "run", heard)
    run = open_run(tmp_path / "run")
    assert result.verdict.complete
    assert result.steps == 30
    assert [record.step for record in heard.records] == list(range(30))
    assert list(run.records()) == heard.records
    assert run.config["corpus"]["sha256"]
    assert run.config["schedule"]["warmup"] == 3
    assert run.config["environment"]["threads"] == 1
    assert run.verdict is not None
    assert run.verdict["verdict"] == result.verdict.outcome
    losses = [record.readings["train/loss"] for record in heard.records]
    assert result.final_loss == pytest.approx(losses[-1])
    assert result.best_loss == pytest.approx(min(losses))
    assert heard.plans[0].n_parameters > 10_000
    assert "train/loss" in read_scalars(tmp_path / "run")
    json.dumps(result.to_json(), allow_nan=False)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    tiny: Callable[..., ProbeSpec], tmp_path: Path
) -> None:
    runs = []
    for n, seed in enumerate((3, 3, 4)):
        heard = Recorder()
        torch.manual_seed(n)
        # Dropout draws from torch's global state, which other runs of the process have moved on.
        spec = tiny("pre_norm", f"seed={seed}", "trainer.steps=8", "model.embedding.dropout=0.2")
        probe(spec, tmp_path / str(n), heard)
        runs.append(heard.records)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_replay_gives_the_incidents_of_the_live_run(tiny: Callable[..., ProbeSpec], tmp_path: Path) -> None:
    heard = Recorder()
    result = probe(tiny("post_norm", *FAILING), tmp_path / "run", heard)
    assert result.verdict.incidents, "the run was meant to fail"
    replayed = replay(tmp_path / "run")
    assert repr(replayed.verdict) == repr(result.verdict)
    assert repr(open_run(tmp_path / "run").incidents) == repr(result.verdict.incidents)
    last = {change.incident.id: change.incident for change in heard.changes}
    assert set(last) == {incident.id for incident in result.verdict.incidents}


@pytest.mark.slow
def test_after_kill_9_the_folder_reads_and_replays(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [*COMMAND, "probe", "--arch", "post_norm", "--lr", "0.5", "--warmup", "0", "--steps", "4000"]
    command += ["--data", str(corpus), "--logdir", str(folder), "--set", "model.n_layers=2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.3)
        if (folder / "incidents.jsonl").exists():
            break
    time.sleep(random.Random(1).uniform(0.0, 3.0))
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = open_run(folder)
    records = list(run.records())
    assert records, run.notes
    assert [record.step for record in records] == list(range(len(records)))
    assert not run.complete
    replayed = replay(folder)
    assert not replayed.verdict.complete
    kept = {i.id: (i.kind, i.start, i.detected, i.site) for i in run.incidents}
    again = {i.id: (i.kind, i.start, i.detected, i.site) for i in replayed.verdict.incidents}
    assert kept
    assert {n: again.get(n) for n in kept} == kept
    assert max(i.detected for i in run.incidents) <= records[-1].step


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_cleanly_with_what_there_is(
    corpus: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    folder = tmp_path / "run"
    command = [*COMMAND, "probe", "--arch", "pre_norm", "--steps", "5000", "--json"]
    command += ["--data", str(corpus), "--logdir", str(folder), "--set", "model.n_layers=2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(folder.glob("readings/*")):
        time.sleep(0.3)
    time.sleep(1.0)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    document = json.loads(out)
    assert document["complete"] is False
    assert 0 < document["steps"] < 5000
    assert json.loads((folder / "verdict.json").read_text())["complete"] is False
    assert "Traceback" not in err


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.slow
def test_a_disk_that_fills_does_not_end_training(corpus: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        command = [*COMMAND, "probe", "--arch", "pre_norm", "--steps", "400", "--json"]
        command += ["--data", str(corpus), "--logdir", str(disk / "run")]
        command += ["--set", "model.n_layers=2", "--set", "model.d_model=32", "--set", "model.seq_len=16"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert document["complete"] is True
    assert document["steps"] == 400
    assert done.stderr.count("last step kept") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_precision_goes_to_the_trainer_and_changes_the_losses(
    tiny: Callable[..., ProbeSpec], tmp_path: Path
) -> None:
    losses = {}
    for precision in ("32-true", "bf16-mixed", "64-true"):
        result = probe(tiny("pre_norm", f"trainer.precision={precision}"), tmp_path / precision)
        assert result.verdict.complete
        assert open_run(tmp_path / precision).config["trainer"]["precision"] == precision
        losses[precision] = result.final_loss
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.02)
    assert losses["bf16-mixed"] != losses["32-true"]
    assert losses["64-true"] == pytest.approx(losses["32-true"], rel=1e-4)
