"""Readings are right under everything that people train with, and docs/coverage.md says so."""

from pathlib import Path

import pytest
from foreign.models import BUILDERS
from foreign.structure_cases import CASES
from training_modes import MODES, Mode
from training_modes.measure import PAGE, mode_row, model_row
from training_modes.models_seen import seen_in, seen_in_structure

pytestmark = pytest.mark.filterwarnings("ignore")


def marks(mode: Mode) -> list[pytest.MarkDecorator]:
    """Return the marks of a mode's test."""
    together = [pytest.mark.xdist_group(mode.process)] if mode.process else []
    return [*together, pytest.mark.slow] if mode.slow else together


MODE_CASES = [pytest.param(mode, id=name, marks=marks(mode)) for name, mode in MODES.items()]


def rows(heading: str) -> list[str]:
    """Return the rows of a table of the page."""
    text = PAGE.read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("mode", MODE_CASES)
def test_readings_are_right(mode: Mode, tmp_path: Path) -> None:
    mode.check(tmp_path)


def test_the_page_names_every_way_of_training() -> None:
    assert rows("## Ways of training") == [mode_row(mode) for mode in MODES.values()]


@pytest.mark.parametrize("name", BUILDERS)
def test_the_page_says_what_is_found_in_each_model(name: str) -> None:
    assert model_row(seen_in(name)) in rows("## Models")


@pytest.mark.parametrize("name", CASES)
def test_the_page_says_what_is_found_in_each_structure(name: str) -> None:
    assert model_row(seen_in_structure(name)) in rows("## Block structures")
