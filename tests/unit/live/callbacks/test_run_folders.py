"""Where a run that goes on is kept: in its own folder, or beside it, never over what another run wrote."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from stabilitykit.errors import FolderTakenError
from stabilitykit.live.callbacks.kept_state import keep_state, kept_state
from stabilitykit.live.callbacks.run_folders import Place, choose_folder
from stabilitykit.records import StepRecord
from stabilitykit.store import RunWriter, open_run


def a_run(
    folder: Path, last: int = 9, run: str | None = "one", complete: bool | None = True
) -> dict[str, Any]:
    """Write a run and return the state of a checkpoint of step 5 of it."""
    writer = RunWriter(folder, {"run": run} if run else {})
    for step in range(last + 1):
        writer.record(StepRecord.of(step, {"train/loss": 1.0}))
    writer.close()
    if complete is not None:
        writer.verdict({"verdict": "stable", "complete": complete, "steps": last + 1, "incidents": []})
    return {"folder": str(folder), "steps": 5, "run": run}


def test_a_killed_run_goes_on_in_its_folder_also_where_later_steps_were_recorded(tmp_path: Path) -> None:
    usual = tmp_path / "stability"
    state = a_run(usual, complete=None)
    assert choose_folder(None, usual, state) == Place(usual, True)
    assert choose_folder(usual, tmp_path / "else", state) == Place(usual, True), "somebody named it"


def test_an_interrupted_run_and_a_finished_one_that_is_trained_further_go_on(tmp_path: Path) -> None:
    state = a_run(tmp_path / "stability", complete=False)
    assert choose_folder(None, tmp_path / "stability", state).resume
    state = a_run(tmp_path / "other", last=4)
    assert choose_folder(tmp_path / "other", tmp_path / "stability", state).resume


def test_a_branch_of_a_run_that_has_ended_is_kept_beside_it(tmp_path: Path) -> None:
    state = a_run(tmp_path / "stability")
    place = choose_folder(None, tmp_path / "stability", state)
    assert (place.folder, place.resume) == (tmp_path / "stability-2", False)
    assert place.continues == {"folder": str(tmp_path / "stability"), "step": 5}
    assert "has ended, at step 9" in place.why


def test_a_branch_in_another_place_is_kept_there(tmp_path: Path) -> None:
    state = a_run(tmp_path / "a" / "stability", complete=None)
    place = choose_folder(None, tmp_path / "b" / "stability", state)
    assert (place.folder, place.resume) == (tmp_path / "b" / "stability", False)
    named = choose_folder(tmp_path / "mine", tmp_path / "a" / "stability", state)
    assert (named.folder, named.resume) == (tmp_path / "mine", False)


def test_loggers_number_the_folder_around_it(tmp_path: Path) -> None:
    state = a_run(tmp_path / "logs" / "version_0" / "stability", complete=None)
    usual = tmp_path / "logs" / "version_1" / "stability"
    assert choose_folder(None, usual, state, versioned=True).folder == Path(state["folder"])
    assert choose_folder(None, usual, state, versioned=False).folder == usual


def test_another_run_that_took_the_name_is_left_alone(tmp_path: Path) -> None:
    state = a_run(tmp_path / "stability", complete=None) | {"run": "another"}
    place = choose_folder(None, tmp_path / "stability", state)
    assert (place.folder.name, place.resume) == ("stability-2", False)


def test_a_folder_that_was_moved_is_found_where_it_would_be(tmp_path: Path) -> None:
    state = a_run(tmp_path / "old" / "stability", complete=None)
    (tmp_path / "new").mkdir()
    shutil.move(tmp_path / "old" / "stability", tmp_path / "new" / "stability")
    assert choose_folder(None, tmp_path / "new" / "stability", state) == Place(
        tmp_path / "new" / "stability", True
    )


def test_a_folder_that_is_gone_gives_a_new_one(tmp_path: Path) -> None:
    state = {"folder": str(tmp_path / "gone" / "stability"), "steps": 5, "run": "one"}
    place = choose_folder(None, tmp_path / "stability", state)
    assert (place.folder, place.resume) == (tmp_path / "stability", False)
    assert "gone" in place.why


def test_a_run_that_is_being_written_is_not_taken_from_under_its_writer(tmp_path: Path) -> None:
    state = a_run(tmp_path / "stability", complete=None)
    writer = RunWriter(tmp_path / "stability", {"run": "one"}, resume=True)
    assert not choose_folder(None, tmp_path / "stability", state).resume
    with pytest.raises(FolderTakenError, match="another process writes this run"):
        RunWriter(tmp_path / "stability", {}, resume=True)
    writer.close()
    assert choose_folder(None, tmp_path / "stability", state).resume


@pytest.mark.parametrize("steps", [None, "5", -1, True, 2.5, float("nan")])
def test_a_state_that_does_not_say_where_it_stood_never_rewinds_a_folder(
    tmp_path: Path, steps: object
) -> None:
    state = a_run(tmp_path / "stability", complete=None) | {"steps": steps}
    assert not choose_folder(None, tmp_path / "stability", state).resume
    assert open_run(tmp_path / "stability").last_step == 9


@pytest.mark.parametrize("state", [{}, {"folder": None}, {"folder": 5, "steps": 5}, ["folder"], None])
def test_a_state_without_a_folder_begins_anew(tmp_path: Path, state: Any) -> None:
    assert choose_folder(None, tmp_path / "stability", state) == Place(tmp_path / "stability")


def test_a_state_file_is_whole_or_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "stability.pt"
    assert kept_state(path) is None
    keep_state(path, {"steps": 3, "gradient": torch.ones(2)})
    found = kept_state(path)
    assert found is not None
    assert found["steps"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["stability.pt"]
    assert not caplog.messages
    for damage in (path.read_bytes()[: path.stat().st_size // 2], b"", b"no file of torch's"):
        path.write_bytes(damage)
        caplog.clear()
        assert kept_state(path) is None
        assert len(caplog.messages) == 1
        assert "cannot be read" in caplog.messages[0]
    torch.save([Path("not plain")], path)
    assert kept_state(path) is None


def test_a_disk_that_refuses_a_state_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep_state(tmp_path / "gone" / "stability.pt", {"steps": 3})
    assert len(caplog.messages) == 1
