"""One thread for every test, no clock, and no file is imported that has no test of the mark asked for."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Two processes that spin for two cores are slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# That an example takes long is no fault: others may work on the same cores.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")

ONLY = re.compile(r"(slow|browser)($| and )")


def names(path: Path, mark: str) -> bool:
    """Return whether a file of tests names the mark, and so may have a test that carries it."""
    return f"pytest.mark.{mark}" in path.read_text()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, under ``-m "slow and ..."`` or ``-m browser``, a file that does not name the mark.

    Importing every file costs more than all the tests that carry the mark ``browser``.
    """
    only = ONLY.match(config.option.markexpr)
    if only is None or not collection_path.match("test_*.py"):
        return None
    return None if names(collection_path, only[1]) else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a mark that reached its test by a way that leaving out files does not see."""
    for mark in ("slow", "browser"):
        for path in {item.path for item in items if item.get_closest_marker(mark)}:
            if not names(path, mark):
                raise pytest.UsageError(f"{path}: a test is marked {mark}; write pytest.mark.{mark} there")
