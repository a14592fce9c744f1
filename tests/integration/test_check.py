"""The check before training, on real models and a real text."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stabilitykit.lab.model.presets import arch_names
from stabilitykit.lab.probe import ProbeSpec, build_spec, check, probe
from stabilitykit.lab.probe.checks.first_step import read_first_step
from stabilitykit.records import Severity
from stabilitykit.store import open_run

COMMAND = (sys.executable, "-m", "stabilitykit_cli", "probe", "--check", "--json")


def warned(spec: ProbeSpec) -> set[str]:
    """Return the names of the rules that warn."""
    return {finding.name for finding in check(spec).findings if finding.severity is not Severity.INFO}


def test_the_probe_of_the_readme_is_expected_to_fail_and_the_default_to_hold(corpus: Path) -> None:
    data = f"data.path={corpus}"
    failing = check(build_spec("post_norm", overrides=["optimizer.lr=1e-2", "schedule.warmup=0", data]))
    assert failing.expected == "unstable"
    assert failing.decisive.name == "learning_rate"
    holding = check(build_spec("pre_norm", overrides=["optimizer.lr=3e-3", data]))
    assert holding.expected == "stable"
    assert warned(build_spec("pre_norm", overrides=[data])) == set()


def test_the_first_step_is_the_runs_own(tiny: Callable[..., ProbeSpec], tmp_path: Path) -> None:
    spec = tiny("pre_norm", "trainer.steps=1", "schedule.warmup=0", "model.embedding.dropout=0.2")
    probe(spec, tmp_path / "run")
    (record,) = open_run(tmp_path / "run").records()
    seen = read_first_step(spec)
    for tag in (
        "train/loss",
        "grad/norm/blocks.00",
        "act/rms/blocks.01.resid_post",
        "attn/logit_max/blocks.00",
    ):
        assert seen[tag] == pytest.approx(record.readings[tag], rel=1e-6), tag


def test_checking_leaves_the_random_state_and_the_weights_to_come_alone(
    tiny: Callable[..., ProbeSpec],
) -> None:
    spec = tiny("pre_norm", "model.embedding.dropout=0.2")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again = read_first_step(spec), read_first_step(spec)
    assert torch.equal(before, torch.get_rng_state())
    assert first == again


def test_out_norm_without_qk_norm_is_warned_of_and_with_it_is_not(corpus: Path) -> None:
    overrides = ["model.n_layers=16", "model.initialization.embed_std=1", f"data.path={corpus}"]
    without = build_spec("out_norm", overrides=[*overrides, "model.attention.qk_norm=none"])
    assert warned(without) == {"gradient_first_over_last", "attention_logits"}
    assert warned(build_spec("out_norm", overrides=overrides)) == set()


def test_branches_without_norm_or_gate_are_warned_of_or_fail_at_once(corpus: Path) -> None:
    overrides = ["model.residual.gate=none", f"data.path={corpus}"]
    deep = check(build_spec("no_norm", overrides=[*overrides, "model.n_layers=60"]))
    assert (deep.expected, deep.decisive.name) == ("unstable", "nonfinite")
    assert "residual_growth" in warned(build_spec("no_norm", overrides=[*overrides, "model.n_layers=16"]))


@pytest.mark.slow
def test_no_preset_but_those_with_a_reason_is_warned_of(corpus: Path) -> None:
    minded = {}
    for name in arch_names():
        if found := warned(build_spec(name, overrides=[f"data.path={corpus}"])):
            # Which growth stands right at its limit depends on the batch.
            minded[name] = found - {"residual_growth"}
    # At the probe's width their weights of 0.02 give branches so small that eps drowns them in their norm.
    assert minded == {
        "exaone4": {"norm_epsilon"},
        "olmo2": {"norm_epsilon"},
        "olmo3": {"norm_epsilon"},
    }


@pytest.mark.slow
def test_the_command_prints_one_document_and_keeps_nothing(corpus: Path, tmp_path: Path) -> None:
    options = ["--arch", "post_norm", "--lr", "1e-2", "--warmup", "0", "--data", str(corpus)]
    ended = subprocess.run(
        [*COMMAND, *options, "--fail-on", "unstable"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (3, "")
    document = json.loads(ended.stdout)
    assert document["expected"] == "unstable"
    assert document["config"]["optimizer"]["lr"] == 0.01
    assert list(tmp_path.iterdir()) == []
