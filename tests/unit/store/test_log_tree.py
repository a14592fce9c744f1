"""What is found below a folder: every log once, and nothing in circles."""

import json
import os
from pathlib import Path

from stabilitykit.store import RunWriter, find_logs
from stabilitykit.store.event_file import EventFile
from stabilitykit.store.logs import tree

LOG = "step,loss\n0,1\n1,2\n"


def put(path: Path, text: str = LOG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def state(path: Path, last: int) -> Path:
    return put(path / "trainer_state.json", json.dumps({"global_step": last, "log_history": [{"loss": 1}]}))


def test_every_kind_of_log_is_found_once(tmp_path: Path):
    RunWriter(tmp_path / "ours", {}).close()
    put(tmp_path / "ours" / "other.csv")
    EventFile(tmp_path / "tb" / "version_0").close()
    EventFile(tmp_path / "tb" / "version_0").close()
    csv = put(tmp_path / "lightning" / "version_1" / "metrics.csv")
    jsonl = put(tmp_path / "history.jsonl.gz")
    put(tmp_path / "model.safetensors")
    put(tmp_path / ".cache" / "log.csv")
    put(tmp_path / "config.json", json.dumps({"loss": 1}))
    history = put(tmp_path / "history.json", json.dumps([{"loss": 1, "step": 0}]))
    found = find_logs(tmp_path)
    assert found.sure == [tmp_path / "ours"]
    assert set(found.likely) == {csv, jsonl, history, tmp_path / "tb" / "version_0"}
    assert found.complete


def test_of_a_runs_checkpoints_the_newest_counts(tmp_path: Path):
    for at in (500, 1000, 1500):
        state(tmp_path / "a" / f"checkpoint-{at}", at)
    newest = state(tmp_path / "b", 900)
    state(tmp_path / "b" / "checkpoint-600", 600)
    assert find_logs(tmp_path).paths == [tmp_path / "a" / "checkpoint-1500" / "trainer_state.json", newest]


def test_what_is_of_validation_by_its_name_is_kept_apart(tmp_path: Path):
    for name in ("train", "validation"):
        EventFile(tmp_path / name).close()
    log, of_validation = put(tmp_path / "test.log"), put(tmp_path / "loss_val.csv")
    found = find_logs(tmp_path)
    assert found.paths == [log, tmp_path / "train"]
    assert set(found.of_validation) == {tmp_path / "validation", of_validation}


def test_links_that_lead_in_circles_end(tmp_path: Path):
    log = put(tmp_path / "a" / "log.csv")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "self.csv").symlink_to("self.csv")
    (tmp_path / "twice.csv").symlink_to(log)
    (tmp_path / "gone.csv").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.log")
    paths = find_logs(tmp_path).paths
    assert [path.resolve() for path in paths] == [log]


def test_a_file_is_itself_and_too_many_are_said(tmp_path: Path, monkeypatch):
    assert find_logs(tmp_path / "any").paths == [tmp_path / "any"]
    for at in range(5):
        put(tmp_path / str(at) / "log.csv")
    monkeypatch.setattr(tree, "_MOST", 3)
    assert not find_logs(tmp_path).complete
