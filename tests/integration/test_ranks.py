"""Two processes that train one model: both see what one process sees of the whole batch, and decide alike."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from integration.pair import Pair
from integration.rank_jobs import Residual, Run, Seen, fail_on_last, names, train, watch_into, watch_on_one
from torch import nn

from stabilitykit.afterwards.replay import replay
from stabilitykit.live.reactions import Command
from stabilitykit.stats import sample
from stabilitykit.store import open_run

pytestmark = pytest.mark.slow

Together = Callable[..., list[Seen]]


@pytest.fixture
def together(pair: Pair) -> Together:
    """Train on both; they must have seen the same, bit for bit."""

    def run(what: Run) -> list[Seen]:
        both: list[Seen] = pair.run(train, what)
        assert both[0].records == both[1].records
        assert both[0].records
        return both

    return run


def close(found: dict[str, float], wanted: dict[str, float], families: tuple[str, ...], rel: float) -> None:
    """Compare the readings of some families."""
    chosen = {tag: value for tag, value in wanted.items() if tag.startswith(families)}
    assert chosen
    assert {tag: found[tag] for tag in chosen} == pytest.approx(chosen, rel=rel, abs=1e-12)


def same_as_alone(seen: Seen, what: Run) -> None:
    """Compare every reading with those of one process."""
    alone = train(0, replace(what, how="alone"))
    halves = [train(0, replace(what, how="alone", rows=rows)) for rows in ((0, 4), (4, 8))]
    for step, (found, wanted) in enumerate(zip(seen.readings, alone.readings, strict=True)):
        assert found.keys() == wanted.keys()
        # The weights part by rounding from the second step on, and Adam divides small numbers.
        rel = 2e-6 if step == 0 else 2e-4
        close(found, wanted, ("train/loss",), 1e-6 if step == 0 else 1e-5)
        close(found, wanted, ("optim/grad_norm", "grad/norm", "grad/share"), 1e-5 if step == 0 else 1e-3)
        close(found, wanted, ("optim/update_ratio", "optim/rms_t", "optim/staleness"), 1e-3)
        close(found, wanted, ("optim/clip_factor",), 1e-5 if step == 0 else 1e-3)
        close(found, wanted, ("optim/skipped", "optim/lr"), 0)
        if step:
            for tag in (tag for tag in wanted if "cosine" in tag):
                assert found[tag] == pytest.approx(wanted[tag], abs=1e-4)
        close(found, wanted, ("norm/gain_rms",), 1e-5)
        if step == 0 and not any(tag.startswith("act/") for tag in wanted):
            continue
        close(found, wanted, ("act/rms", "act/max_abs", "output/log_z"), rel)
        close(found, wanted, ("act/nonfinite",), 0)
        for tag in (tag for tag in wanted if tag.startswith("attn/logit_max/")):
            # Each rank searches a sequence: more is found, and less is left to the bound.
            bound = tag.replace("logit_max", "logit_max_bound")
            assert wanted[tag] - rel <= found[tag] <= found[bound] + rel
            assert found[bound] <= wanted[bound] + rel
        if step == 0:
            ours = [half.readings[0] for half in halves]
            for tag in (tag for tag in wanted if tag.startswith("attn/entropy/")):
                assert found[tag] == pytest.approx(np.mean([half[tag] for half in ours]), rel=1e-6)
            for tag in (tag for tag in wanted if tag.startswith("attn/entropy_min/")):
                assert found[tag] == min(half[tag] for half in ours)
            for tag in (tag for tag in wanted if tag.startswith("act/max_abs/")):
                assert found[tag] == max(half[tag] for half in ours), "a maximum is exact"


@pytest.mark.parametrize(
    ("how", "own"),
    [
        ("ddp", True),
        ("ddp", False),
        ("inner", False),
        ("fsdp", True),
        ("fsdp", False),
        ("replicated", True),
        ("mixed", False),
    ],
)
def test_both_see_what_one_process_sees_of_the_whole_batch(together: Together, how: str, own: bool) -> None:
    what = Run(how=how, own=own, clips=how != "mixed")
    both = together(what)
    same_as_alone(both[0], what)
    for seen in both:
        assert seen.readings[0]["train/rank"] == 0.5, "a scalar is the mean over the ranks"
        assert not any("stack" in line or "missing" in line for line in seen.coverage)


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
@pytest.mark.parametrize("block", [Residual, nn.Linear])
def test_wrapping_and_sharding_change_no_name(pair: Pair, how: str, block: type[nn.Module]) -> None:
    wanted = names(0, "alone", block)
    assert ("act/rms/blocks.01.resid_post" in wanted) == (block is Residual)
    assert pair.run(names, how, block) == [wanted, wanted]


def test_flat_shards_are_left_alone_and_that_is_told(together: Together) -> None:
    seen = together(Run(how="flat", own=False))[0]
    assert any(tag.startswith("act/rms/") for tag in seen.readings[1])
    assert not any(tag.startswith(("grad/", "optim/update", "norm/")) for tag in seen.readings[1])
    assert sum("use fully_shard" in line for line in seen.coverage) == 1


def test_one_collective_and_one_read_a_step_of_a_size_that_stays(together: Together) -> None:
    both = together(Run(how="ddp", steps=5))
    for seen in both:
        # At the first step the ranks tell each other what they have; at the next, that it is without details.
        assert seen.host_reads == [3, 6, 7, 8, 9]
        assert len(set(seen.sent[1:])) == 1
        assert len(seen.sent) == 7
    assert both[0].sent == both[1].sent


def test_a_scalar_of_one_rank_is_kept_and_told_of_once(together: Together) -> None:
    both = together(Run(how="ddp", steps=6, extra_on_first=True))
    assert [r.get("train/extra") for r in both[1].readings] == [None, 1.0, None, 1.0, None, 1.0]
    assert both[1].host_reads == [3, 6, 9, 10, 11, 12]


@pytest.mark.parametrize("how", ["ddp", "replicated"])
def test_of_a_large_model_every_rank_reads_the_sample_of_one_process(together: Together, how: str) -> None:
    found = together(Run(how=how, wide=True))[0].readings
    alone = train(0, Run(wide=True)).readings
    for got, wanted in zip(found, alone, strict=True):
        assert got.keys() == wanted.keys()
        close(got, wanted, ("optim/update_ratio", "optim/rms_t", "optim/staleness", "norm/gain_rms"), 1e-3)
        close(got, wanted, ("optim/grad_norm", "grad/norm", "optim/clip_factor"), 1e-3)
        for tag in (tag for tag in wanted if "cosine" in tag):
            assert got[tag] == pytest.approx(wanted[tag], abs=1e-3)
    assert found[0]["optim/clip_factor"] < 0.9, "it was clipped"


def test_samples_of_shards_stand_for_the_whole(together: Together, monkeypatch: pytest.MonkeyPatch) -> None:
    found = together(Run(how="fsdp", wide=True))[0].readings
    monkeypatch.setattr(sample, "WHOLE_MODEL", 2**40)
    exact = train(0, Run(wide=True)).readings
    for step, (got, wanted) in enumerate(zip(found, exact, strict=True)):
        assert got.keys() == wanted.keys()
        # A Gaussian tensor's norm has an error of 2.2 %; gradients of rare tokens have heavier tails.
        close(got, wanted, ("optim/update_ratio", "optim/rms_t", "optim/staleness"), 0.07)
        # These are of gradients and vectors that are looked at in full.
        close(got, wanted, ("optim/grad_norm", "grad/norm", "norm/gain_rms"), 1e-4 if step == 0 else 1e-3)
        close(got, wanted, ("optim/clip_factor",), 1e-3)
        for tag in (tag for tag in wanted if "cosine" in tag):
            assert got[tag] == pytest.approx(wanted[tag], abs=0.15)
    assert found[2]["optim/update_ratio/head"] != pytest.approx(exact[2]["optim/update_ratio/head"], rel=1e-4)


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_an_overflow_on_one_rank_is_a_skipped_step_of_all(together: Together, how: str) -> None:
    seen = together(Run(how=how, overflow_at=1))[0]
    assert [readings["optim/skipped"] for readings in seen.readings] == [0.0, 1.0, 0.0]
    assert [readings["optim/loss_scale"] for readings in seen.readings] == [4.0, 4.0, 2.0]
    assert not math.isfinite(seen.readings[1]["optim/grad_norm"])
    assert "optim/update_ratio/head" not in seen.readings[1]


def test_under_a_budget_the_first_ranks_clock_counts(together: Together) -> None:
    both = together(Run(how="ddp", steps=60, budget=0.02))
    assert both[0].observed == both[1].observed
    # By the first one's clock an observed step costs a tenth more: every fifth keeps to two per cent.
    assert np.diff(both[1].observed)[-4:].tolist() == [5, 5, 5, 5]
    assert both[1].readings[-1]["monitor/every_n_steps"] == 5.0


def test_microbatches_without_a_sync_and_a_branch_that_is_left_out(together: Together) -> None:
    accumulated = Run(how="ddp", microbatches=2)
    both = together(accumulated)
    alone = train(0, replace(accumulated, how="alone", microbatches=1))
    close(both[0].readings[0], alone.readings[0], ("grad/", "act/rms", "output/"), 1e-5)
    unused = together(Run(how="ddp", own=False, unused=True))[0]
    assert "grad/norm/side" in unused.readings[1], "one of the two ranks used it"


def test_a_short_batch_on_one_rank_weighs_by_its_elements(together: Together) -> None:
    both = together(Run(how="ddp", short_at=0))
    whole, half = (train(0, Run(rows=rows)).readings[0] for rows in ((0, 4), (4, 6)))
    found = both[0].readings[0]
    tag = "act/rms/blocks.01.resid_post"
    assert found[tag] == pytest.approx(math.sqrt((4 * whole[tag] ** 2 + 2 * half[tag] ** 2) / 6), rel=1e-6)
    mean = (whole["train/loss"] + half["train/loss"]) / 2
    assert found["train/loss"] == pytest.approx(mean, rel=1e-6), "as DistributedDataParallel weighs them"


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_what_is_not_a_number_on_the_last_rank_stops_both_at_that_step(
    together: Together, how: str, tmp_path: Path
) -> None:
    note = tmp_path / "told"
    command = Command(["sh", "-c", f"cat >> {note}; echo >> {note}"])
    what = Run(how=how, steps=5, poison="activation", on_incident=["stop", "count", command])
    both = together(replace(what, folder=tmp_path / "run"))
    assert [seen.stopped_at for seen in both] == [2, 2]
    assert both[0].readings[2]["act/nonfinite/blocks.02.resid_pre"] == 1.0
    assert both[0].readings[2]["act/nonfinite/blocks.01.resid_pre"] == 0.0
    assert math.isnan(both[0].readings[2]["act/max_abs/blocks.02.resid_pre"])
    assert both[0].called == both[1].called > 0, "a function of the user's own runs on every rank"
    assert any("critical" in line for line in both[0].logged)
    assert not both[1].logged, "the first rank alone tells"
    run = open_run(tmp_path / "run")
    assert [record.step for record in run.records()] == [0, 1, 2]
    assert repr(replay(tmp_path / "run").verdict.incidents) == repr(run.incidents)
    assert both[0].called == len(run.incidents) == len(note.read_text().splitlines())


def test_a_loss_that_is_not_a_number_on_one_rank_raises_on_both(together: Together) -> None:
    both = together(Run(how="ddp", steps=5, poison="loss", on_incident="raise"))
    assert [seen.raised_at for seen in both] == [2, 2]


def test_ranks_that_watch_different_things_go_on_with_the_first_ones_readings(together: Together) -> None:
    both = together(Run(how="ddp", mute_on_last="*.resid_mid"))
    half = train(0, Run(rows=(0, 4)))
    tag = "act/rms/blocks.01.resid_mid"
    assert both[1].readings[0][tag] == half.readings[0][tag]
    assert both[0].readings[1].keys() == half.readings[1].keys(), "all groups again, from the next step on"
    assert [line for line in both[0].logged if "watch different" in line] == [both[0].coverage[-1]]


def test_a_monitor_that_fails_on_one_rank_ends_on_both_and_training_goes_on(pair: Pair) -> None:
    both = pair.run(train, Run(how="ddp", steps=4, fail_on_last=True))
    assert [seen.steps for seen in both] == [4, 4]
    assert [len(seen.records) for seen in both] == [1, 1]
    assert "rank 1 has no monitor any more" in both[0].logged[-1]
    assert "made to fail" in both[1].logged[-1]


def test_a_rank_that_raises_closes_without_waiting_for_the_others(pair: Pair, tmp_path: Path) -> None:
    assert pair.run(fail_on_last, tmp_path / "closed") == [True, True]


def test_watching_on_one_rank_alone_is_refused(pair: Pair) -> None:
    first, second = pair.run(watch_on_one)
    assert first == "watching: 1 of 2 ranks watch the model; all of them must"
    assert not second


def test_a_folder_that_is_taken_is_told_of_on_the_first_rank_and_waited_for_on_none(
    pair: Pair, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("mine")
    first, second = pair.run(watch_into, tmp_path)
    assert first.startswith("FolderTakenError")
    assert second == "ConfigError: watching: 1 of 2 ranks watch the model; all of them must"
