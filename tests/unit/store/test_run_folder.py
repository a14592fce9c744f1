"""A run's folder, written and read back."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stabilitykit.errors import ConfigError, DataError, RunFolderError
from stabilitykit.records import IncidentChange, StepRecord
from stabilitykit.store import RunWriter, is_run_folder, open_run
from stabilitykit.store.readings import MAX_ROWS

Make = Callable[..., IncidentChange]
TAGS = ("train/loss", "act/rms/blocks.00.resid_post")


def record(step: int, *values: float, tags: tuple[str, ...] = TAGS) -> StepRecord:
    return StepRecord(step, tags, np.array(values or [step, step + 0.1], np.float32))


def write(folder: Path, steps: range, value: float | None = None, resume: bool = False) -> None:
    writer = RunWriter(folder, {"seed": 1}, resume=resume)
    for step in steps:
        writer.record(record(step) if value is None else record(step, value, value))
    writer.close()


def segments(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "readings").iterdir())


def test_records_come_back_bit_for_bit(tmp_path: Path):
    written = [
        record(0, 1 / 3, np.nan),
        record(1, np.inf, -np.inf),
        record(2, -0.0, 1e-45),
        record(5, 3.4e38, 7),
    ]
    writer = RunWriter(tmp_path / "a" / "run", {"seed": 7, "model": {"d_model": 16}})
    for each in written:
        writer.record(each)
    writer.close()
    run = open_run(tmp_path / "a" / "run")
    read = list(run.records())
    assert [each.step for each in read] == [0, 1, 2, 5]
    assert [each.tags for each in read] == [each.tags for each in written]
    assert [each.values.tobytes() for each in read] == [each.values.tobytes() for each in written]
    assert all(each.tags is read[0].tags for each in read)
    assert run.config == {"schema_version": 1, "seed": 7, "model": {"d_model": 16}}
    assert run.notes == ()
    assert run.last_step == 5


@settings(max_examples=60)
@given(
    patterns=st.lists(st.lists(st.integers(0, 4), unique=True, max_size=5), min_size=1, max_size=12),
    sort=st.booleans(),
)
def test_any_sequence_of_tags_comes_back(
    tmp_path_factory: pytest.TempPathFactory, patterns: list[list[int]], sort: bool
):
    folder = tmp_path_factory.mktemp("run") / "run"
    written = []
    writer = RunWriter(folder, {})
    for step, pattern in enumerate(patterns):
        tags = tuple(f"x/{index}" for index in (sorted(pattern) if sort else pattern))
        written.append(StepRecord(step, tags, np.full(len(tags), np.nan if step % 3 else step, np.float32)))
        writer.record(written[-1])
    writer.close()
    assert list(open_run(folder).records()) == written


def test_missing_is_not_nan(tmp_path: Path):
    writer = RunWriter(tmp_path / "run", {})
    writer.record(record(0, 1.0, np.nan))
    writer.record(record(1, 2.0, tags=TAGS[:1]))
    writer.record(record(2, 3.0, 4.0))
    writer.close()
    run = open_run(tmp_path / "run")
    assert [len(each.tags) for each in run.records()] == [2, 1, 2]
    steps, values = run.column(TAGS[1])
    assert steps.tolist() == [0, 2]
    np.testing.assert_array_equal(values, np.array([np.nan, 4.0], np.float32))
    first, second, third = run.records()
    assert first.tags is third.tags
    assert second.readings == {TAGS[0]: 2.0}


def test_looking_closely_now_and_then_makes_no_thousand_files(tmp_path: Path):
    writer = RunWriter(tmp_path / "run", {})
    for step in range(100):
        writer.record(record(step) if step % 10 == 0 else record(step, 1.0, tags=TAGS[:1]))
    writer.close()
    assert segments(tmp_path / "run") == ["segment-00000.arrow"]
    assert sum(1 for _ in open_run(tmp_path / "run").records()) == 100


def test_a_new_tag_begins_a_segment(tmp_path: Path):
    writer = RunWriter(tmp_path / "run", {})
    more = (*TAGS, "optim/lr")
    for step in range(4):
        writer.record(record(step) if step < 2 else record(step, 1, 2, 3, tags=more))
    writer.close()
    run = open_run(tmp_path / "run")
    assert segments(tmp_path / "run") == ["segment-00000.arrow", "segment-00001.arrow"]
    assert run.tags == more
    assert run.column("optim/lr")[0].tolist() == [2, 3]
    assert run.column(TAGS[0])[0].tolist() == [0, 1, 2, 3]


def test_batches_are_written_as_the_run_goes(tmp_path: Path):
    writer = RunWriter(tmp_path / "run", {})
    assert writer.last_step_kept is None
    for step in range(MAX_ROWS):
        writer.record(record(step))
    assert writer.last_step_kept == MAX_ROWS - 1
    writer.record(record(MAX_ROWS))
    assert [each.step for each in open_run(tmp_path / "run").records()] == list(range(MAX_ROWS))
    writer.close()
    with pa.ipc.open_stream(tmp_path / "run" / "readings" / "segment-00000.arrow") as stream:
        assert [batch.num_rows for batch in stream] == [MAX_ROWS, 1]
        assert stream.schema.metadata == {b"schema_version": b"1"}


def test_a_batch_is_no_older_than_two_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr("stabilitykit.store.readings.time.monotonic", lambda: now[0])
    writer = RunWriter(tmp_path / "run", {})
    for step in range(6):
        now[0] += 0.5
        writer.record(record(step))
    assert writer.last_step_kept == 4
    writer.close()
    assert writer.last_step_kept == 5


def test_an_incident_comes_after_its_readings(tmp_path: Path, make_change: Make):
    writer = RunWriter(tmp_path / "run", {})
    for step in range(4):
        writer.record(record(step))
    writer.incident(make_change(3))
    assert open_run(tmp_path / "run").last_step == 3
    line = json.loads((tmp_path / "run" / "incidents.jsonl").read_text())
    assert (line["schema_version"], line["what"], line["step"]) == (1, "opened", 3)
    writer.close()


def test_incidents_are_in_their_newest_state(tmp_path: Path, make_change: Make):
    writer = RunWriter(tmp_path / "run", {})
    writer.record(record(0))
    writer.incident(make_change(3, id=0, value=float("nan")))
    writer.incident(make_change(5, id=1))
    writer.incident(make_change(3, id=0, what="closed", end=9))
    writer.close()
    first, second = open_run(tmp_path / "run").incidents
    assert first == make_change(3, id=0, end=9).incident
    assert second == make_change(5, id=1).incident


def test_the_verdict_is_last_and_marks_the_end(tmp_path: Path):
    writer = RunWriter(tmp_path / "run", {})
    writer.record(record(0))
    assert not open_run(tmp_path / "run").complete
    assert open_run(tmp_path / "run").verdict is None
    writer.verdict({"verdict": "stable", "complete": True, "final_loss": float("nan"), "losses": [1.0]})
    writer.close()
    run = open_run(tmp_path / "run")
    assert run.complete
    assert run.verdict == {
        "schema_version": 1,
        "verdict": "stable",
        "complete": True,
        "final_loss": None,
        "losses": [1.0],
    }
    assert run.last_step == 0
    assert not list((tmp_path / "run").glob("*.part"))


def test_an_interrupted_run_is_not_complete(tmp_path: Path):
    writer = RunWriter(tmp_path / "run", {})
    writer.verdict({"verdict": "stable", "complete": False})
    writer.close()
    assert not open_run(tmp_path / "run").complete


def test_several_resumptions_count_from_where_each_began(tmp_path: Path):
    write(tmp_path / "run", range(0, 100), 1.0)
    write(tmp_path / "run", range(50, 80), 2.0, resume=True)
    write(tmp_path / "run", range(60, 70), 3.0, resume=True)
    write(tmp_path / "run", range(70, 75), 4.0, resume=True)
    run = open_run(tmp_path / "run")
    read = [(each.step, each.values[0]) for each in run.records()]
    expected = [(s, 1.0) for s in range(50)] + [(s, 2.0) for s in range(50, 60)]
    expected += [(s, 3.0) for s in range(60, 70)] + [(s, 4.0) for s in range(70, 75)]
    assert read == expected
    steps, values = run.column(TAGS[0])
    assert list(zip(steps.tolist(), values.tolist(), strict=True)) == expected
    assert run.last_step == 74
    assert len({id(each.tags) for each in run.records()}) == 1


def test_a_resumption_from_the_start_replaces_everything(tmp_path: Path):
    write(tmp_path / "run", range(0, 30), 1.0)
    write(tmp_path / "run", range(10, 20), 2.0, resume=True)
    write(tmp_path / "run", range(0, 3), 3.0, resume=True)
    assert [(e.step, e.values[0]) for e in open_run(tmp_path / "run").records()] == [(0, 3), (1, 3), (2, 3)]


def test_a_resumption_that_recorded_nothing_changes_nothing(tmp_path: Path):
    write(tmp_path / "run", range(0, 30))
    RunWriter(tmp_path / "run", {}, resume=True).close()
    assert open_run(tmp_path / "run").last_step == 29


def test_a_resumed_run_knows_what_is_kept_and_has_no_old_verdict(tmp_path: Path):
    write(tmp_path / "run", range(0, 30))
    (tmp_path / "run" / "verdict.json").write_text('{"complete": true}')
    writer = RunWriter(tmp_path / "run", {"seed": 2}, resume=True)
    assert writer.last_step_kept == 29
    assert not open_run(tmp_path / "run").complete
    assert open_run(tmp_path / "run").config["seed"] == 2
    writer.close()


def test_incidents_of_steps_that_are_run_again_no_longer_count(tmp_path: Path, make_change: Make):
    writer = RunWriter(tmp_path / "run", {})
    for step in range(40):
        writer.record(record(step))
        if step == 10:
            writer.incident(make_change(10, id=0))
        if step == 35:
            writer.incident(IncidentChange("closed", 35, make_change(10, id=0, end=35).incident))
            writer.incident(make_change(35, id=1))
    writer.close()
    writer = RunWriter(tmp_path / "run", {}, resume=True)
    writer.record(record(30))
    writer.close()
    (kept,) = open_run(tmp_path / "run").incidents
    assert kept == make_change(10, id=0).incident


def test_a_step_that_comes_again_in_one_process_counts_newest(tmp_path: Path):
    writer = RunWriter(tmp_path / "run", {})
    for step, value in [(0, 1.0), (1, 1.0), (2, 1.0), (1, 2.0), (2, 2.0)]:
        writer.record(record(step, value, value))
    writer.close()
    assert [(e.step, e.values[0]) for e in open_run(tmp_path / "run").records()] == [(0, 1), (1, 2), (2, 2)]


def test_a_line_after_half_a_line_is_whole(tmp_path: Path, make_change: Make):
    write(tmp_path / "run", range(3))
    (tmp_path / "run" / "incidents.jsonl").write_bytes(b'{"schema_version": 1, "what": "ope')
    writer = RunWriter(tmp_path / "run", {}, resume=True)
    writer.record(record(3))
    writer.incident(make_change(3))
    writer.close()
    run = open_run(tmp_path / "run")
    assert len(run.incidents) == 1
    assert run.notes == ("incidents.jsonl: line 1 is cut or damaged; passed over",)


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="not empty; name a new folder"):
        RunWriter(tmp_path, {})
    with pytest.raises(RunFolderError, match="holds no run to resume"):
        RunWriter(tmp_path, {}, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_or_missing_folder_can_be_resumed(tmp_path: Path):
    write(tmp_path, range(3), resume=True)
    write(tmp_path / "new", range(3), resume=True)
    assert is_run_folder(tmp_path / "new")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot write the run's folder \(Not a directory\)") as caught:
        RunWriter(tmp_path / "file" / "run", {})
    assert "\n" not in str(caught.value)


def test_a_config_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: Path, *args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(RunFolderError, match="Permission denied"):
        RunWriter(tmp_path / "run", {})
    assert list((tmp_path / "run").iterdir()) == []


def test_a_config_without_words_in_yaml_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot represent an object"):
        RunWriter(tmp_path / "run", {"path": object()})
    assert not (tmp_path / "run").exists()


def test_config_reads_back_as_it_was(tmp_path: Path):
    config = {"lr": 1e-3, "small": 1e-05, "name": "größe", "list": [1, 2], "none": None, "yes": "yes"}
    RunWriter(tmp_path / "run", config).close()
    assert open_run(tmp_path / "run").config == {"schema_version": 1, **config}
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == {"schema_version": 1, **config}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no config.yaml with a schema_version"),
        ("seed: 1\n", "no config.yaml with a schema_version"),
        ("schema_version: 2\n", "schema_version 2 is newer"),
        ("schema_version: [\n", "damaged"),
        ("schema_version: x\n", "damaged"),
    ],
)
def test_what_is_no_run_is_said_in_one_line(tmp_path: Path, content: str | None, message: str):
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(RunFolderError, match=message) as caught:
        open_run(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(RunFolderError, match="no such folder"):
        open_run(tmp_path / "nowhere")


def test_a_column_nobody_read_is_named_with_its_neighbours(tmp_path: Path):
    write(tmp_path / "run", range(3))
    with pytest.raises(DataError, match="no readings of 'train/los'; did you mean 'train/loss'"):
        open_run(tmp_path / "run").column("train/los")


def test_a_run_without_readings_is_empty(tmp_path: Path):
    RunWriter(tmp_path / "run", {}).close()
    run = open_run(tmp_path / "run")
    assert (list(run.records()), run.tags, run.last_step, run.incidents, run.notes) == ([], (), None, (), ())


def test_a_damaged_verdict_is_noted(tmp_path: Path):
    write(tmp_path / "run", range(3))
    (tmp_path / "run" / "verdict.json").write_text("{")
    run = open_run(tmp_path / "run")
    assert (run.verdict, run.complete) == (None, False)
    assert run.notes == ("verdict.json: unreadable; passed over",)


def test_naming_the_room_loads_nothing_heavy():
    heavy = "[name for name in ('pyarrow', 'tensorboard', 'PIL', 'torch') if name in sys.modules]"
    code = f"import sys, stabilitykit.store; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
