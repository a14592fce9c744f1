"""Following logs as they grow, until Ctrl-C or their end."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stabilitykit_cli import consoles
from stabilitykit_cli.logs import AskedFor, Diagnosed, attempt, each_log, refuse_none

if TYPE_CHECKING:
    from stabilitykit.afterwards.follow import Follow, News

_INTERVAL = 1.0
"""Seconds between two looks at growing logs."""


def follow_all(asked: AskedFor, quiet: bool) -> Diagnosed:
    """Follow every log that was asked for until all have ended, or Ctrl-C; incidents are told as they come.

    Args:
        asked: What was typed.
        quiet: Whether stdout is for the verdict alone; incidents are told on stderr then.

    Raises:
        ConfigError: What was typed does not fit the logs.
        StabilityKitError: The only one cannot be read.
    """
    from stabilitykit.afterwards.follow import Follow

    found = Diagnosed()
    settings = asked.settings()
    followed: list[Follow] = []
    try:
        each_log(asked, found, lambda path: followed.append(Follow(path, **settings)))
        teller = _Teller(quiet, several=len(followed) > 1)
        teller.begin(followed)
        while followed:
            news = [(each, each.look()) for each in followed]
            for each, its in news:
                teller.tell(each.path, its)
            if all(its.finished for _, its in news):
                break
            time.sleep(_INTERVAL)
    except KeyboardInterrupt:
        found.interrupted = True
    alone = len(followed) == 1
    for each in followed:
        attempt(each.path, found, partial(_end, each, found), asked.debug, may_be_none=not alone, alone=alone)
    refuse_none(asked, found)
    return found


def _end(followed: "Follow", found: Diagnosed) -> None:
    found.runs.append((followed.path, followed.end()))


class _Teller:
    """Tells what becomes known of growing logs, each as it comes."""

    def __init__(self, quiet: bool, several: bool) -> None:
        self._quiet, self._several = quiet, several
        self._waiting: dict[Path, str] = {}

    def begin(self, followed: "list[Follow]") -> None:
        """Say what is followed, and how to end it."""
        names = ", ".join(str(each.path) for each in followed)
        consoles.progress().print(
            f"following {names} (Ctrl-C ends with the verdict)", markup=False, soft_wrap=True
        )

    def tell(self, path: Path, news: "News") -> None:
        """Say what came of one look at a log."""
        from stabilitykit_cli.render import change_line

        if news.anew is not None:
            consoles.progress().print(
                f"{path}: {news.anew}; judged anew from its beginning", markup=False, soft_wrap=True
            )
        if news.waiting is not None and self._waiting.get(path) != news.waiting:
            self._waiting[path] = news.waiting
            consoles.progress().print(f"waiting: {news.waiting}", markup=False, soft_wrap=True)
        for change in news.changes:
            if change.what == "updated":
                continue
            line = change_line(change, str(path) if self._several else "")
            if self._quiet:
                consoles.progress().print(line, soft_wrap=True)
            else:
                consoles.show(line, whole_lines=True)
