"""The document of a cost: what is read is what was printed, and what is not given is not printed."""

import json

import pytest

from stabilitykit.errors import DataError
from stabilitykit.lab.cost import Peaks, Workload, cost_document, priced, variants
from stabilitykit.lab.cost.document import CostDocument
from stabilitykit.lab.cost.growth import growth
from stabilitykit.lab.model.presets import arch_fields

PEAKS = Peaks(1e11, 1e10)


def priced_document(compare: str, mode: str, seconds: float | None) -> CostDocument:
    """Return a document of small models."""
    sides, workload = variants(compare, arch_fields("llama2")), Workload(mode, 1, 8)
    rows = growth(sides, workload, "adamw", PEAKS, seconds) if mode == "decode" else None
    return cost_document(priced(sides, workload, "adamw", seconds), PEAKS, rows)


@pytest.mark.parametrize("seconds", [None, pytest.param(0.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("compare", "mode"), [("glu", "train"), ("kv_heads", "decode")])
def test_what_is_printed_is_read_back_to_the_byte(monkeypatch, compare, mode, seconds):
    monkeypatch.setattr("stabilitykit.lab.cost.measured.rounds.FEWEST", 1)
    printed = json.dumps(priced_document(compare, mode, seconds).to_json())
    assert json.dumps(CostDocument.from_json(printed.encode()).to_json()) == printed


def test_counts_stay_whole_numbers():
    told = priced_document("glu", "train", None).to_json()
    assert isinstance(told["total"]["flops"], int)
    assert isinstance(told["memory"]["total"], int)
    assert '"flops": 1e' not in json.dumps(told)


def test_what_was_not_asked_for_is_not_in_it():
    (first, *_) = variants("glu", arch_fields("llama2"))
    told = cost_document(priced([first], Workload(), "adamw", None), None).to_json()
    assert not {"compared", "growth", "counted"} & told.keys()
    assert "seconds" not in told["classes"][0]
    assert (told["measured"], told["peaks"]) == (None, None)


def test_another_shape_is_refused_with_its_field():
    told = priced_document("kv_heads", "decode", None).to_json()
    del told["growth"][1]["attention"]["bytes"]
    with pytest.raises(DataError, match=r"^growth\.1\.attention\.bytes: field required; accepted: "):
        CostDocument.from_json(json.dumps(told).encode())
