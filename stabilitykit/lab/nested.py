"""Nested fields of a configuration, as recipes, presets and options give them."""

from collections.abc import Mapping
from typing import Any

Fields = dict[str, Any]
"""Fields by name; a section's are a mapping of their own."""


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Fields:
    """Return nested fields with others laid over them.

    Args:
        base: The fields below.
        over: The fields that win.
    """
    both = dict(base)
    for key, value in over.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both
