"""The alarms on real training: early where post-norm fails, silent where a deep model is healthy."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stabilitykit.lab.probe import build_spec, probe

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_post_norm_at_a_rate_it_does_not_hold_is_told_of_long_before_the_loss(tmp_path: Path) -> None:
    result = probe(build_spec(None, ROOT / "recipes" / "post_norm_collapse.yaml"), tmp_path / "run")
    assert result.verdict.outcome in ("stuck", "diverged")
    internal = [i for i in result.verdict.incidents if i.site.startswith("blocks.")]
    loss = [i for i in result.verdict.incidents if i.site == "train/loss"]
    assert internal[0].kind == "vanishing_gradient"
    assert internal[0].detected <= 20
    assert internal[0].detected + 15 <= loss[0].detected
    assert internal[0].causes
    assert internal[0].remedies
    steps = [finding.since for finding in internal[0].evidence]
    assert steps == sorted(steps)


@pytest.mark.slow
def test_a_healthy_deep_model_with_a_wide_vocabulary_raises_no_alarm() -> None:
    options = ["--layers", "12", "--arch", "pre_norm", "--steps", "60"]
    command = [sys.executable, "-m", "benchmarks.detection.healthy_deep", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("alarms: none"), done.stdout
    low = re.search(r"a share below 1 % on (\d+) of", done.stdout)
    assert low
    assert int(low[1]) > 10, "the case shows nothing unless a fixed limit would have alarmed"
