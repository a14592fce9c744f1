"""A run of several processes: what one process gives, one result, one end."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration.pool_jobs import endless, until, worker_of

from stabilitykit.errors import RunFolderError
from stabilitykit.lab.probe import ProbeSpec, probe
from stabilitykit.lab.sweep.backends import Job
from stabilitykit.lab.sweep.grid import read_result
from stabilitykit.lab.sweep.run_cell import run_cell
from stabilitykit.live.listener import Listener
from stabilitykit.records import IncidentChange, StepRecord
from stabilitykit.store import open_run

pytestmark = pytest.mark.slow

TWO = ("trainer.devices=2", "trainer.accelerator=cpu")


class Heard(Listener):
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


def test_two_processes_train_as_one_on_the_same_batches(
    tiny: Callable[..., ProbeSpec], tmp_path: Path
) -> None:
    one, two = Heard(), Heard()
    alone = probe(tiny("pre_norm"), tmp_path / "one", one)
    together = probe(tiny("pre_norm", *TWO, "trainer.strategy=ddp"), tmp_path / "two", two)
    losses = [[record.readings["train/loss"] for record in heard.records] for heard in (one, two)]
    assert len(losses[1]) == 30
    # The weights part by rounding from the second step on.
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert together.final_loss == pytest.approx(alone.final_loss, rel=1e-4)
    unigram = [[r.readings["train/unigram_cross_entropy"] for r in heard.records] for heard in (one, two)]
    assert unigram[1] == pytest.approx(unigram[0], rel=1e-6), "the same rows"
    assert [plan.n_parameters for plan in two.plans] == [plan.n_parameters for plan in one.plans]
    assert together.steps == alone.steps == 30
    assert together.verdict.complete
    assert together.logdir == tmp_path / "two"


@pytest.mark.parametrize("kind", ["repeated_token", "huge_gradient"])
def test_two_processes_have_the_fault_that_one_has(
    tiny: Callable[..., ProbeSpec], tmp_path: Path, kind: str
) -> None:
    one, two = Heard(), Heard()
    options = (f"fault.kind={kind}", "fault.step=4", "trainer.steps=7")
    probe(tiny("pre_norm", *options), tmp_path / "one", one)
    probe(tiny("pre_norm", *options, *TWO, "trainer.strategy=ddp"), tmp_path / "two", two)
    for tag in ("train/loss", "train/unigram_cross_entropy", "optim/grad_norm"):
        values = [[record.readings[tag] for record in heard.records] for heard in (one, two)]
        assert values[1] == pytest.approx(values[0], rel=1e-3), tag


def test_the_listener_hears_all_that_the_first_process_keeps(
    tiny: Callable[..., ProbeSpec], tmp_path: Path
) -> None:
    failing = ("optimizer.lr=0.5", "schedule.warmup=0", "trainer.steps=60")
    heard = Heard()
    result = probe(tiny("post_norm", *failing, *TWO), tmp_path / "run", heard)
    assert result.verdict.incidents, "the run was meant to fail"
    assert not heard.notices
    assert list(open_run(tmp_path / "run").records()) == heard.records
    last = {change.incident.id: change.incident for change in heard.changes}
    assert repr(sorted(last.items())) == repr([(i.id, i) for i in result.verdict.incidents])


def test_a_cell_of_two_processes_ends_in_one_result(tiny: Callable[..., ProbeSpec], tmp_path: Path) -> None:
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "crash.txt").write_text("of an earlier attempt")
    result = run_cell(Job(tiny("pre_norm", *TWO, "trainer.steps=6"), tmp_path / "cell"))
    assert result is not None
    assert result == read_result(tmp_path / "cell")
    assert result.steps == 6
    assert result.first_loss is not None
    assert result.final_loss is not None
    assert not (tmp_path / "cell" / "crash.txt").exists()


def test_a_killed_process_ends_the_others_and_gives_no_result(corpus: Path, tmp_path: Path) -> None:
    spec = endless(corpus)
    spec = spec.model_copy(update={"trainer": spec.trainer.model_copy(update={"devices": 2})})
    folder = tmp_path / "cell"

    def kill() -> None:
        os.kill(until(lambda: (folder / "progress.json").exists() and worker_of(folder)), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert run_cell(Job(spec, folder)) is None
    killer.join()
    assert not (folder / "result.json").exists()


def test_ctrl_c_ends_all_processes_after_the_same_step(corpus: Path, tmp_path: Path) -> None:
    spec = endless(corpus)
    spec = spec.model_copy(update={"trainer": spec.trainer.model_copy(update={"devices": 2})})

    class Interrupting(Heard):
        def record(self, record: StepRecord) -> None:
            super().record(record)
            if record.step == 5:
                os.kill(os.getpid(), signal.SIGINT)

    result = probe(spec, tmp_path / "run", Interrupting())
    assert not result.verdict.complete
    assert 5 < result.steps < 100_000
    assert open_run(tmp_path / "run").complete is False


def test_what_the_first_process_refuses_is_what_is_said(
    tiny: Callable[..., ProbeSpec], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(RunFolderError, match="taken") as raised:
        probe(tiny("pre_norm", *TWO), tmp_path / "taken")
    assert "Traceback" in "".join(raised.value.__notes__), "where it happened"


def test_an_error_of_training_is_a_crash_with_its_traceback(
    tiny: Callable[..., ProbeSpec], tmp_path: Path
) -> None:
    spec = tiny("pre_norm", *TWO, "trainer.strategy=deepspeed_stage_9")
    result = run_cell(Job(spec, tmp_path / "cell"))
    assert result is not None
    assert result.outcome == "crashed"
    assert "deepspeed_stage_9" in result.reason
    assert "_trainer" in (tmp_path / "cell" / "crash.txt").read_text()
