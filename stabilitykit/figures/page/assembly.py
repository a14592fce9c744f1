"""The page from its template, style and scripts, which are all written into it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stabilitykit.figures.colours import (
    CRITICAL,
    LINE,
    MISSING,
    NONFINITE,
    WARNING,
    Colour,
    colours,
    hexadecimal,
)
from stabilitykit.figures.page.contents import contents
from stabilitykit.figures.page.words import short_value, span_text, value_text
from stabilitykit.figures.run_picture import RunPicture

_HERE = Path(__file__).parent
_POINTS = 20_000
"""Buckets of all curves together, so that a page of many runs can still be sent."""
_COLOURS: dict[str, Colour] = {
    "line": LINE,
    "warning": WARNING,
    "critical": CRITICAL,
    "missing": MISSING,
    "nonfinite": NONFINITE,
}


def run_page(runs: Sequence[RunPicture]) -> str:
    """Return a page of HTML that shows runs, in the order given.

    It holds all that it needs; a reader without scripts gets the tables.

    Args:
        runs: At least one.
    """
    template = environment().get_template("page.html")
    return template.render(runs=[contents(run, buckets_for(len(runs))) for run in runs])


def buckets_for(runs: int) -> int:
    """Return in how many stretches of steps each curve is kept on a page of so many runs."""
    return max(48, min(2048, _POINTS // (2 * max(1, runs))))


@cache
def environment(*folders: Path) -> Environment:
    """Return the templates, with styles and scripts, of this page and of others that extend it.

    Args:
        folders: Where theirs are, looked into first.
    """
    places = [*folders, _HERE]
    found = Environment(
        loader=FileSystemLoader(places),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"span": span_text, "value": value_text, "short": short_value}
    found.globals |= {
        "colours": {name: hexadecimal(colour) for name, colour in _COLOURS.items()},
        "ramp": [hexadecimal((r, g, b)) for r, g, b in colours(np.linspace(0, 1, 9)).tolist()],
        "asset": lambda name: _asset(next(place / name for place in places if (place / name).is_file())),
    }
    return found


def _asset(file: Path) -> Markup:
    """Return a file of ours as it is; nobody else's text goes this way."""
    return Markup(file.read_text(encoding="utf-8"))
