"""A quantity over depth and steps as the page shows it: cells as pixels, everything written as text."""

import base64
import io
from typing import Any

import numpy as np

from stabilitykit.figures.depth_map import DepthMap
from stabilitykit.figures.heat_map import cells_image
from stabilitykit.figures.page.words import value_text
from stabilitykit.figures.scale import step_ticks

_ROW, _LOW, _HIGH = 20, 84, 240
"""Pixels: a site, and the least and the most that a picture is high."""
_LABEL = 13
"""Pixels that a label needs."""


def map_contents(each: DepthMap) -> dict[str, Any]:
    """Return what the template takes of one quantity."""
    rows, scale = len(each.sites), each.scale
    height = max(_LOW, min(_HIGH, _ROW * rows))
    every = max(1, -(-_LABEL * rows // height))
    read = each.values[~each.missing]
    return {
        "title": each.title,
        "unit": each.unit,
        "log": scale.log,
        "height": height,
        "png": _png(each),
        "labels": [
            (_percent((row + 0.5) / rows), site) for row, site in enumerate(each.sites) if row % every == 0
        ],
        "steps": [(_across(each, step), step) for step in step_ticks(*each.span, n=5)],
        "ticks": [(_percent(float(scale.fraction(np.array(value)))), text) for value, text in scale.ticks()],
        "markers": [_across(each, step) for step in each.markers if each.span[0] <= step < each.span[1]],
        "nonfinite": not np.isfinite(read).all(),
        "unread": bool(each.missing.any()),
        "words": _words(each),
        "rows": each.told(),
    }


def map_data(each: DepthMap) -> dict[str, Any]:
    """Return what the script takes to read a value back from its colour."""
    scale = each.scale
    return {
        "sites": each.sites,
        "span": each.span,
        "low": scale.low,
        "high": scale.high,
        "log": scale.log,
    }


def _words(each: DepthMap) -> str:
    finite = each.values[~each.missing & np.isfinite(each.values)]
    words = f"{each.title} of {len(each.sites)} sites over steps {each.span[0]} to {each.span[1] - 1}" + (
        f", from {value_text(finite.min())} to {value_text(finite.max())}" if finite.size else ""
    )
    return f"{words}; the table below tells it in numbers"


def _png(each: DepthMap) -> str:
    """Return the cells as a picture inside an address, a pixel each."""
    image = cells_image(each.values, each.missing, each.scale)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _across(each: DepthMap, step: int) -> float:
    return _percent((step - each.span[0]) / (each.span[1] - each.span[0]))


def _percent(share: float) -> float:
    return round(100 * share, 2)
