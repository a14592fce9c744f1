"""Every kind that has a detector can be explained, and what is said rests on kinds that exist."""

import pytest

from stabilitykit.detect import KNOWLEDGE, Detector, default_detectors
from stabilitykit.detect.noise import LossNoise
from stabilitykit.records import KINDS

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
def test_there_is_always_a_cause_and_a_remedy(kind, what):
    advice = KNOWLEDGE[kind].advice[what]
    assert [each.text for each in advice if not each.when]
    assert all(each.text for each in advice)
    assert all(each.when <= set(DETECTED) for each in advice)
    # What an incident is itself is among its evidence: such a condition would say nothing.
    assert all(kind not in each.when for each in advice)
    texts = [each.text for each in advice]
    assert len(texts) == len(set(texts))


def test_conditional_advice_is_given_when_one_of_its_kinds_is_there():
    spike = KNOWLEDGE["loss_spike"]
    plain = spike.causes(frozenset({"loss_spike"}))
    update = spike.causes(frozenset({"loss_spike", "update_spike"}))
    assert plain == ("a learning rate near the edge of stability, or a hard batch",)
    assert set(plain) < set(update)
    assert update[0].startswith("an unusually large update")
    remedies = spike.remedies(frozenset({"update_spike"}))
    assert set(remedies) - set(spike.remedies(frozenset())) == {
        "look at the learning-rate schedule around this step"
    }


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
        assert f"last {by_kind[kind].WINDOW}" in text[kind]
