"""Going through the logs that were asked for."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stabilitykit.errors import ConfigError, DataError, StabilityKitError
from stabilitykit_cli import consoles, exits
from stabilitykit_cli.parallel import MANY, read_many

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from stabilitykit.afterwards.replay import Format, Replay


@dataclass(frozen=True, slots=True)
class AskedFor:
    """What was typed."""

    paths: tuple[Path, ...]
    format: "Format" = "auto"
    loss: str | None = None
    step: str | None = None
    grad_norm: str | None = None
    lr: str | None = None
    debug: bool = False

    def settings(self) -> dict[str, Any]:
        """Return how each log shall be read."""
        from stabilitykit.afterwards.replay import ColumnNames

        return {
            "format": self.format,
            "names": ColumnNames(self.loss, self.step, self.grad_norm, self.lr),
        }


@dataclass(slots=True)
class Diagnosed:
    """What came of it."""

    runs: "list[tuple[Path, Replay]]" = field(default_factory=list)
    failures: dict[Path, StabilityKitError] = field(default_factory=dict)
    passed_over: list[Path] = field(default_factory=list)
    """What is below a folder and has no training loss."""
    asked: int = 1
    """How many paths were typed."""
    interrupted: bool = False

    @property
    def several(self) -> bool:
        """Whether there is more than one run to tell of."""
        return self.asked > 1 or len(self.runs) + len(self.failures) > 1


def read_all(asked: AskedFor, quiet: bool = False) -> Diagnosed:
    """Diagnose every log that was asked for; many of them on all cores.

    Args:
        asked: What was typed.
        quiet: Whether no progress shall be shown.

    Raises:
        ConfigError: What was typed does not fit the logs.
        StabilityKitError: The only one cannot be read.
    """
    found = Diagnosed(asked=len(asked.paths))
    logs = list(_logs(asked.paths, found.passed_over))
    try:
        if len(logs) < MANY:
            _read_in_turn(asked, logs, found, quiet)
        else:
            _read_at_once(asked, logs, found, quiet)
    except KeyboardInterrupt:
        found.interrupted = True
    refuse_none(asked, found)
    return found


def _read_in_turn(asked: AskedFor, logs: list[tuple[Path, bool]], found: Diagnosed, quiet: bool) -> None:
    from stabilitykit.afterwards.replay import replay

    settings = asked.settings()
    with _ReadingProgress(quiet) as progress:

        def judge(path: Path) -> None:
            progress.about(path)
            found.runs.append((path, replay(path, **settings, on_progress=progress.share)))

        for path, may_be_none in logs:
            attempt(path, found, partial(judge, path), asked.debug, may_be_none, alone=len(logs) == 1)


def _read_at_once(asked: AskedFor, logs: list[tuple[Path, bool]], found: Diagnosed, quiet: bool) -> None:
    with consoles.counting(f"reading {len(logs)} logs", quiet) as told:
        results = read_many([path for path, _ in logs], asked.settings())
        for number, ((path, may_be_none), result) in enumerate(zip(logs, results, strict=True), start=1):
            attempt(path, found, partial(_take, path, result, found), asked.debug, may_be_none)
            told(number, len(logs))


def _take(path: Path, result: "Replay | StabilityKitError", found: Diagnosed) -> None:
    if isinstance(result, StabilityKitError):
        raise result
    found.runs.append((path, result))


def each_log(asked: AskedFor, found: Diagnosed, use: Callable[[Path], None]) -> None:
    """Use every log; with several, what is wrong with one leaves the others their verdicts.

    Args:
        asked: What was typed.
        found: Where it is kept what came of it.
        use: What is done with a log.

    Raises:
        DataError: There is none.
        StabilityKitError: Something is wrong with the only one.
    """
    logs = list(_logs(asked.paths, found.passed_over))
    found.asked = len(asked.paths)
    for path, may_be_none in logs:
        attempt(path, found, partial(use, path), asked.debug, may_be_none, alone=len(logs) == 1)


def refuse_none(asked: AskedFor, found: Diagnosed) -> None:
    """Refuse what turned out to hold no log at all.

    Raises:
        DataError: Everything was passed over.
    """
    if found.passed_over and not found.runs and not found.failures and not found.interrupted:
        raise DataError(f"{asked.paths[0]}: not a run's folder, and no log with a loss is in it or below it")


def attempt(
    path: Path,
    found: Diagnosed,
    use: Callable[[], None],
    debug: bool,
    may_be_none: bool = False,
    alone: bool = False,
) -> None:
    """Do something with a log, and keep what is wrong with it.

    Args:
        path: The log.
        found: Where it is kept.
        use: What is done.
        debug: Whether an error's traceback is wanted.
        may_be_none: Whether it may turn out to be no log at all.
        alone: Whether it is the only one, so that an error ends the command.

    Raises:
        ConfigError: What was typed does not fit the log.
        StabilityKitError: Something is wrong with the only one.
    """
    from stabilitykit.store import NoLossError

    try:
        use()
    except ConfigError:
        raise
    except StabilityKitError as error:
        if may_be_none and isinstance(error, NoLossError):
            found.passed_over.append(path)
        elif alone:
            raise
        else:
            found.failures[path] = error
            exits.report(error, debug)


def _logs(paths: tuple[Path, ...], passed_over: list[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield every log, and whether it may turn out to be none."""
    from stabilitykit.store import find_logs

    for path in paths:
        found = find_logs(path)
        if not found.complete:
            exits.complain(f"{path}: too many files; logs that come late were not looked for")
        passed_over += found.of_validation
        sure = set(found.sure)
        yield from ((log, log not in sure) for log in found.paths)
        if not found.paths:
            raise DataError(f"{path}: not a run's folder, and no log is in it or below it")


class _ReadingProgress:
    """A bar on stderr while a log is read, where there is a terminal and it takes long."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._console = consoles.progress()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._name = ""
        self._began = time.monotonic()

    def __enter__(self) -> "_ReadingProgress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def about(self, path: Path) -> None:
        """Say which log is read now."""
        self._name = path.name
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=self._name, completed=0.0)

    def share(self, share: float) -> None:
        """Say how much of it was read."""
        is_due = time.monotonic() - self._began > consoles.PATIENCE
        if self._bar is None and is_due and not self._quiet:
            self._bar = consoles.progress_bar(self._console)
            self._task = self._bar.add_task(self._name, total=1.0)
            self._bar.start()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=share)
