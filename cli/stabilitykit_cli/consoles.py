"""The two streams: results on stdout, progress on stderr."""

import errno
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType

if TYPE_CHECKING:
    from rich.progress import Progress

MAX_WIDTH = 110
"""Columns used at most: longer lines are hard to read."""
FILE_WIDTH = 100
"""Columns of results that go to a file or a pipe."""
PATIENCE = 1.0
"""Seconds of work after which its progress is shown."""


class StreamConsole(Console):
    """A console that lets its caller know when the reader has gone, where rich would end the process."""

    def on_broken_pipe(self) -> None:
        """Raise what the write raised.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def show(renderable: RenderableType, whole_lines: bool = False) -> None:
    """Print a result on stdout, in colour on a terminal only.

    Args:
        renderable: What to print.
        whole_lines: Whether lines are left as long as they are, so that a command can be copied.
    """
    console = StreamConsole(highlight=False)
    if console.is_terminal:
        console.width = min(console.width, MAX_WIDTH)
    elif "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    with console.capture() as captured:
        console.print(renderable, soft_wrap=whole_lines)
    # Tables fill their cells with blanks, which nobody wants in a file.
    lines = [line.rstrip() for line in captured.get().splitlines()]
    sys.stdout.write("\n".join(lines) + "\n")


def show_lines(lines: Iterable[str]) -> None:
    """Write plain lines to stdout as they are, for those who cut them up."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def progress() -> Console:
    """Return the console of progress, on stderr."""
    return StreamConsole(stderr=True, highlight=False)


def can_redraw(console: Console) -> bool:
    """Return whether stderr is a terminal on which lines can be drawn again."""
    # Rich calls a file a terminal when FORCE_COLOR is set; a file must get no control codes.
    return sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal


def never_fail_on_characters() -> None:
    """Let both streams replace characters that their encoding lacks, where they would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that takes how many of how many are done, and shows it where that takes long.

    Args:
        what: What is being done.
    """
    console, began = progress(), time.monotonic()
    bar: Progress | None = None

    def told(done: int, of: int) -> None:
        nonlocal bar
        if bar is None and time.monotonic() - began > PATIENCE:
            from rich.progress import Progress

            bar = Progress(console=console, transient=True, disable=not can_redraw(console))
            bar.add_task(what, total=of)
            bar.start()
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done, total=of)

    try:
        yield told
    finally:
        if bar is not None:
            bar.stop()
