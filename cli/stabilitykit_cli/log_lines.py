"""Log lines and warnings of the program on stderr, fit for a terminal."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from stabilitykit_cli.printable import printable

_LOGGER = logging.getLogger("stabilitykit")


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # A command may take the lines itself while it trains, and show them as its notes.
        if any(handler is not self for handler in _LOGGER.handlers):
            return
        with suppress(OSError):
            sys.stderr.write(printable(self.format(record)) + "\n")


@contextmanager
def fit_for_terminals() -> Iterator[None]:
    """Write stabilitykit's log lines where nobody else takes them, and all warnings, for a while."""
    handler = None if _LOGGER.hasHandlers() else _Lines(logging.WARNING)
    format_warning = warnings.formatwarning
    if handler is not None:
        _LOGGER.addHandler(handler)
    warnings.formatwarning = lambda *args, **kwargs: printable(format_warning(*args, **kwargs))
    try:
        yield
    finally:
        warnings.formatwarning = format_warning
        if handler is not None:
            _LOGGER.removeHandler(handler)
