"""For each cause and remedy of the knowledge table: a run that failed for this reason, and one that does not.

A fragment names the entry of the table that holds it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from failures.training import Moment, Run, text

Disturbance = Callable[[Moment], None]


def _at(step: int, change: Disturbance) -> Disturbance:
    return lambda moment: change(moment) if moment.step == step else None


def _rate(factor: float) -> Disturbance:
    def change(moment: Moment) -> None:
        for group in moment.optimizer.param_groups:
            group["lr"] *= factor

    return change


def _from(step: int, change: Disturbance) -> Disturbance:
    return lambda moment: change(moment) if moment.step >= step else None


def _lose_second_moments(moment: Moment) -> None:
    for state in moment.optimizer.state.values():
        state["exp_avg_sq"].zero_()


def _heavy(moment: Moment) -> None:
    moment.weight = 1000.0


def _other_text(moment: Moment) -> None:
    moment.batch = text(10_000, 7).batch(3)


def _rising_rate(moment: Moment) -> None:
    """Raise the rate by 8.5 % a step, as a learning-rate range test does: without a jump."""
    _rate(1.085 ** max(moment.step - 60, 0))(moment)


def _other_texts(moment: Moment) -> None:
    moment.batch = text(10_000, 7).batch(moment.step)


def _loss_of_nothing(moment: Moment) -> None:
    moment.added = math.nan


QK_NORM = {"attention": {"qk_norm": "head"}}

HEALTHY = Run(steps=100)
JUMP = HEALTHY.but(disturb=_from(60, _rate(100)))
LOST_MOMENTS = HEALTHY.but(disturb=_at(60, _lose_second_moments))
REPEATED = Run(lr=5e-3, steps=120, batches=4)
HEAVY = REPEATED.but(clip=None, disturb=_at(90, _heavy))
HEAVY_CLIPPED = HEAVY.but(clip=1.0)
OTHER_TEXT = REPEATED.but(disturb=_at(100, _other_text))
CHANGED = REPEATED.but(disturb=_from(100, _other_texts))
RISING = Run(steps=150, disturb=_rising_rate)
STEADY = Run(steps=150)
EDGE = REPEATED.but(disturb=_rising_rate)
POST = Run("post_norm", lr=2e-2, warmup=0, steps=90)
PRE = Run(lr=0.1, warmup=0, steps=60)
PRE_LOW = PRE.but(lr=3e-3)
NARROW = PRE.but(lr=3e-2)
TIMID = PRE.but(lr=1e-6)
NAN = HEALTHY.but(steps=70, disturb=_at(50, _loss_of_nothing))
OVERFLOW = HEALTHY.but(steps=70, disturb=_at(50, _rate(1e15)))
UNDISTURBED = HEALTHY.but(steps=70)
HUGE = PRE.but(lr=1e4, steps=40)
OPEN_HEAD = PRE.but(model={"final_norm": False})


@dataclass(frozen=True)
class Story:
    """What an incident of a run must say, and the runs in which its advice was followed."""

    name: str
    run: Run
    kind: str
    causes: tuple[str, ...]
    """A fragment of each cause, and of no other."""
    remedies: Mapping[str, tuple[Run, ...]] = field(default_factory=dict)
    """A fragment of each remedy, and of no other, with the runs that follow it."""


def _jump(kind: str) -> Story:
    return Story("rate jumps", JUMP, kind, ("learning rate jumped",), {"schedule at": (HEALTHY,)})


def _lost(kind: str) -> Story:
    return Story("moments lost", LOST_MOMENTS, kind, ("second moments",), {"optimizer's state": (HEALTHY,)})


LOWER, WARMUP, INSIDE, BEHIND = "lower learning rate", "warmup", "inside the branch", "on the branch's output"
POST_LOW, POST_WARM = POST.but(lr=4e-3), POST.but(warmup=60, steps=120)
POST_INSIDE = (POST.but(wiring="pre_norm"), POST.but(wiring="double_norm"))
PRE_BEHIND = (PRE.but(wiring="double_norm"), PRE.but(wiring="out_norm", model=QK_NORM))

STORIES = (
    *map(_jump, ("loss_spike", "divergence", "activation_blow_up", "update_spike")),
    *map(_lost, ("loss_spike", "divergence", "activation_blow_up", "update_spike")),
    Story(
        "moments lost",
        LOST_MOMENTS,
        "gradient_spike",
        ("update before it that overshot",),
        {"schedule and at the optimizer's state": (HEALTHY,)},
    ),
    Story("heavy batch", HEAVY, "gradient_spike", ("a batch unlike",), {"clip": (HEAVY_CLIPPED,)}),
    Story("heavy batch", HEAVY, "loss_spike", ("a gradient far larger",), {"clip": (HEAVY_CLIPPED,)}),
    Story("heavy batch", HEAVY, "divergence", ("a gradient far larger",), {"clip": (HEAVY_CLIPPED,)}),
    Story("other text", OTHER_TEXT, "loss_spike", ("a batch unlike",), {"look at the batch": (REPEATED,)}),
    Story("edge", EDGE, "loss_spike", ("a batch unlike",), {"look at the batch": (REPEATED,)}),
    Story("edge", EDGE, "divergence", ("data have changed",), {"look at the data": (REPEATED,)}),
    Story("changed data", CHANGED, "divergence", ("data have changed",), {"look at the data": (REPEATED,)}),
    *(
        Story(
            "rising rate",
            RISING,
            kind,
            ("activations multiplied",),
            {"lower the learning rate": (STEADY,), BEHIND: (RISING.but(wiring="double_norm"),)},
        )
        for kind in ("loss_spike", "divergence")
    ),
    Story(
        "post-norm",
        POST,
        "vanishing_gradient",
        ("a branch's output grew", "placement of norms"),
        {"lower the learning rate": (POST_LOW,), "warm up": (POST_WARM,), INSIDE: POST_INSIDE},
    ),
    Story(
        "post-norm",
        POST,
        "stuck",
        ("lower blocks get no gradient",),
        {LOWER: (POST_LOW,), WARMUP: (POST_WARM,), INSIDE: POST_INSIDE},
    ),
    Story(
        "post-norm",
        POST,
        "entropy_collapse",
        ("leave tokens without differences",),
        {"lower the learning rate": (POST_LOW,), INSIDE: POST_INSIDE},
    ),
    Story(
        "post-norm",
        POST,
        "rank_collapse",
        ("one branch grew",),
        {"lower the learning rate": (POST_LOW,), "warm up": (POST_WARM,), INSIDE: POST_INSIDE},
    ),
    Story(
        "pre-norm",
        PRE,
        "activation_blow_up",
        ("nothing bounds what they add",),
        {"lower the learning rate": (PRE_LOW,), BEHIND: PRE_BEHIND},
    ),
    Story("pre-norm", PRE, "stuck", ("drowned",), {LOWER: (PRE_LOW,), BEHIND: PRE_BEHIND}),
    Story(
        "pre-norm",
        PRE,
        "entropy_collapse",
        ("few keys take all",),
        {"lower the learning rate": (PRE_LOW,)},
    ),
    Story("pre-norm", PRE, "norm_gain_drift", ("large for gains",), {"lower the learning rate": (PRE_LOW,)}),
    Story(
        "logits",
        NARROW,
        "attention_logit_growth",
        ("queries and keys grow",),
        {
            "QK-norm": (NARROW.but(model=QK_NORM),),
            "soft-cap": (NARROW.but(model={"attention": {"softcap": 10.0}}),),
            "lower the learning rate": (PRE_LOW,),
        },
    ),
    Story("timid", TIMID, "stuck", ("too small to learn",), {"raise": (PRE_LOW,)}),
    Story("loss of nothing", NAN, "nonfinite", ("the loss itself",), {"targets and masks": (UNDISTURBED,)}),
    Story("rate overflows", OVERFLOW, "nonfinite", ("learning rate jumped",), {"schedule": (UNDISTURBED,)}),
    Story("huge rate", HUGE, "nonfinite", ("on the way forward",), {"lower the learning rate": (PRE_LOW,)}),
    Story(
        "no final norm",
        OPEN_HEAD,
        "output_logit_drift",
        ("what the head reads has grown",),
        {"a norm before the head": (PRE,), "lower the learning rate": (OPEN_HEAD.but(lr=3e-3),)},
    ),
)
