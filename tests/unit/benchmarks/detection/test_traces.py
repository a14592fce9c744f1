"""A folder of traces: which of them are scored, and what is read."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from benchmarks.detection.log import Said, Tool
from benchmarks.detection.ours import OURS, command
from benchmarks.detection.traces import Traces

SCORER = """
import gzip
import json

def evaluate(root, split, detect):
    rows = []
    for trace in json.loads((root / "manifest.json").read_text())["traces"]:
        path, plain = root / trace["file"], root / f"{trace['id']}.csv"
        plain.write_bytes(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        verdict, incidents = detect(plain)
        rows.append({"id": trace["id"], "label": trace["label"], "verdict": verdict, "n": len(incidents)})
    return {"traces": len(rows)}, {}, rows
"""
LOG = "step,loss,grad_norm\n" + "".join(f"{n},{3 - n / 100 + (n == 40)},1.0\n" for n in range(60))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "score.py").write_text(SCORER)
    (tmp_path / "plain.csv").write_text(LOG)
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(LOG.encode()))
    common = {"split": "dev", "label": "spiky"}
    traces = [
        {"id": "plain", "file": "plain.csv", "has_grad_norm": False, **common},
        {"id": "packed", "file": "packed.csv.gz", "has_grad_norm": True, **common},
        {"id": "doubtful", "file": "plain.csv", "has_grad_norm": False, **common, "label": "ambiguous"},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"rule": {}, "traces": traces}))
    return tmp_path


def mute(needs: str) -> Tool:
    return Tool("mute", "mute", "a test", lambda path, log: Said("stable", []), needs)


def test_traces_without_the_column_are_left_out(folder):
    traces = Traces(folder)
    assert [t["id"] for t in traces.scored] == ["plain", "packed"]
    score = traces.score(mute("loss"))
    assert [row["id"] for row in score.rows] == ["plain", "packed", "doubtful"]
    assert score.confusion() == {("ambiguous", "stable"): 1, ("spiky", "stable"): 2}


def test_a_rule_on_the_gradient_norm_sees_the_traces_that_have_one(folder):
    assert [row["id"] for row in Traces(folder).score(mute("grad_norm")).rows] == ["packed"]


def test_a_packed_trace_is_judged_as_a_plain_one(folder):
    said = Traces(folder).judge(OURS, ["plain", "packed"])
    assert said["plain"] == said["packed"]
    assert [i["start"] for i in said["plain"].incidents] == [40]


@pytest.mark.slow
def test_the_command_says_what_the_call_says(folder):
    traces = Traces(folder)
    run = command(f"{sys.executable} -m stabilitykit_cli diagnose --json")
    assert traces.judge(run, ["plain"]) == traces.judge(OURS, ["plain"])


def test_pictures_of_the_page_are_small():
    pictures = list((Path(__file__).parents[4] / "docs" / "images").glob("failure_*.svg"))
    assert len(pictures) == 6
    assert all(picture.stat().st_size < 60_000 for picture in pictures)
