"""The page from its template, style and scripts, which are all written into it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stabilitykit.figures.colours import CRITICAL, LINE, WARNING, hexadecimal
from stabilitykit.figures.page.contents import contents
from stabilitykit.figures.page.words import span_text, value_text
from stabilitykit.figures.run_picture import RunPicture

_HERE = Path(__file__).parent
_POINTS = 20_000
"""Buckets of all curves together, so that a page of many runs can still be sent."""


def run_page(runs: Sequence[RunPicture]) -> str:
    """Return a page of HTML that shows runs, in the order given.

    It holds all that it needs; a reader without scripts gets the tables.

    Args:
        runs: At least one.
    """
    buckets = max(48, min(2048, _POINTS // (2 * len(runs))))
    template = _templates().get_template("page.html")
    return template.render(
        runs=[contents(run, buckets) for run in runs],
        colours={
            "line": hexadecimal(LINE),
            "warning": hexadecimal(WARNING),
            "critical": hexadecimal(CRITICAL),
        },
        asset=_asset,
    )


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"span": span_text, "value": value_text}
    return environment


def _asset(name: str) -> Markup:
    """Return a file of ours as it is; nobody else's text goes this way."""
    return Markup((_HERE / name).read_text(encoding="utf-8"))
