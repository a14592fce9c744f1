"""Readings are right under everything that people train with."""

from pathlib import Path

import pytest
from training_modes import MODES, Mode

pytestmark = pytest.mark.filterwarnings("ignore")

CASES = [
    pytest.param(mode, id=name, marks=pytest.mark.slow if mode.slow else ()) for name, mode in MODES.items()
]


@pytest.mark.parametrize("mode", CASES)
def test_readings_are_right(mode: Mode, tmp_path: Path) -> None:
    mode.check(tmp_path)
