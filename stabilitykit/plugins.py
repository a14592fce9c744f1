"""What installed packages offer through entry points."""

import logging
from importlib.metadata import entry_points
from typing import Any

log = logging.getLogger("stabilitykit")


def plugins(group: str) -> list[Any]:
    """Return what the entry points of a group name, in the order of their names; a list counts as its items.

    One that cannot be loaded is passed over, and said.

    Args:
        group: Name of the group, such as ``stabilitykit.statistics``.
    """
    found: list[Any] = []
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        try:
            loaded = entry.load()
        except Exception as error:  # A broken package must not end a training run.
            log.warning("%s: %s cannot be loaded: %s: %s", group, entry.name, type(error).__name__, error)
            continue
        found += loaded if isinstance(loaded, list | tuple) else [loaded]
    return found
