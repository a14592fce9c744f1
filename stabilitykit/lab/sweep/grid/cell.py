"""A cell of a grid: one probe, named by what it is asked to do."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stabilitykit.lab.probe.spec import ProbeSpec

_HASH = 12
"""Hexadecimal digits of the hash in a name: among 10,000 cells two are alike once in five million sweeps."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One probe of a sweep."""

    values: Mapping[str, Any]
    """Value or label by the axis's name, without the seed."""
    spec: ProbeSpec
    """What to train."""

    @property
    def seed(self) -> int:
        """Of weights and data order."""
        return self.spec.seed

    @cached_property
    def key(self) -> str:
        """Name of the cell's folder: the architecture and a hash of the resolved spec.

        Two cells that train the same have the same name, whatever sweep they are of.
        """
        return cell_key(self.spec)


def cell_key(spec: ProbeSpec) -> str:
    """Return the name under which a probe is kept: architecture and hash of everything resolved."""
    document = json.dumps(spec.resolved(), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(document.encode()).hexdigest()[:_HASH]
    return f"{re.sub(r'[^a-z0-9_.]', '_', spec.arch.lower())}-{digest}"
