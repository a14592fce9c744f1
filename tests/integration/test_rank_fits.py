"""Lightning's strategies of data parallelism, watched on two ranks."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from integration.fit_jobs import Fit, Seen, fit
from integration.pair import Pair
from integration.rank_jobs import BATCH

from stabilitykit.afterwards.replay import replay
from stabilitykit.store import open_run

pytestmark = pytest.mark.slow


def fit_together(pair: Pair, what: Fit) -> Seen:
    """Fit on both ranks; they must have seen the same, bit for bit."""
    first, second = pair.run(fit, what)
    assert first.error == second.error
    assert first.records == second.records
    assert first.global_step == second.global_step
    assert first.folder == second.folder
    return first


def compare(found: Seen, alone: Seen) -> None:
    """Compare with one process that trained on the same whole batches."""
    assert len(found.readings) == len(alone.readings)
    for step, (got, wanted) in enumerate(zip(found.readings, alone.readings, strict=True)):
        chosen = {
            tag: value
            for tag, value in wanted.items()
            if tag.startswith(("train/", "grad/", "optim/", "act/", "norm/", "output/"))
        }
        rel = 1e-5 if step == 0 else 2e-3
        assert {tag: got[tag] for tag in chosen} == pytest.approx(chosen, rel=rel, abs=1e-12)
        assert got.keys() == wanted.keys()


@pytest.mark.parametrize(
    ("strategy", "own"),
    [("ddp", True), ("ddp_find_unused_parameters_true", False), ("fully_shard", False)],
)
def test_a_fit_on_two_ranks_reads_as_on_one(pair: Pair, tmp_path: Path, strategy: str, own: bool) -> None:
    """Four steps: the third batch is a short one."""
    found = fit_together(pair, Fit(tmp_path / "two", strategy, own))
    assert not found.error
    # The ranks tell each other what they have at the first step; at the next, our model is without details,
    # and of a foreign one there is more.
    assert found.host_reads == 4 + 4
    compare(found, fit(0, Fit(tmp_path / "one", "alone", own)))
    assert [r.step for r in open_run(tmp_path / "two" / "run").records()] == [0, 1, 2, 3]


@pytest.mark.parametrize("strategy", ["ddp", "fully_shard"])
def test_accumulation_reads_the_whole_step(pair: Pair, tmp_path: Path, strategy: str) -> None:
    found = fit_together(pair, Fit(tmp_path / "two", strategy, steps=2, accumulate=2))
    compare(found, fit(0, Fit(tmp_path / "one", "alone", steps=2, accumulate=2)))


@pytest.mark.parametrize("policy", ["stop", "raise"])
def test_what_is_not_a_number_on_one_rank_ends_both(pair: Pair, tmp_path: Path, policy: str) -> None:
    what = Fit(tmp_path, steps=6, poison_at=1, on_incident=policy)
    found = fit_together(pair, what)
    assert found.global_step == 2
    assert found.error.startswith("IncidentError" if policy == "raise" else "")
    run = open_run(tmp_path / "run")
    assert run.complete is (policy == "stop")
    assert [record.step for record in run.records()] == [0, 1]


def test_a_resumed_fit_goes_on_as_if_unbroken(pair: Pair, tmp_path: Path) -> None:
    saved = tmp_path / "saved.ckpt"
    whole, first, rest = (
        # One batch an epoch: which one comes after a resumption is Lightning's matter.
        fit_together(pair, Fit(tmp_path / name, steps=steps, rows=BATCH, **more))
        for name, steps, more in (
            ("whole", 5, {}),
            ("parts", 3, {"save": saved}),
            ("parts", 5, {"load": saved}),
        )
    )
    assert not rest.error
    assert rest.folder == first.folder
    assert [*first.records, *rest.records] == whole.records
    runs = [replay(tmp_path / name / "run").verdict for name in ("whole", "parts")]
    assert repr(runs[0]) == repr(runs[1])


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_lightning_may_start_the_processes_itself(tmp_path: Path, strategy: str) -> None:
    script = Path(__file__).with_name("fit_jobs.py")
    paths = os.pathsep.join(
        [str(script.parents[1]), str(script.parents[2]), os.environ.get("PYTHONPATH", "")]
    )
    process = subprocess.Popen(
        [sys.executable, str(script), strategy, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(timeout=90)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said
    run = open_run(tmp_path / "run")
    assert run.complete
    assert [record.step for record in run.records()] == [0, 1, 2, 3]
    assert list(tmp_path.iterdir()) == [tmp_path / "run"], "one run, of the first rank"
