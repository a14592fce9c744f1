"""The page: it needs no network, it says everything in words too, and what a run says is never markup."""

import json
import re
from html.parser import HTMLParser

from stabilitykit.figures.page import run_page
from stabilitykit.records import Severity

from .conftest import an_incident


class Reader(HTMLParser):
    """Collects what a page would fetch, its data, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.data: list[dict] = []
        self.text = ""
        self._in_data = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self._in_data = found.get("class") == "data"
        links = [found[name] for name in ("src", "href") if name in found]
        self.fetched += [link for link in links if not link.startswith("#")]

    def handle_data(self, text):
        if self._in_data and text.strip():
            self.data.append(json.loads(text))
        self.text += text

    def handle_endtag(self, tag):
        self._in_data = False


def test_it_fetches_nothing_and_carries_the_licence_of_what_it_holds(eventful):
    page = run_page([eventful])
    assert Reader(page).fetched == []
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "url(" not in page
    assert "uPlot (v1.6.32)" in page
    assert "The MIT License (MIT)" in page


def test_what_a_run_says_is_never_markup(eventful, make_run):
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    reader = Reader(run_page([eventful, make_run([1.0], title=hostile)]))
    assert reader.tags.count("img") == 0
    assert reader.tags.count("script") == 2 + 2
    assert "b" not in reader.tags
    assert hostile in reader.text


def test_every_incident_is_in_the_table_and_in_the_data(eventful):
    reader = Reader(run_page([eventful]))
    (data,) = reader.data
    assert len(data["incidents"]) == 200
    assert all(f"{each['message']}" in reader.text for each in data["incidents"])
    assert data["lanes"][0] == "loss_spike ×16"
    assert data["incidents"][-1]["end"] is None
    assert reader.tags.count("caption") == 1


def test_evidence_causes_and_remedies_are_told_once_a_kind(make_run):
    spikes = [an_incident(n, "loss_spike", n, n, Severity.WARNING) for n in range(3)]
    text = Reader(run_page([make_run([3.0] * 9, incidents=spikes)])).text
    assert text.count("a <remedy>") == text.count("a cause") == text.count("blocks.07") == 1
    assert "nan" in text


def test_a_curve_is_told_in_words_and_numbers(eventful):
    page = run_page([eventful])
    assert re.search(
        r'role="img" aria-label="loss over steps 0 to 1999, from 2\.\d+ to 40; incidents: ', page
    )
    (data,) = Reader(page).data
    steps, values = data["panels"][0]["laps"][0]
    assert len(steps) == len(values)
    assert None in values
    assert 40 in values
    assert data["panels"][0]["log"] is True


def test_many_runs_stay_a_page_that_can_be_sent(make_run):
    run = make_run(3.0 + (step * step % 17) / 10 for step in range(4000))
    alone, many = len(run_page([run])), len(run_page([run] * 50))
    assert alone < 400_000
    assert many < 1_500_000
