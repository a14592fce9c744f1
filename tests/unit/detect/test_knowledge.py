"""Every kind that has a detector can be explained, and what is said rests on kinds that exist."""

from string import Formatter

import pytest

from stabilitykit.detect import KNOWLEDGE, Detector, default_detectors
from stabilitykit.detect.explanation import explanation, limits
from stabilitykit.detect.knowledge import INSIDE, Advice, explained
from stabilitykit.detect.noise import LossNoise
from stabilitykit.records import KINDS, Finding, Incident, Severity

DETECTED = [detector.kind for detector in default_detectors()]
entries = pytest.mark.parametrize("kind", list(KNOWLEDGE))


def test_each_kind_has_one_detector_and_each_detector_a_kind():
    assert len(DETECTED) == len(set(DETECTED))
    assert set(DETECTED) <= set(KINDS)
    assert set(DETECTED) <= set(KNOWLEDGE)
    assert set(KNOWLEDGE) <= set(KINDS)


def test_every_subclass_in_the_room_is_run():
    def leaves(of: type) -> set[type]:
        below = [each for each in of.__subclasses__() if each.__module__.startswith("stabilitykit.")]
        return {of} if not below else set().union(*map(leaves, below))

    assert {type(detector) for detector in default_detectors()} == leaves(Detector)


@entries
def test_an_entry_says_what_it_is_how_it_is_computed_and_what_is_healthy(kind):
    entry = KNOWLEDGE[kind]
    assert entry.kind == kind
    assert entry.title
    assert "\n" not in entry.title
    for part in ("**What it is.**", "**How it is computed.**", "**Healthy.**", "**Known false alarms.**"):
        assert entry.text.count(part) == 1, part
    assert entry.sources
    assert all(entry.sources)


@entries
@pytest.mark.parametrize("what", ["causes", "remedies"])
def test_advice_rests_on_evidence_that_there_is(kind, what):
    advice = getattr(KNOWLEDGE[kind], what)
    assert advice
    for each in advice:
        assert each.text
        names = [name.partition("@") for name in (*each.when, *each.unless)]
        assert {found for found, _, _ in names} <= {*DETECTED, INSIDE}
        # What an incident is itself is among its evidence: without a site it would say nothing.
        assert all(site for found, _, site in names if found == kind)
    texts = [each.text for each in advice]
    assert len(texts) == len(set(texts))


def finding(kind, site="blocks.00", since=40):
    return Finding(kind, site, since, since, 1.0, 0.5, Severity.INFO, "")


def incident(kind, *evidence, site="train/loss", start=50):
    first = finding(kind, site, start)
    fields = {"peak": start, "end": None, "severity": Severity.WARNING, "value": 1.0, "threshold": 0.5}
    return Incident(0, kind, start, start, site=site, message="", evidence=(*evidence, first), **fields)


def causes(*arguments, inside=True, **fields):
    return explained(incident(*arguments, **fields), inside)[0]


JUMPED = "the learning rate jumped just before"
UNLIKE = (
    "nothing that is watched left its band before: a batch unlike the others, or a learning rate at its edge"
)


def test_a_cause_is_named_only_with_its_evidence_and_without_better_one():
    rate = finding("update_spike", "optim/lr")
    assert causes("loss_spike") == (UNLIKE,)
    assert causes("loss_spike", finding("gradient_spike")) == (
        "a gradient far larger than usual just before",
    )
    (moments,) = causes("loss_spike", finding("update_spike"), finding("gradient_spike"))
    assert moments.startswith("updates far above the usual size at an unchanged learning rate")
    assert causes("loss_spike", finding("update_spike"), rate) == (JUMPED,)


def test_what_began_later_is_no_cause():
    assert causes("loss_spike", finding("update_spike", since=51)) == (UNLIKE,)
    assert causes("loss_spike", finding("update_spike", "optim/lr", since=50)) == (JUMPED,)


def test_silence_says_something_only_where_the_inside_was_read():
    assert causes("loss_spike", inside=False) == ()
    assert explained(incident("divergence"), inside=False) == ((), ())
    assert causes("loss_spike", finding("gradient_spike"), inside=False) != ()


def test_the_site_at_which_it_began_can_decide():
    assert causes("nonfinite", site="train/loss")[0].startswith("the loss itself")
    assert causes("nonfinite", site="blocks.00.attn_out") == ("an overflow on the way forward",)


def test_conditions_are_said_in_words():
    advice = Advice("x", when=("a", "b@c"), unless=("d", "e"), first="train/loss")
    assert advice.condition == "with a or b@c; without d and e; begins at train/loss"
    assert Advice("x", when=(INSIDE,)).condition == "with readings of the model's inside"
    assert Advice("x").condition == ""


@entries
def test_no_number_of_a_detector_is_written_out_in_its_text(kind):
    if kind in ("loss_spike", "divergence", "stuck", "nonfinite"):
        return
    computed = KNOWLEDGE[kind].text.split("**How it is computed.**")[1].split("**Healthy.**")[0]
    names = {name for _, name, _, _ in Formatter().parse(computed) if name}
    told = set(limits(kind)) - {"FEWEST", "FORGET", "RENEWED", "VIEWS", "MARKS"}
    # Spikes are armed when their window is half full, and a drift is measured from the beginning.
    assert told - names <= {"ARMED", "LAG"}
    assert names <= set(limits(kind))
    assert "{" not in explanation(kind)


def test_an_explanation_says_the_limits_causes_and_what_they_ask_for():
    text = explanation("activation_blow_up")
    assert "10-fold is noted" in " ".join(text.split())
    assert "50-fold on the residual stream is an alarm" in " ".join(text.split())
    assert "- the learning rate jumped before *(with update_spike@optim/lr)*" in text
    assert "**What to try.**" in text


def test_the_numbers_that_are_told_are_the_defaults():
    by_kind = {detector.kind: detector for detector in default_detectors()}
    text = {kind: " ".join(entry.text.split()) for kind, entry in KNOWLEDGE.items()}
    spike, divergence = by_kind["loss_spike"], by_kind["divergence"]
    assert f"median of its last {spike.BASE}" in text["loss_spike"]
    assert (
        f"last {LossNoise.LONG} differences, as far as it agrees with the last {LossNoise.SHORT}"
        in text["loss_spike"]
    )
    assert f"armed after {spike.ARMED} differences" in text["loss_spike"]
    assert f"stays up for {spike.LEVEL} steps" in text["loss_spike"]
    assert f"{spike.settings['sigmas']:g} noise widths" in text["loss_spike"]
    assert f"{spike.settings['relative']:.0%}".replace("%", " %") in text["loss_spike"]
    assert f"Median of the last {divergence.SUDDEN} losses" in text["divergence"]
    assert f"median of the last {divergence.SLOW} losses" in text["divergence"]
    assert f"{divergence.settings['far']:.0%}".replace("%", " % above") in text["divergence"]
    assert f"{divergence.settings['above']:.0%}".replace("%", " % above") in text["divergence"]
    for kind in ("gradient_spike", "update_spike"):
        assert f"last {by_kind[kind].WINDOW}" in " ".join(explanation(kind).split())
