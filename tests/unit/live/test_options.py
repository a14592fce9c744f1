"""How a run is watched is stated once, and every door takes it."""

import inspect
import typing
from typing import Any

import pytest

from stabilitykit import StabilityMonitor, watch
from stabilitykit.errors import ConfigError
from stabilitykit.live.monitor import Monitor
from stabilitykit.live.options import WatchKeywords, WatchOptions


def test_the_keywords_are_the_fields():
    keywords, options = typing.get_type_hints(WatchKeywords), typing.get_type_hints(WatchOptions)
    assert keywords == options


@pytest.mark.parametrize("door", [watch, Monitor, StabilityMonitor])
def test_every_door_takes_them_and_no_other_states_them(door: Any):
    parameters = inspect.signature(door).parameters
    assert not parameters.keys() & typing.get_type_hints(WatchOptions).keys()
    assert parameters["options"].annotation == typing.Unpack[WatchKeywords]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every_n_steps": 0}, "every_n_steps"),
        ({"budget": 2.0}, "budget"),
        ({"on_incident": "mail"}, "on_incident"),
        ({"folder_mb": 0.1}, "folder_mb"),
        ({"sinks": [print]}, "sinks: got <built-in function print>; must be a stabilitykit.Listener"),
        ({"sites": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_what_is_not_accepted_is_named(options: Any, said: str):
    with pytest.raises(ConfigError, match=said):
        WatchOptions(**options).checked()
    with pytest.raises(ConfigError, match=said):
        StabilityMonitor(**options)
