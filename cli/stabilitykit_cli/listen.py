"""Who listens to a running probe: the live view on a terminal, plain lines anywhere else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from stabilitykit_cli.consoles import can_redraw

if TYPE_CHECKING:
    from stabilitykit.live.listener import Listener


@contextmanager
def listener_for(arch: str, console: Console) -> "Iterator[Listener]":
    """Yield the listener that suits stderr, and leave the terminal as it was found.

    Args:
        arch: What is about to be trained, to be named while the libraries load.
        console: Where progress goes.
    """
    if can_redraw(console):
        from stabilitykit_cli.live import LiveListener

        with LiveListener(console, arch) as live:
            yield live
    else:
        from stabilitykit_cli.plain import PlainListener

        yield PlainListener(console.file)
