"""``probe``: what it passes on, what it prints, how it ends."""

import json
import os

import pytest

from stabilitykit.errors import ConfigError, RunFolderError
from stabilitykit.records import Incident

from .conftest import a_verdict, an_incident


def test_only_named_options_become_flags(stabilitykit, library):
    stabilitykit(
        "probe",
        "--arch",
        "pre_norm",
        "--lr",
        "3e-3",
        "--warmup",
        "0",
        "--set",
        "model.n_layers=2",
        "--set",
        "a=b",
    )
    flags = {"optimizer.lr": 0.003, "schedule.warmup": 0}
    assert library.built == ("pre_norm", None, ["model.n_layers=2", "a=b"], flags)


def test_every_option_reaches_the_library(stabilitykit, library, tmp_path):
    recipe, folder = tmp_path / "a.yaml", tmp_path / "run"
    ended = stabilitykit(
        *("probe", "--recipe", str(recipe), "--steps", "7", "--seed", "2", "--data", "x.txt"),
        *("--logdir", str(folder)),
    )
    assert ended.status == 0
    assert library.built == (None, recipe, [], {"trainer.steps": 7, "seed": 2, "data.path": "x.txt"})
    assert library.logdir == folder


def test_numbers_without_sense_are_left_to_the_spec(stabilitykit, library):
    stabilitykit("probe", "--arch", "x", "--lr", "inf", "--warmup", "-1")
    assert library.built[3] == {"optimizer.lr": float("inf"), "schedule.warmup": -1}


def test_a_wrong_spec_ends_before_anything_is_shown(stabilitykit, library):
    library.spec_error = ConfigError("arch: missing, accepted: pre_norm")
    ended = stabilitykit("probe")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "error: arch: missing, accepted: pre_norm\n"


def test_one_thread_unless_told_otherwise(stabilitykit, library, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    stabilitykit("probe", "--arch", "x")
    assert os.environ["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    stabilitykit("probe", "--arch", "x")
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_the_verdict_goes_to_stdout_and_progress_to_stderr(stabilitykit, library):
    library.verdict = a_verdict("stuck", incidents=(an_incident(),))
    ended = stabilitykit("probe", "--arch", "post_norm")
    assert ended.status == 0
    assert "stuck  the loss says stuck" in ended.out
    assert "step 20/20" in ended.err
    assert "step 20/20" not in ended.out
    for told in (
        "final loss 2.40",
        "gradient share 0.002 [below 0.01]",
        "the rate is too high for this placement",
        "warm up: --warmup 30",
        "runs/x-1",
        "tensorboard at runs/x-1",
    ):
        assert told in ended.out
    assert "\x1b" not in ended.out + ended.err
    assert not any(line.endswith(" ") for line in ended.out.splitlines())


def test_evidence_is_told_in_time_order_with_values(stabilitykit, library):
    library.verdict = a_verdict("stuck", incidents=(an_incident(),))
    lines = stabilitykit("probe", "--arch", "post_norm").out.splitlines()
    rows = [line.split() for line in lines if line.split()[1:2] in (["3"], ["5"])]
    assert rows == [
        ["3", "3", "attention_logit_growth", "blocks.03", "14.0", "9.00"],
        ["4", "5", "vanishing_gradient", "blocks.00", "2.0e-3", "0.0100"],
    ]


def test_the_same_advice_is_given_once(stabilitykit, library):
    incidents = tuple(an_incident(id=number, start=number) for number in range(3))
    library.verdict = a_verdict("recovered", incidents=incidents)
    out = stabilitykit("probe", "--arch", "post_norm").out
    assert out.count("warm up: --warmup 30") == 1
    assert out.count("gradient share 0.002") == 3
    assert out.count("evidence as above") == 2


def test_many_incidents_and_much_evidence_are_counted_not_listed(stabilitykit, library):
    finding = an_incident().evidence[0]
    long = an_incident(evidence=(finding,) * 11)
    library.verdict = a_verdict("recovered", incidents=(long, *(an_incident(id=n) for n in range(1, 11))))
    out = stabilitykit("probe", "--arch", "post_norm").out
    assert "and 3 more (--json)" in out
    assert "and 3 more incidents" in out


def test_json_is_one_document_and_nothing_else(stabilitykit, library):
    library.verdict = a_verdict("diverged", incidents=(an_incident(value=float("nan")),))
    library.final_loss = float("nan")
    ended = stabilitykit("probe", "--arch", "x", "--json")
    document = json.loads(ended.out, parse_constant=pytest.fail)
    assert document["verdict"] == "diverged"
    assert document["final_loss"] is None
    assert document["logdir"] == "runs/x-1"
    assert document["incidents"][0]["nonfinite"] == "nan"
    assert Incident.from_json(document["incidents"][0]).kind == "vanishing_gradient"
    assert "step 20/20" in ended.err


@pytest.mark.parametrize(
    ("outcome", "options", "status"),
    [("stuck", [], 0), ("stuck", ["--fail-on", "unstable"], 3), ("stable", ["--fail-on", "unstable"], 0)],
)
def test_fail_on_turns_a_verdict_into_a_status(stabilitykit, library, outcome, options, status):
    library.verdict = a_verdict(outcome)
    assert stabilitykit("probe", "--arch", "x", *options).status == status


def test_an_interrupted_run_prints_its_verdict_and_ends_with_130(stabilitykit, library):
    library.verdict = a_verdict("stable", complete=False)
    ended = stabilitykit("probe", "--arch", "x", "--fail-on", "unstable")
    assert ended.status == 130
    assert "stable (interrupted)  the loss" in ended.out


def test_an_interrupt_before_training_is_quiet(stabilitykit, library):
    library.error = KeyboardInterrupt()
    ended = stabilitykit("probe", "--arch", "x")
    assert (ended.status, ended.out) == (130, "")
    assert "error" not in ended.err


def test_a_full_disk_fails_after_the_verdict(stabilitykit, library):
    library.disk_failed = True
    ended = stabilitykit("probe", "--arch", "x")
    assert ended.status == 1
    assert "stable" in ended.out
    assert "error: the disk" in ended.err


def test_a_folder_that_is_taken_is_one_line(stabilitykit, library):
    library.error = RunFolderError("logdir 'x' exists")
    ended = stabilitykit("probe", "--arch", "x")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.endswith("error: logdir 'x' exists\n")
