"""The depth × step picture, looked at pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from stabilitykit.errors import DataError
from stabilitykit.figures import MISSING, NONFINITE, heat_map

LABELS = ["blocks.00", "blocks.01"]


def colours_in(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()}


def cell(image: Image.Image, row_from_top: float, column: float) -> tuple[int, ...]:
    """Return the colour at a place inside the cells, given as fractions of their area."""
    pixels = np.asarray(image).astype(int)
    inside = np.ptp(pixels, axis=2) > 60
    rows = np.flatnonzero(inside.sum(axis=1) > 200)
    columns = np.flatnonzero(inside[rows[len(rows) // 2]])
    left, right = columns[0], columns[0] + 660
    y = round(rows[0] + row_from_top * (rows[-1] - rows[0]))
    return tuple(pixels[y, round(left + column * (right - left - 1))].tolist())


def test_depth_grows_upwards():
    image = heat_map(np.array([[0.0, 0.0], [1.0, 1.0]]), LABELS, (0, 20), "RMS", "")
    assert cell(image, 0.1, 0.2) == (0xFD, 0xE7, 0x25)
    assert cell(image, 0.9, 0.2) == (0x44, 0x01, 0x54)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_red(bad: float):
    image = heat_map(np.array([[1.0, 2.0], [3.0, bad]]), LABELS, (0, 2), "RMS", "", log=True)
    assert cell(image, 0.2, 0.9) == NONFINITE
    assert NONFINITE not in colours_in(heat_map(np.ones((2, 2)), LABELS, (0, 2), "RMS", ""))


def test_missing_is_grey_and_not_red():
    missing = np.array([[False, False], [False, True]])
    values = np.array([[1.0, 2.0], [3.0, np.nan]])
    shown = colours_in(heat_map(values, LABELS, (0, 2), "RMS", "", missing=missing))
    assert MISSING in shown
    assert NONFINITE not in shown


def test_a_missing_cell_does_not_stretch_the_colours():
    missing = np.array([[False, False], [False, True]])
    low, high = np.array([[1.0, 2.0], [3.0, 0.0]]), np.array([[1.0, 2.0], [3.0, 1e9]])
    one, other = (heat_map(v, LABELS, (0, 2), "RMS", "", missing=missing) for v in (low, high))
    assert one.tobytes() == other.tobytes()


def test_zero_on_a_logarithmic_scale_is_the_lowest_colour():
    image = heat_map(np.array([[1.0, 1.0], [0.0, 1e-3]]), LABELS, (0, 2), "share", "", log=True)
    assert cell(image, 0.2, 0.2) == cell(image, 0.2, 0.9) == (0x44, 0x01, 0x54)


def test_one_bad_column_among_thousands_stays_visible():
    values = np.ones((2, 5000))
    values[1, 1234] = np.nan
    assert NONFINITE in colours_in(heat_map(values, LABELS, (0, 5000), "RMS", ""))


def test_markers_are_drawn_where_the_incident_began():
    values = np.tile(np.linspace(1, 2, 100), (2, 1))
    plain = np.asarray(heat_map(values, LABELS, (0, 100), "RMS", ""))
    marked = np.asarray(heat_map(values, LABELS, (0, 100), "RMS", "", markers=[50, 5000]))
    changed = np.flatnonzero((plain != marked).any(axis=(0, 2)))
    assert 1 <= len(changed) <= 12
    assert abs(np.mean(changed) - (np.mean(np.flatnonzero((plain != 255).any(axis=(0, 2)))))) < 100


def test_width_is_that_of_the_cells():
    narrow = heat_map(np.ones((2, 3)), LABELS, (0, 3), "RMS", "", width=300)
    wide = heat_map(np.ones((2, 3)), LABELS, (0, 3), "RMS", "", width=500)
    assert wide.width - narrow.width == 200


def test_many_rows_stay_a_picture_of_some_size():
    labels = [f"blocks.{index:03d}" for index in range(200)]
    assert heat_map(np.ones((200, 3)), labels, (0, 3), "RMS", "").height < 1000


def test_nothing_finite_at_all_still_gives_a_picture():
    assert NONFINITE in colours_in(heat_map(np.full((2, 2), np.nan), LABELS, (0, 2), "RMS", "", log=True))


def test_values_that_are_no_table_are_refused():
    with pytest.raises(DataError, match=r"values has shape \(2, 2\); accepted: 1 rows"):
        heat_map(np.ones((2, 2)), ["one"], (0, 2), "RMS", "")
    with pytest.raises(DataError, match="missing has shape"):
        heat_map(np.ones((2, 2)), LABELS, (0, 2), "RMS", "", missing=np.zeros((1, 2), bool))
