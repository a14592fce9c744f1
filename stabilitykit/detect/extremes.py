"""What the largest of many sites reaches while nothing happens, and the limit that this leaves to each."""

from collections import deque
from typing import ClassVar

from stabilitykit.detect.state import Stateful


class Extremes(Stateful):
    """Calibrates the maximum over sites by the run's own history of it.

    Each site has a limit of its own, and its score is 1 there. Of many sites one is beyond its limit sooner
    or later by chance: how soon depends on their number, on the tails of their noise and on how far they
    move together. None of it is known, but the run shows it: past records are cut into blocks, and the
    largest score ``B`` of each block is kept. The limit of the maximum is

        max(1, m + stretch · (b − m)),    m the median of B, b its ``rank``-th largest,

    an extrapolation of the quantile function from 1/2 to beyond 1 − rank/blocks. For tails that fall off as
    a power, whose maxima scale with the number of sites, it scales as they do; for light tails it stays
    near them. It needs no distribution of the noise: among exchangeable records one is larger than the
    r-th largest of n others with probability r/(n + 1), whatever the distribution. Since b is not the largest
    of a full history, an event or two raise nothing; what goes on happening becomes the usual.

    The newest blocks are left out, so that what has just begun does not raise its own limit.

    Args:
        block: Records in a block; levels that move slowly need long ones, since neighbours are alike.
        blocks: Blocks that are remembered.
        spare: Of so many blocks one more may hold an event: the rank is 1 + blocks // spare.
        stretch: How far beyond b the limit lies.
        fresh: Newest blocks that do not count yet.
        before: The limit while fewer than ``FEWEST`` blocks count.
    """

    FEWEST = 4

    state: ClassVar[tuple[str, ...]] = ("maxima", "largest", "records")

    def __init__(
        self, block: int, blocks: int, spare: int, stretch: float, before: float, fresh: int = 1
    ) -> None:
        self._block, self._spare, self._stretch, self._before = block, spare, stretch, before
        self._fresh = fresh
        self._maxima: deque[float] = deque(maxlen=blocks + fresh)
        self._largest = 0.0
        self._records = 0
        self.limit = before
        """The score beyond which the largest one of this record is out of the ordinary."""

    def push(self, score: float) -> None:
        """Take the largest score of a record; one that is not a number counts as none."""
        # Written so that NaN loses.
        if score > self._largest:
            self._largest = score
        self._records += 1
        if self._records < self._block:
            return
        self._maxima.append(self._largest)
        self._largest, self._records = 0.0, 0
        self.limit = self._limit()

    def restored(self) -> None:
        """Work out the limit that the blocks which were taken up leave."""
        self.limit = self._limit()

    def _limit(self) -> float:
        ordered = sorted(list(self._maxima)[: -self._fresh])
        n = len(ordered)
        if n < self.FEWEST:
            return self._before
        middle, rank = ordered[(n - 1) // 2], 1 + n // self._spare
        return max(1.0, middle + self._stretch * (ordered[-rank] - middle))
