"""Faults: what each kind does to a run's readings, at the step it is asked for and at no other."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from stabilitykit.lab.probe import build_spec, probe
from stabilitykit.lab.training import FaultConfig, FaultInjection
from stabilitykit.lab.training.faults import _Rounded, _shuffled
from stabilitykit.live.listener import Listener
from stabilitykit.records import StepRecord

AT, STEPS = 4, 7
TINY = [
    *("data.kind=synthetic", "data.synthetic.length=20000", "data.batch_size=4", f"trainer.steps={STEPS}"),
    *("model.d_model=16", "model.n_layers=2", "model.seq_len=8", "model.attention.n_heads=2"),
]
LOSS, UNIGRAM, NORM, LR = "train/loss", "train/unigram_cross_entropy", "optim/grad_norm", "optim/lr"
UPDATE, RATIO, CLIP = "optim/update_norm/head", "optim/update_ratio/head", "optim/clip_factor"

Readings = list[dict[str, float]]


class Reader(Listener):
    """Keeps the readings of every step."""

    def __init__(self) -> None:
        self.readings: Readings = []

    def record(self, record: StepRecord) -> None:
        self.readings.append(dict(record.readings))


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Readings]:
    """Return a maker of runs: overrides to the readings of each step."""

    def train(*overrides: str) -> Readings:
        listener, folder = Reader(), tmp_path / str(len(list(tmp_path.iterdir())))
        probe(build_spec("pre_norm", overrides=[*TINY, *overrides]), folder, listener)
        return listener.readings

    return train


def fault(kind: str, **fields: object) -> list[str]:
    return [f"fault.{name}={value}" for name, value in {"kind": kind, "step": AT, **fields}.items()]


@pytest.fixture
def both(run: Callable[..., Readings]) -> Callable[..., tuple[Readings, Readings]]:
    """Return a maker of two runs that are bit-equal up to the fault, without and with it."""

    def train(*overrides: str) -> tuple[Readings, Readings]:
        healthy = run(*(each for each in overrides if not each.startswith("fault.")))
        faulty = run(*overrides)
        # repr: NaN is NaN, and 0.1 is not 0.1 + 1e-17.
        assert repr(healthy[:AT]) == repr(faulty[:AT])
        assert repr(healthy[AT:]) != repr(faulty[AT:])
        return healthy, faulty

    return train


def test_a_multiplied_rate_is_read_on_the_very_step_and_is_back_on_the_next(both: Any) -> None:
    healthy, faulty = both(*fault("learning_rate"))
    assert [step[LR] for step in healthy] == [pytest.approx(3e-3)] * STEPS
    assert [step[LR] for step in faulty[AT:]] == [
        pytest.approx(3e-2),
        *[pytest.approx(3e-3)] * (STEPS - AT - 1),
    ]
    assert faulty[AT][LOSS] == healthy[AT][LOSS]
    assert faulty[AT][NORM] == healthy[AT][NORM]
    # Adam's update is the rate times what the rate does not change.
    assert faulty[AT][UPDATE] == pytest.approx(10 * healthy[AT][UPDATE], rel=1e-2)
    # The ratio's weights are those after the step.
    assert faulty[AT][RATIO] == pytest.approx(10 * healthy[AT][RATIO], rel=0.1)
    assert faulty[AT + 1][LOSS] != healthy[AT + 1][LOSS]


def test_a_multiplied_rate_may_last_and_follows_the_schedule(run: Any) -> None:
    schedule = ("schedule.kind=linear", "schedule.warmup=0")
    healthy = run(*schedule)
    faulty = run(*schedule, *fault("learning_rate", steps=2, factor=3))
    ratios = [step[LR] / other[LR] for step, other in zip(faulty, healthy, strict=True)]
    assert ratios == pytest.approx([1, 1, 1, 1, 3, 3, 1])


def test_a_batch_of_one_token(both: Any) -> None:
    healthy, faulty = both(*fault("repeated_token"))
    assert faulty[AT][LOSS] != healthy[AT][LOSS]
    # Every target is the same, and so is what the model reads: the gradient has one direction.
    assert faulty[AT][NORM] > 3 * healthy[AT][NORM]
    # One token's surprise: weights 1/(1 + i//4) of 64 symbols, to the smoothing of the frequencies.
    weights = torch.tensor([1 / (1 + i // 4) for i in range(64)])
    assert min(abs(float(-torch.log(w / weights.sum())) - faulty[AT][UNIGRAM]) for w in weights) < 1e-2
    assert faulty[AT + 1][UNIGRAM] == healthy[AT + 1][UNIGRAM]


def test_a_huge_gradient_is_read_before_it_is_clipped(both: Any) -> None:
    healthy, faulty = both(*fault("huge_gradient"))
    assert faulty[AT][NORM] == pytest.approx(1000 * healthy[AT][NORM], rel=1e-5)
    assert faulty[AT][CLIP] == pytest.approx(1 / faulty[AT][NORM], rel=1e-4)
    assert faulty[AT + 1][NORM] == pytest.approx(healthy[AT + 1][NORM], rel=1e-3)


def test_a_huge_gradient_that_is_not_clipped_stays_in_the_moments(both: Any) -> None:
    healthy, faulty = both("trainer.clip=null", *fault("huge_gradient", factor=100))
    assert faulty[AT][NORM] == pytest.approx(100 * healthy[AT][NORM], rel=1e-5)
    assert faulty[AT + 1][LOSS] != pytest.approx(healthy[AT + 1][LOSS], abs=1e-3)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_lost_moments_make_the_updates_of_that_step_larger(both: Any, kind: str) -> None:
    healthy, faulty = both(f"optimizer.kind={kind}", *fault("lost_moments"))
    assert faulty[AT][LOSS] == healthy[AT][LOSS]
    assert faulty[AT][NORM] == healthy[AT][NORM]
    assert faulty[AT][UPDATE] > 1.2 * healthy[AT][UPDATE]


def test_logits_of_low_precision_from_the_step_on(both: Any) -> None:
    healthy, faulty = both(*fault("low_precision_logits"))
    assert 1e-5 < abs(faulty[AT][LOSS] - healthy[AT][LOSS]) < 0.1
    assert faulty[AT][NORM] == pytest.approx(healthy[AT][NORM], rel=0.05)
    assert faulty[AT][UNIGRAM] == healthy[AT][UNIGRAM]


def test_rounding_keeps_three_bits_saturates_and_passes_the_gradient_on() -> None:
    logits = torch.tensor([[1.05, 1.07, -9.4, 1e6, math.nan]], requires_grad=True)
    rounded = _Rounded.apply(logits)
    assert rounded[0, :4].tolist() == [1.0, 1.125, -9.0, 448.0]
    assert rounded[0, 4].isnan()
    rounded.backward(torch.full_like(rounded, 1e-6))
    assert logits.grad is not None
    assert logits.grad.tolist() == [[pytest.approx(1e-6)] * 5]


@pytest.mark.slow
def test_shuffled_labels_fit_nothing_but_have_the_same_frequencies(both: Any) -> None:
    # One batch again and again is learnt by heart, so that labels that do not fit cost much.
    learnt = ("data.batches=1", "optimizer.lr=3e-2", "schedule.warmup=0", "trainer.steps=32")
    healthy, faulty = both(*learnt, *fault("shuffled_labels", step=30))
    assert faulty[29] == healthy[29]
    assert healthy[30][LOSS] < 1
    assert faulty[30][LOSS] > healthy[30][LOSS] + 2
    assert [step[UNIGRAM] for step in faulty] == [step[UNIGRAM] for step in healthy]


def test_shuffling_is_another_at_every_step_and_the_same_again() -> None:
    logits = torch.arange(24.0).view(3, 4, 2)
    once = _shuffled(logits, 5)
    assert once.shape == logits.shape
    assert torch.equal(once, _shuffled(logits, 5))
    assert not torch.equal(once, _shuffled(logits, 6))
    assert sorted(once.flatten(0, 1).tolist()) == logits.flatten(0, 1).tolist()


def test_the_model_is_left_without_a_hook(parts: Any, trainer: Any) -> None:
    module, data = parts()
    fit: Trainer = trainer(callbacks=[FaultInjection(FaultConfig(kind="shuffled_labels", step=2))])
    fit.fit(module, data)
    assert not module.model._forward_hooks


def test_another_module_is_refused(trainer: Any) -> None:
    injection = FaultInjection(FaultConfig(kind="repeated_token", step=0))
    with pytest.raises(TypeError, match="faults need a TransformerModule, not a LightningModule"):
        injection.on_fit_start(trainer(), LightningModule())
