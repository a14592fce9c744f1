"""Every cause and every remedy of the knowledge table is the right answer of a run."""

import math

import pytest
from failures.stories import HEALTHY, STORIES, Story
from failures.training import train

from stabilitykit.detect import KNOWLEDGE

stories = pytest.mark.parametrize("story", STORIES, ids=lambda story: f"{story.name}: {story.kind}")


def matches(fragments, texts):
    """Return whether each fragment stands in one text and each text holds one fragment."""
    return len(texts) == len(fragments) and all(
        sum(fragment in text for text in texts) == 1 for fragment in fragments
    )


# In one process, which trains a run once for all the tests that look at it.
@pytest.mark.xdist_group("knowledge")
@pytest.mark.slow
@stories
def test_the_incident_says_what_was_wrong_and_nothing_else(story: Story) -> None:
    incident = train(story.run).first(story.kind)
    assert incident
    assert matches(story.causes, incident.causes), (incident.causes, incident.evidence)
    assert matches(story.remedies, incident.remedies), incident.remedies


@pytest.mark.xdist_group("knowledge")
@pytest.mark.slow
@stories
def test_who_follows_the_advice_is_helped(story: Story) -> None:
    before = train(story.run)
    for remedy, runs in story.remedies.items():
        for run in runs:
            after = train(run)
            gone = after.first(story.kind) is None
            if math.isfinite(before.final):
                # Gone and no worse, or still seen and far better.
                assert after.final < before.final + (0.1 if gone else -0.3), (remedy, run)
            else:
                assert gone, (remedy, run)


@pytest.mark.xdist_group("knowledge")
@pytest.mark.slow
def test_an_undisturbed_run_has_nothing_to_be_told_of() -> None:
    assert train(HEALTHY).verdict.incidents == ()


@pytest.mark.parametrize("kind", KNOWLEDGE)
@pytest.mark.parametrize("what", ["causes", "remedies"])
def test_every_entry_has_a_run(kind: str, what: str) -> None:
    fragments = {each for story in STORIES if story.kind == kind for each in getattr(story, what)}
    assert matches(fragments, [advice.text for advice in getattr(KNOWLEDGE[kind], what)])
