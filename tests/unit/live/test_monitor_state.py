"""What a monitor does with odd scalars, a disk that refuses, and a state that is not as it was."""

import io
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stabilitykit.afterwards.replay import replay
from stabilitykit.detect import Detector
from stabilitykit.detect.diagnosis import Diagnosis
from stabilitykit.errors import FolderTakenError, RunFolderError
from stabilitykit.live.monitor import Monitor
from stabilitykit.records import Finding, StepRecord
from stabilitykit.store import RunWriter, open_run


def monitor(**options: Any) -> Monitor:
    model = nn.Linear(2, 2)
    return Monitor(model, [torch.optim.SGD(model.parameters(), 0.1)], **options)


def step(watching: Monitor, **scalars: Any) -> None:
    watching.arm()
    watching.add_scalars(scalars)
    watching.finish_step()


def run(watching: Monitor, losses: list[float]) -> Monitor:
    for loss in losses:
        step(watching, loss=loss)
    return watching


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


class Broken(Detector):
    """Cannot say its state."""

    kind = "mine"

    def update(self, record: StepRecord) -> list[Finding]:
        return []

    def state_dict(self) -> dict[str, Any]:
        raise RuntimeError("no state")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise RuntimeError("no state")


LOSSES = [3.0 - 0.01 * i for i in range(40)]
SPIKED = [*LOSSES, float("nan"), *LOSSES[:5]]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        "3.5",
        torch.ones(2),
        torch.ones(1, dtype=torch.complex64),
        torch.ones((), device="meta"),
        10**400,
        [1.0],
    ],
)
def test_what_is_no_number_is_missing_at_its_step_and_said_once(
    odd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    watching = monitor()
    for value in (1.0, odd, odd, torch.tensor([2.0], requires_grad=True)):
        step(watching, loss=value, other=1.0)
        latest = watching.latest()
        assert latest is not None
        assert ("train/loss" in latest.tags) == (value is not odd)
        assert latest.readings["train/other"] == 1.0
    assert [line.partition(":")[0] for line in warned(caplog) if "loss" in line] == [
        "train/loss is missing where it is no number"
    ]


def test_a_microbatch_without_a_number_spoils_the_mean_of_its_step_alone() -> None:
    watching = monitor()
    watching.arm()
    watching.add_scalars({"loss": 1.0})
    watching.add_scalars({"loss": None})  # type: ignore[dict-item]
    watching.finish_step()
    latest = watching.latest()
    assert latest is not None
    assert "train/loss" not in latest.tags
    step(watching, loss=torch.tensor(1.0))
    watching.add_scalars({"loss": 3.0})
    watching.add_scalars({"loss": torch.tensor(1.0)})
    watching.finish_step()
    latest = watching.latest()
    assert latest is not None
    assert latest.readings["train/loss"] == 2.0


def test_a_step_that_cannot_be_read_once_is_missing_and_the_next_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watching = monitor()
    step(watching, loss=1.0)
    with monkeypatch.context() as patch:
        patch.setattr("stabilitykit.observe.collector.PackedStep.of", lambda **_: 1 / 0)
        run(watching, [2.0, 2.0])
    step(watching, loss=4.0)
    latest = watching.latest()
    assert latest is not None
    assert (latest.step, latest.readings["train/loss"]) == (3, 4.0)
    assert watching.verdict().complete
    assert sum("ZeroDivisionError" in line for line in warned(caplog)) == 1
    monkeypatch.setattr("stabilitykit.observe.collector.PackedStep.of", lambda **_: 1 / 0)
    run(watching, [2.0] * 3)
    assert "monitor is off" in warned(caplog)[-1]
    assert not watching.verdict().complete, "it was watched in part only"


def test_a_disk_that_refuses_at_the_start_is_said_once_and_the_run_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stabilitykit.store.run_folder.replace_file", full)
    watching = run(monitor(folder=tmp_path / "run"), LOSSES)
    watching.close()
    assert watching.disk_failed
    assert (watching.verdict().outcome, watching.verdict().steps) == ("stable", 40)
    assert len([line for line in warned(caplog) if "No space left" in line]) == 1


def test_a_folder_with_something_else_is_refused_or_left(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    for taken in (tmp_path, tmp_path / "mine"):
        with pytest.raises(FolderTakenError):
            monitor(folder=taken)
    watching = monitor(folder=tmp_path / "mine", beside=True)
    assert watching.folder == tmp_path / "mine-2"
    watching.close()


def test_a_state_after_an_incident_is_plain_and_goes_on(tmp_path: Path) -> None:
    whole = run(monitor(), [*SPIKED, *LOSSES])
    first = run(monitor(folder=tmp_path / "run"), SPIKED)
    assert first.incidents
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    first.close(complete=False)
    second = monitor(folder=tmp_path / "run", resume=True)
    second.load_state_dict(torch.load(file, weights_only=True))
    run(second, LOSSES).close()
    assert repr(second.verdict()) == repr(whole.verdict())
    assert repr(replay(tmp_path / "run").verdict) == repr(second.verdict())


def test_a_run_in_a_folder_of_its_own_is_judged_by_what_is_in_it(tmp_path: Path) -> None:
    first = run(monitor(folder=tmp_path / "run"), SPIKED)
    state = first.state_dict()
    first.close()
    branch = monitor(folder=tmp_path / "branch", config={"continues": {"folder": "run", "step": 46}})
    branch.load_state_dict(state)
    run(branch, LOSSES).close()
    kept = open_run(tmp_path / "branch")
    assert next(kept.records()).step == len(SPIKED)
    assert kept.config["continues"]["step"] == 46
    assert kept.config["run"] != open_run(tmp_path / "run").config["run"]
    assert branch.verdict().outcome == "stable"
    assert repr(replay(tmp_path / "branch").verdict) == repr(branch.verdict())


@pytest.mark.parametrize("key", ["version", "steps", "observed", "diagnosis", "collector", "folder", "run"])
@pytest.mark.parametrize("odd", ["gone", {"a": 1}])
def test_no_state_ends_anything_and_what_is_good_of_it_is_taken_up(
    key: str, odd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    state = run(monitor(), SPIKED).state_dict() | {key: odd}
    if odd == "gone":
        del state[key]
    caplog.clear()
    again = monitor()
    again.load_state_dict(state)
    assert len(warned(caplog)) <= 1
    assert again.steps == (0 if key == "steps" else len(SPIKED))
    assert bool(again.incidents) == (key != "diagnosis")
    assert run(again, LOSSES).verdict().complete


def test_a_detector_more_or_less_or_without_a_state_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    own = run(monitor(detectors=[Broken()]), SPIKED)
    state = own.state_dict()
    own.state_dict()
    assert len([line for line in warned(caplog) if "its state is not kept" in line]) == 1
    for more in ([], [Broken()]):
        again = monitor(detectors=more)
        again.load_state_dict(state)
        assert repr(again.incidents) == repr(own.incidents)
        assert run(again, LOSSES).verdict().steps == len(SPIKED) + len(LOSSES)


def test_a_detector_with_half_a_state_begins_anew() -> None:
    state = run(monitor(), SPIKED).state_dict()["diagnosis"]
    for kind in state["detectors"]:
        fresh, damaged = Diagnosis(), Diagnosis()
        unread = damaged.load_state_dict({**state, "detectors": {**state["detectors"], kind: {"x": 1}}})
        if unread:
            assert kind in unread[0]
            mine = damaged.state_dict()["detectors"][kind]
            assert repr(mine) == repr(fresh.state_dict()["detectors"][kind])


def test_a_list_of_states_of_an_earlier_version_is_taken_up() -> None:
    state = run(monitor(), SPIKED).state_dict()["diagnosis"]
    old = {**state, "detectors": list(state["detectors"].values())}
    again = Diagnosis()
    assert again.load_state_dict(old) == []
    assert repr(again.state_dict()) == repr(state)


@pytest.mark.parametrize(
    "finding",
    [
        "words",
        Finding("mine", "site", 0, 0, None, 1.0, "warning", "text"),  # type: ignore[arg-type]
        Finding("other", "site", 0, 0, 1.0, 1.0, "warning", "text"),  # type: ignore[arg-type]
    ],
)
def test_a_detector_that_finds_what_is_no_finding_is_off(
    finding: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(Broken):
        def update(self, record: StepRecord) -> list[Finding]:
            return [finding]

    watching = run(monitor(detectors=[Odd()]), LOSSES)
    assert watching.verdict().steps == 40
    assert [line for line in warned(caplog) if "detector mine is off" in line]


def test_a_reaction_of_ones_own_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    def own(incident: Any) -> None:
        seen.append(incident.kind)
        raise OSError("no mail today")

    watching = run(monitor(on_incident=["stop", own]), SPIKED)
    assert seen
    assert watching.should_stop
    said = [line for line in warned(caplog) if "no mail" in line]
    assert said == ["on_incident: own: OSError: no mail today; training goes on"]


def test_the_two_processes_that_take_one_folder_get_one_each(tmp_path: Path) -> None:
    first = RunWriter(tmp_path / "run", {})
    with pytest.raises(RunFolderError, match="not empty"):
        RunWriter(tmp_path / "run", {})
    first.close()


def test_the_best_loss_of_an_earlier_part_of_the_run_counts():
    first = run(monitor(), [3.0, 0.5, 0.5, 2.0])
    second = monitor()
    second.load_state_dict(first.state_dict())
    document = run(second, [2.5] * 16).summary()
    assert (document["best_loss"], document["final_loss"]) == (0.5, 2.5)
