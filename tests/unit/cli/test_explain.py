"""``explain``: one entry of the knowledge."""

import json


def test_text_is_printed_with_title_limits_causes_and_sources(stabilitykit):
    ended = stabilitykit("explain", "vanishing_gradient")
    assert (ended.status, ended.err) == (0, "")
    told = " ".join(ended.out.split())
    for part in (
        "vanishing_gradient A block no longer gets a share of the gradient",
        "below 1%, have fallen 5-fold within the last 20 records",
        "Known false alarms.",
        "and the norm behind it divides everything below by it (with activation_blow_up)",
        "warm up for longer",
        "arXiv 2002.04745",
    ):
        assert part in told


def test_json(stabilitykit):
    document = json.loads(stabilitykit("explain", "stuck", "--json").out)
    assert document["kind"] == "stuck"
    assert "**What to try.**" in document["text"]
    assert document["sources"] == ["On Layer Normalization in the Transformer Architecture, arXiv 2002.04745"]


def test_an_unknown_kind_is_answered_with_the_closest(stabilitykit):
    ended = stabilitykit("explain", "stuk")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "error: KIND 'stuk' is not known: did you mean 'stuck'?\n"
