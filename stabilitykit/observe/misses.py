"""Sites that could not be read at a step: said once, and dark for good where it goes on."""

from collections.abc import Collection

_PATIENCE = 3
"""Observed steps in a row after which a failing site is no longer watched."""


class Misses:
    """What failed, where, and for how many steps in a row.

    A step at which a site is not called at all says nothing.
    """

    def __init__(self) -> None:
        self.dark: dict[str, str] = {}
        """Why sites are no longer watched."""
        self.told: dict[str, str] = {}
        """Why sites had no reading at some step: the first reason of each."""
        self._now: dict[str, str] = {}
        self._streaks: dict[str, int] = {}

    def note(self, site: str, error: BaseException) -> None:
        """Note that a site could not be read."""
        self._now.setdefault(site, f"{type(error).__name__}: {error}")

    def tell(self, site: str, why: str) -> None:
        """Let it be told why something had no reading, which is no failure of it."""
        self.told.setdefault(site, why)

    def darken(self, site: str, error: BaseException) -> None:
        """Note that a site can never be read."""
        self.dark.setdefault(site, f"{type(error).__name__}: {error}")

    def end(self, seen: Collection[str]) -> None:
        """End a step.

        Args:
            seen: Sites that were read.
        """
        for site, why in self._now.items():
            self.told.setdefault(site, why)
            self._streaks[site] = self._streaks.get(site, 0) + 1
            if self._streaks[site] >= _PATIENCE:
                self.dark.setdefault(site, why)
        for site in seen:
            if site not in self._now:
                self._streaks.pop(site, None)
        self._now.clear()

    def forget(self) -> None:
        """Forget what failed at a step that is not recorded."""
        self._now.clear()
