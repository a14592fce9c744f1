"""What a detector is, and the rows of sites that detectors work on."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stabilitykit.detect.state import Stateful
from stabilitykit.records import Finding, StepRecord
from stabilitykit.tags import role_of, select, site_of

Row = NDArray[np.float64]
"""One value a site."""


def log_row(row: Row) -> Row:
    """Return natural logarithms; NaN for what has none: it is an event of its own, not of any baseline."""
    # The ordinary case first, in two passes: NaN makes the smallest value NaN and so fails the comparison.
    if np.minimum.reduce(row) > 0 and np.maximum.reduce(row) < math.inf:
        return np.log(row)
    log = np.full(row.size, math.nan)
    np.log(row, out=log, where=np.isfinite(row) & (row > 0))
    return log


def interleaved(one: Row, other: Row) -> Row:
    """Return two rows as one, in which the values of a site stand side by side and so keep their places."""
    both = np.empty(2 * one.size)
    both[0::2], both[1::2] = one, other
    return both


def widened(row: Row, n_sites: int) -> Row:
    """Return a row with room for sites that have appeared; NaN at those."""
    missing = n_sites - row.size
    return np.concatenate([row, np.full(missing, math.nan)]) if missing else row


class Detector(Stateful, ABC):
    """Consumes step records in order and yields findings.

    A detector is pure and deterministic: its findings depend on the records it was given and on nothing
    else, never on later ones. It never acts and never sees a tensor. What it remembers from record to record
    it names in ``state``, so that a resumed run goes on as if unbroken.
    """

    kind: ClassVar[str]
    """The kind of its findings, one of ``stabilitykit.records.KINDS``."""
    statistics: ClassVar[tuple[str, ...]] = ()
    """Families of tags that it looks at; none where it looks at every reading."""
    quiet: ClassVar[int] = 20
    """Records without a finding after which its incident has ended."""
    direction: ClassVar[int] = 1
    """1 when values above the threshold are out of the band, -1 when values below it are."""

    def __init__(self, **settings: float) -> None:
        self.settings = settings
        """The limits it judges by; kept with the run."""

    def concerns(self, tags: tuple[str, ...]) -> bool:
        """Return whether records with these tags can tell it anything; it is not given others.

        Args:
            tags: What is read at some step.
        """
        return not self.statistics or any(select(tags, name) for name in self.statistics)

    @abstractmethod
    def update(self, record: StepRecord) -> Sequence[Finding]:
        """Return what is out of its band at this step, the first to leave first.

        Args:
            record: The next step's record; steps ascend, and may leave gaps.
        """


_SCHEMAS = 8
"""Tuples of tags whose columns are kept."""


class SiteColumns(Stateful):
    """Where the sites of some statistics stand in a record; follows tags that come and go.

    Sites are numbered in the order in which they first appear, so state kept per site stays aligned.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self._schema: tuple[str, ...] | None = None
        self._columns: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._places: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._complete = False
        """Whether the record at hand holds every site, in the order of their places."""
        self._known: dict[tuple[str, ...], tuple[NDArray[np.intp], NDArray[np.intp], bool]] = {}
        self.tags: list[str] = []
        self._renamed: dict[str, str] = {}

    def role(self, site: str) -> str:
        """Return what a site is in its block, whatever it is called."""
        return role_of(site, self._renamed)

    @property
    def sites(self) -> list[str]:
        """The site of each place."""
        return [site_of(tag) for tag in self.tags]

    def state_dict(self) -> list[str]:
        """Return the tags of sites that have appeared, in the order of their places."""
        return list(self.tags)

    def load_state_dict(self, state: list[str]) -> None:
        """Take up the tags of sites that have appeared, in the order of their places."""
        self._schema, self.tags = None, list(state)
        self._known.clear()

    def row(self, record: StepRecord) -> Row:
        """Return one value a site; NaN where a site was not read, nothing where none was."""
        if record.tags is not self._schema:
            self._renamed.update(record.renamed)
            self._look_up(record.tags)
        if not self._columns.size:
            return np.empty(0)
        if self._complete:
            return record.values[self._columns].astype(np.float64)
        row = np.full(len(self.tags), math.nan)
        row[self._places] = record.values[self._columns]
        return row

    def _look_up(self, tags: tuple[str, ...]) -> None:
        """Find the columns of these tags; some are read at every n-th step only, so two schemas alternate."""
        self._schema = tags
        if tags not in self._known:
            self._find(tags)
        self._columns, self._places, self._complete = self._known[tags]

    def _find(self, tags: tuple[str, ...]) -> None:
        found = [tag for name in self._names for tag in self._select(tags, name)]
        new = [tag for tag in found if tag not in set(self.tags)]
        if new or len(self._known) >= _SCHEMAS:
            # What was complete is so no longer.
            self._known.clear()
        self.tags += new
        columns = np.array([tags.index(tag) for tag in found], dtype=np.intp)
        places = np.array([self.tags.index(tag) for tag in found], dtype=np.intp)
        self._known[tags] = columns, places, found == self.tags

    def _select(self, tags: tuple[str, ...], name: str) -> tuple[str, ...]:
        return select(tags, name)
