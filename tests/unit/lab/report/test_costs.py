"""The section on costs: known by its contents, all of it in words, pictures as files, tables as CSV."""

import csv
import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from stabilitykit.errors import DataError
from stabilitykit.lab.report import CostView, build_report, is_cost_document, write_figures

from .conftest import HOSTILE
from .costs import DECODE, TRAIN, predicted, with_times, written
from .reading import Reader


@pytest.fixture(scope="module")
def placement(tmp_path_factory):
    """Three placements, with times."""
    told = with_times(predicted("placement", TRAIN))
    told["arch"] = f"pre {HOSTILE}"
    return CostView.of(written(tmp_path_factory.mktemp("costs") / "cost.json", told))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache that grows, predicted alone."""
    return CostView.of(
        written(tmp_path_factory.mktemp("costs") / "cache.json", predicted("kv_heads", DECODE))
    )


def test_a_document_is_known_by_what_is_in_it(tmp_path):
    told = predicted("placement", TRAIN)
    assert is_cost_document(written(tmp_path / "told.txt", told))
    others = {"log.json": '{"loss": 1}\n{"loss": 2}\n', "cut.json": json.dumps(told)[:-9], "list.json": "[]"}
    for name, text in others.items():
        (tmp_path / name).write_text(text)
        assert not is_cost_document(tmp_path / name)
    assert not is_cost_document(tmp_path)
    assert not is_cost_document(tmp_path / "gone")


def test_a_document_of_another_shape_is_refused_with_its_field(tmp_path):
    told = predicted("placement", TRAIN)
    del told["operations"][3]["forward"]["flops"]
    with pytest.raises(
        DataError, match=r"cost\.json: operations\.3\.forward\.flops: field required; accepted"
    ):
        CostView.of(written(tmp_path / "cost.json", told))


def test_shares_ratios_and_machine_stand_in_words(placement):
    reader = Reader(build_report([], costs=[placement]).page)
    assert reader.fetched == []
    assert reader.tags.count("script") == 2
    assert "50.0 % · 30.0 % · 20.0 %" in reader.text
    assert "1.100 [0.900, 1.200]" in reader.text
    assert reader.text.count("no difference shown") == 2
    assert "2.000 [1.900, 2.100]" in reader.text
    assert "composite forward: mm, add; backward: mm" in " ".join(reader.text.split())
    assert "25.0 % of the step" in reader.text
    assert f"pre {HOSTILE}" in reader.text


def test_what_was_only_predicted_says_so_and_shows_no_times(cache):
    page = build_report([], costs=[cache]).page
    assert "Computed; nothing was run." in page
    assert "[quartiles]" not in page
    assert "As the cache grows" in page


def test_a_measured_cache_has_its_seconds(tmp_path):
    told = with_times(predicted("kv_heads", DECODE))
    view = CostView.of(written(tmp_path / "cost.json", told))
    assert "16.0 µs [14.4 µs, 17.6 µs]" in build_report([], costs=[view]).page
    rows = list(csv.DictReader(io.StringIO(view.tables["growth"])))
    assert float(rows[0]["attention_s_median"]) == pytest.approx(16e-6)
    assert view.pictures()["growth"].count("<circle") == len(rows) == 12


def test_tables_add_up_to_the_document(placement):
    rows = list(csv.DictReader(io.StringIO(placement.tables["operations"])))
    own = [row for row in rows if row["arch"] == placement.document.arch]
    assert sum(float(row["flops"]) for row in own) == placement.document.total.flops
    shares = list(csv.DictReader(io.StringIO(placement.tables["classes"])))
    assert sum(float(row["bytes_share"]) for row in shares) == pytest.approx(3)


def test_pictures_are_files_of_their_own_that_need_nothing(placement, cache, tmp_path):
    files = write_figures(tmp_path, build_report([], costs=[placement, cache]))
    pictures = [file for file in files if file.suffix == ".svg"]
    assert {file.stem for file in pictures} == {"shares", "ratios", "growth"}
    for file in pictures:
        assert ElementTree.fromstring(file.read_text()).tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in file.read_text()


def test_bars_are_as_long_as_their_shares(placement):
    root = ElementTree.fromstring(placement.pictures()["shares"])
    bars = [each.get("width") for each in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert [(float(bar) + 1) / 720 for bar in bars[-3:]] == pytest.approx([0.5, 0.3, 0.2], abs=1e-3)


def test_costs_are_reported_without_torch(tmp_path):
    file = written(tmp_path / "cost.json", with_times(predicted("placement", TRAIN)))
    code = (
        "import sys, pathlib; from stabilitykit.lab.report import CostView, build_report;"
        f"build_report([], costs=[CostView.of(pathlib.Path({str(file)!r}))]); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
