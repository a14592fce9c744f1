"""State that is declared once is kept and taken up, whatever holds it."""

import json
from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest

from stabilitykit.detect.rolling import Window
from stabilitykit.detect.state import Stateful


@dataclass
class Pair:
    """Two numbers."""

    x: float = 0.0
    y: float = 0.0


class Part(Stateful):
    """Something small."""

    state = ("seen", "at")

    def __init__(self):
        self.seen = 0
        self._at: int | None = None


class Whole(Part):
    """Holds all that state may be."""

    state = ("part", "window", "row", "pair", "last", "since")

    def __init__(self):
        super().__init__()
        self._part, self._window, self._row = Part(), Window(3), np.empty(0)
        self._pair, self._last, self._since = Pair(), deque([(1, 2.0)], maxlen=2), {}
        self.restorations = 0

    def since(self):
        """Have the name of an attribute without its underscore."""

    def restored(self):
        self.restorations += 1


def changed() -> Whole:
    whole = Whole()
    whole.seen, whole._at, whole._part.seen = 3, 4, 5
    whole._window.push(1.5)
    whole._row, whole._pair = np.array([1.0, np.nan]), Pair(1.0, 2.0)
    whole._last.append((3, 4.0))
    whole._since = {"a": 1}
    return whole


def test_what_is_declared_is_taken_up_as_it_was():
    whole, other = changed(), Whole()
    state = json.loads(json.dumps(whole.state_dict()))
    other.load_state_dict(state)
    assert repr(other.state_dict()) == repr(whole.state_dict()) == repr(state)
    assert (other._pair, other._row.dtype, other._last.maxlen) == (Pair(1.0, 2.0), np.float64, 2)
    assert (other.restorations, other._window.median()) == (1, 1.5)


def test_base_classes_come_first_and_what_is_not_declared_is_left_out():
    assert list(Whole().state_dict()) == ["seen", "at", "part", "window", "row", "pair", "last", "since"]


def test_what_is_missing_is_named():
    with pytest.raises(KeyError, match="window"):
        Whole().load_state_dict({"seen": 1, "at": 2, "part": {"seen": 1, "at": None}})
