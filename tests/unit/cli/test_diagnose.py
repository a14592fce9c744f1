"""``diagnose``: one path, several, and those that cannot be read."""

import dataclasses
import json
from pathlib import Path

import pytest

from stabilitykit.afterwards.replay import ColumnNames
from stabilitykit.errors import ConfigError, DataError
from stabilitykit.records import Severity
from stabilitykit_cli.diagnose import badness

from .conftest import a_verdict, an_incident


def test_one_path(stabilitykit, library):
    library.logs = {"a.csv": a_verdict("recovered", incidents=(an_incident(),))}
    ended = stabilitykit("diagnose", "a.csv", "--format", "csv", "--loss", "nll")
    assert (ended.status, ended.err) == (0, "")
    assert "recovered  the loss says recovered" in ended.out
    assert "vanishing_gradient" in ended.out
    assert "note: no unigram cross-entropy" in ended.out
    assert library.replayed == [(Path("a.csv"), {"format": "csv", "names": ColumnNames(loss="nll")})]


def test_json_of_one_path_has_the_verdict_on_top(stabilitykit, library):
    library.logs = {"a.csv": a_verdict("stable")}
    document = json.loads(stabilitykit("diagnose", "a.csv", "--json").out)
    assert document["verdict"] == "stable"
    assert document["incidents"] == []
    assert document["path"] == "a.csv"
    assert "runs" not in document


def test_json_of_several_has_the_worst_on_top(stabilitykit, library):
    library.logs = {"a": a_verdict("stable"), "b": a_verdict("diverged"), "c": a_verdict("stuck")}
    document = json.loads(stabilitykit("diagnose", "a", "b", "c", "--json").out)
    assert (document["verdict"], document["path"]) == ("diverged", "b")
    assert [run["verdict"] for run in document["runs"]] == ["stable", "diverged", "stuck"]
    assert document["failed"] == []


def test_several_are_a_table_and_the_worst_in_full(stabilitykit, library):
    library.logs = {"a": a_verdict("stable"), "b": a_verdict("stuck", incidents=(an_incident(),))}
    out = stabilitykit("diagnose", "a", "b").out
    head, a, b = out.splitlines()[:3]
    assert head.split() == ["run", "verdict", "steps", "incidents", "first"]
    assert a.split() == ["a", "stable", "20", "0", "-"]
    assert b.split()[:4] == ["b", "stuck", "20", "1"]
    assert "vanishing_gradient at step 5, blocks.00" in b
    assert "the loss says stuck" in out
    assert "the loss says stable" not in out


def test_what_paths_have_in_common_is_said_once(stabilitykit, library):
    library.logs = {"logs/x/a": a_verdict("stable"), "logs/x/y/b": a_verdict("stuck")}
    head, a, b = stabilitykit("diagnose", "logs/x/a", "logs/x/y/b").out.splitlines()[:3]
    assert head.startswith("run in logs/x ")
    assert (a.split()[0], b.split()[0]) == ("a", "y/b")


def test_an_incident_without_a_cause_points_to_what_is_known(stabilitykit, library):
    incident = dataclasses.replace(an_incident(), causes=(), remedies=())
    library.logs = {"a": a_verdict("stuck", incidents=(incident,))}
    assert "stabilitykit explain vanishing_gradient" in " ".join(stabilitykit("diagnose", "a").out.split())


def test_an_interrupted_run_is_marked_in_the_table(stabilitykit, library):
    library.logs = {"a": a_verdict("stable", complete=False), "b": a_verdict("stuck")}
    lines = stabilitykit("diagnose", "a", "b").out.splitlines()
    assert "stable (interrupted)" in lines[1]
    assert "interrupted" not in lines[2]


def test_what_cannot_be_read_leaves_the_others_their_verdicts(stabilitykit, library):
    library.logs = {"a": a_verdict("stuck"), "b": DataError("b: no loss column")}
    ended = stabilitykit("diagnose", "a", "b", "--json", "--fail-on", "unstable")
    assert ended.status == 1
    assert ended.err == "error: b: no loss column\n"
    document = json.loads(ended.out)
    assert document["verdict"] == "stuck"
    assert len(document["runs"]) == 1
    assert document["failed"] == [{"path": "b", "error": "b: no loss column"}]


@pytest.mark.parametrize(("error", "status"), [(DataError("bad"), 1), (ConfigError("bad"), 2)])
def test_nothing_readable_is_nothing_on_stdout(stabilitykit, library, error, status):
    library.logs = {"a": error}
    ended = stabilitykit("diagnose", "a")
    assert (ended.status, ended.out, ended.err) == (status, "", "error: bad\n")


@pytest.mark.parametrize(
    ("outcomes", "status"), [(["stable", "stable"], 0), (["stable", "recovered"], 3), (["stuck"], 3)]
)
def test_fail_on_looks_at_every_verdict(stabilitykit, library, outcomes, status):
    library.logs = {f"run{index}": a_verdict(outcome) for index, outcome in enumerate(outcomes)}
    assert stabilitykit("diagnose", *library.logs, "--fail-on", "unstable").status == status


def test_incidents_order_verdicts_of_one_outcome():
    warned = a_verdict("stable", incidents=(an_incident(),))
    alarmed = a_verdict("stable", incidents=(an_incident(severity=Severity.CRITICAL),))
    order = [a_verdict("stable"), warned, alarmed, a_verdict("recovered"), a_verdict("diverged")]
    shuffled = [order[index] for index in (3, 1, 4, 0, 2)]
    assert sorted(shuffled, key=badness) == order


def test_of_many_incidents_the_first_of_each_kind_and_the_severest_are_told(stabilitykit, library):
    spikes = [an_incident(id=n, kind="loss_spike", start=n, end=n, message=f"spike {n}") for n in range(60)]
    spikes[50] = an_incident(id=50, kind="loss_spike", severity=Severity.CRITICAL, message="spike 50")
    late = an_incident(id=60, kind="divergence", start=99, message="it left")
    library.logs = {"a": a_verdict("diverged", incidents=(*spikes, late))}
    out = stabilitykit("diagnose", "a").out
    assert out.index("spike 0") < out.index("spike 50") < out.index("it left")
    assert out.count("announced at step") == 8
    assert "and 53 more incidents: 53 loss_spike (--json and -o FILE.html list all)" in out
