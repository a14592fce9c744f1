"""How a command ends: the exit statuses that scripts rely on, and one line instead of a traceback."""

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import ParamSpec

import typer

from stabilitykit.errors import ConfigError, StabilityKitError
from stabilitykit_cli import consoles, signals
from stabilitykit_cli.printable import printable

OK = 0
"""The command did its work."""
FAILED = 1
"""It could not: data, disk, folder."""
USAGE = 2
"""What was typed, or stands in a recipe, is wrong."""
UNSTABLE = 3
"""``--fail-on unstable`` was given and a verdict is not ``stable``."""
INTERRUPTED = 130
"""Ctrl-C, after writing what there is."""
TERMINATED = 143
"""SIGTERM, after writing what there is; 129 where the terminal was closed (SIGHUP)."""
READER_GONE = 141
"""Whoever read stdout closed it: what a shell shows for any program that SIGPIPE ends."""

_LONGEST = 2_000
"""Characters of an error's line."""

debug_everywhere: ContextVar[bool] = ContextVar("debug_everywhere", default=False)
"""Whether ``--debug`` stood before the command's name."""

_P = ParamSpec("_P")


def guarded(command: Callable[_P, int]) -> Callable[_P, None]:
    """Return the command of a status-returning function: errors become one line on stderr.

    Args:
        command: The body of a command; returns its exit status and may take ``debug``.

    Returns:
        A function with the same signature for typer to register. It always ends in ``typer.Exit``; with
        ``--debug``, an error's traceback precedes its line.
    """

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        debug = bool(kwargs.get("debug")) or debug_everywhere.get()
        try:
            status = command(*args, **kwargs)
            sys.stdout.flush()
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            status = interrupted()
        except BrokenPipeError:
            _abandon_stdout()
            status = READER_GONE
        except Exception as error:
            status = report(error, debug)
        raise typer.Exit(status)

    return run


def interrupted(number: int | None = None) -> int:
    """Return the status of a command that was interrupted, after it has written what there is.

    Args:
        number: The signal that did it, where the command itself was told; else that which the process got.
    """
    return 128 + number if number is not None else signals.status()


def report(error: Exception, debug: bool = False) -> int:
    """Write an error's line to stderr, with its traceback before it where asked, and return the exit status.

    Args:
        error: What ended the command.
        debug: Whether the traceback is wanted.
    """
    if debug:
        with contextlib.suppress(OSError):
            sys.stderr.write(printable("".join(traceback.format_exception(error))))
    if isinstance(error, OSError) and not isinstance(error, StabilityKitError):
        # The interpreter's own flush at exit would fail once more, with a traceback.
        _abandon_stdout()
    complain(_describe(error, debug))
    return USAGE if isinstance(error, ConfigError) else FAILED


def complain(message: str) -> None:
    """Write one ``error: …`` line to stderr; line breaks inside the message become spaces."""
    line = " ".join(message.split())
    consoles.tell(f"error: {line if len(line) <= _LONGEST else line[:_LONGEST] + ' …'}")


def stability_status(outcomes: Iterable[str], fail_on: str | None) -> int:
    """Return ``UNSTABLE`` when that was asked for and an outcome is not ``stable``, else ``OK``."""
    unstable = any(outcome != "stable" for outcome in outcomes)
    return UNSTABLE if fail_on == "unstable" and unstable else OK


def _describe(error: Exception, debug: bool) -> str:
    if isinstance(error, StabilityKitError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    hint = "" if debug else " (unexpected; --debug shows where)"
    return f"{type(error).__name__}: {error}{hint}"


def _abandon_stdout() -> None:
    # With stdout on the null device, the flush at interpreter exit is silent.
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
