"""``explain``: one entry of the knowledge."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture(autouse=True)
def _knowledge(monkeypatch):
    module = ModuleType("stabilitykit.detect.knowledge")
    known = SimpleNamespace(
        kind="stuck", title="The loss is parked", text="**What.** Nothing moves.", sources=("arXiv 1",)
    )
    vars(module)["KNOWLEDGE"] = {"stuck": known}
    monkeypatch.setitem(sys.modules, "stabilitykit.detect.knowledge", module)


def test_text_is_printed_with_title_and_sources(stabilitykit):
    ended = stabilitykit("explain", "stuck")
    assert (ended.status, ended.err) == (0, "")
    for told in ("stuck  The loss is parked", "What. Nothing moves.", "arXiv 1"):
        assert told in ended.out


def test_json(stabilitykit):
    document = json.loads(stabilitykit("explain", "stuck", "--json").out)
    assert document == {"kind": "stuck", "text": "**What.** Nothing moves.", "sources": ["arXiv 1"]}


def test_an_unknown_kind_is_answered_with_the_closest(stabilitykit):
    ended = stabilitykit("explain", "stuk")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "error: KIND 'stuk' is not known: did you mean 'stuck'?\n"
