"""Pictures as files: every format, the same bytes each time, whatever is in the run."""

import io
import math
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from stabilitykit.errors import ConfigError, MissingExtraError
from stabilitykit.figures import picture_writer

HARD = {
    "nothing": [],
    "one point": [2.5],
    "never finite": [math.nan, math.inf, -math.inf],
    "constant": [4.0] * 50,
    "negative, and one absurd": [-1.0 + math.sin(i) for i in range(50)] + [1e30],
    "tiny": [1e-30, 3e-30, 2e-30],
    "from tiny to huge": [1e-6, 1e4, 3.0, 0.0],
}


def written(name: str, runs) -> bytes:
    return picture_writer(Path(name))(runs)


@pytest.mark.parametrize(("name", "starts"), [("a.pdf", b"%PDF"), ("A.HTML", b"<!doctype")])
def test_the_ending_is_the_format_and_bytes_repeat(make_run, name, starts):
    run = make_run([3.0, 2.0, 9.0, 2.0])
    first = written(name, [run])
    assert first.startswith(starts)
    assert first == written(name, [run])


def test_a_png_is_large_enough_to_read(make_run):
    image = Image.open(io.BytesIO(written("a.png", [make_run([3.0, 2.0, 9.0, 2.0])])))
    assert image.width == 1350
    assert 500 < image.height < 900
    assert len(image.convert("RGB").resize((200, 200)).getcolors(100_000)) > 50


def test_an_svg_is_the_same_whatever_a_users_settings_and_holds_its_words(eventful):
    matplotlib = pytest.importorskip("matplotlib")
    first = written("a.svg", [eventful])
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "text.usetex": True}):
        assert written("a.svg", [eventful]) == first
        assert matplotlib.rcParams["font.size"] == 30
    texts = {text.strip() for text in ET.fromstring(first).itertext()}
    assert {"runs/<b>&amp; 'x' $a$ ��", "loss", "gradient norm", "divergence ×17", "not finite"} <= texts
    assert "rank_collapse ×15" in texts


def test_whatever_is_in_a_run_it_is_drawn(make_run):
    for name in ("a.svg", "a.html"):
        assert written(name, [make_run(losses, title=title) for title, losses in HARD.items()])


def test_more_runs_than_a_picture_holds_are_counted(make_run, monkeypatch):
    monkeypatch.setattr("stabilitykit.figures.run_figure.MOST", 2)
    picture = written("a.svg", [make_run([1.0], title=f"run {n}") for n in range(3)]).decode()
    assert "the first 2 of 3 runs" in picture
    assert "run 2" not in picture


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.gz", ".svg"])
def test_other_endings_are_refused_with_those_accepted(name):
    with pytest.raises(ConfigError, match=re.escape("accepted endings: .png, .svg, .pdf, .html")):
        picture_writer(Path(name))


def test_without_matplotlib_the_extra_is_named_and_a_page_still_works(monkeypatch, make_run):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'stabilitykit[report]'")):
        picture_writer(Path("a.png"))
    assert b"</html>" in written("a.html", [make_run([1.0])])
