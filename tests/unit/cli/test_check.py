"""``probe --check``: what it prints, how it ends, and that it keeps nothing."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from stabilitykit.lab.probe.checks import CheckFinding, CheckReport
from stabilitykit.records import Severity

RATE = CheckFinding(
    "learning_rate",
    Severity.CRITICAL,
    0.01,
    0.0042,
    "runs failed from 0.0042 on",
    ("a rate that held: --lr 0.004",),
)
LOGITS = CheckFinding("attention_logits", Severity.WARNING, 34.0, 30.0, "logits are 34", ("QK-norm",))
GROWTH = CheckFinding("residual_growth", Severity.INFO, 0.5, 2.0, "the line grows as the root")


@pytest.fixture
def checked(library: Any, monkeypatch: pytest.MonkeyPatch) -> list[CheckReport]:
    """The report that the faked library gives; one may be put in its place."""
    reports = [CheckReport("unstable", (RATE, LOGITS, GROWTH), {"seed": 1})]
    monkeypatch.setattr("stabilitykit.lab.probe.check", lambda spec: reports[-1])
    return reports


def test_what_is_expected_stands_first_then_what_to_try_and_all_that_was_looked_at(
    stabilitykit, library, checked
):
    ended = stabilitykit("probe", "--check", "--arch", "post_norm", "--lr", "1e-2", "--warmup", "0")
    assert (ended.status, ended.err) == (0, "")
    assert library.built == ("post_norm", None, [], {"optimizer.lr": 0.01, "schedule.warmup": 0})
    lines = ended.out.splitlines()
    assert lines[1:3] == [
        "expected unstable  runs failed from 0.0042 on",
        "post_norm · nothing was trained",
    ]
    assert "what to try    - a rate that held: --lr 0.004" in lines
    assert ended.out.index("attention_logits  (warning)") < ended.out.index("looked at")
    rows = [line.split() for line in lines if line.startswith(("attention_logits ", "residual_growth"))]
    assert rows == [
        ["attention_logits", "(warning)"],
        ["attention_logits", "34.0", "30.0", "see", "above"],
        ["residual_growth", "0.500", "2.00", *GROWTH.message.split()],
    ]


def test_json_is_one_document(stabilitykit, checked):
    checked.append(
        CheckReport("unknown", (CheckFinding("nonfinite", Severity.INFO, math.nan, None, "x"),), {"a": 1})
    )
    ended = stabilitykit("probe", "--check", "--arch", "x", "--json")
    document = json.loads(ended.out, parse_constant=pytest.fail)
    assert set(document) == {"expected", "findings", "config"}
    assert document["expected"] == "unknown"
    assert document["findings"] == [
        {
            "name": "nonfinite",
            "severity": "info",
            "value": None,
            "limit": None,
            "message": "x",
            "remedies": [],
        }
    ]


@pytest.mark.parametrize(
    ("expected", "options", "status"),
    [
        ("unstable", [], 0),
        ("unstable", ["--fail-on", "unstable"], 3),
        ("unknown", ["--fail-on", "unstable"], 0),
        ("stable", ["--fail-on", "unstable"], 0),
    ],
)
def test_fail_on_turns_only_unstable_into_a_status(stabilitykit, checked, expected, options, status):
    checked.append(CheckReport(expected, (RATE,), {}))
    assert stabilitykit("probe", "--check", "--arch", "x", *options).status == status


def test_a_folder_and_check_contradict_each_other(stabilitykit, library, checked):
    ended = stabilitykit("probe", "--check", "--arch", "x", "--logdir", "runs/x")
    assert (ended.status, ended.out, library.built) == (2, "", ())
    assert ended.err == "error: --logdir: got runs/x; --check trains nothing and keeps no folder\n"


def test_the_help_has_an_example(stabilitykit):
    ended = stabilitykit("probe", "--help")
    assert "stabilitykit probe --check --arch post_norm --lr 1e-2 --warmup 0" in ended.out


def test_nothing_is_kept(stabilitykit, checked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    stabilitykit("probe", "--check", "--arch", "x")
    assert list(tmp_path.iterdir()) == []
