"""A log reader of the user's own, by argument and by entry point."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from stabilitykit import diagnose, plugins
from stabilitykit.store import LogReading
from stabilitykit.store.logs import LineSource, Row, Sample, Selection, log_reading


class Verse(LineSource):
    """``loss of 3 at 10``, as no framework writes it."""

    title = "verse"

    @classmethod
    def recognises(cls, path: Path, head: bytes) -> bool:
        return head.startswith(b"verse\n")

    def sample(self, ended: bool) -> Sample | None:
        return Sample(("loss", "step"), []) if self.head(ended) else None

    def select(self, selection: Selection) -> None:
        assert selection == Selection(("loss", "step"), 1)

    def rows(self, ended: bool) -> Iterator[list[Row]]:
        for batch in self.batches(ended):
            words = [line.split() for line in batch if line.startswith("loss of")]
            yield [[float(each[2]), float(each[4])] for each in words]


@pytest.fixture
def verse(tmp_path: Path) -> Path:
    path = tmp_path / "verse.log"
    path.write_text("verse\n" + "".join(f"loss of {3 - i / 10} at {10 * i}\n" for i in range(20)))
    return path


def test_by_argument(verse: Path):
    assert diagnose(verse, readers=[Verse]).steps == 20
    reading = LogReading(verse, {}, readers=[Verse])
    assert (reading.title, [record.step for record in reading.records][-1]) == ("verse", 190)
    assert LogReading(verse, {}).title == "text log"


def test_by_entry_point(verse: Path, monkeypatch: pytest.MonkeyPatch):
    point = EntryPoint("verse", f"{__name__}:Verse", "stabilitykit.logs")
    monkeypatch.setattr(EntryPoint, "load", lambda self: Verse)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == point.group else [])
    log_reading.installed_readers.cache_clear()
    assert diagnose(verse).steps == 20
    log_reading.installed_readers.cache_clear()
