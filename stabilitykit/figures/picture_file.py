"""Pictures of runs as files, by the ending of their name."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from stabilitykit.errors import ConfigError, MissingExtraError
from stabilitykit.figures.run_picture import RunPicture

FORMATS = ("png", "svg", "pdf", "html")
"""Endings that a picture's file may have."""


def picture_writer(path: Path) -> Callable[[Sequence[RunPicture]], bytes]:
    """Return what makes the contents of a file; asked before a long read, so that a mistake is told at once.

    Args:
        path: The file; its ending says what it becomes.

    Raises:
        ConfigError: The ending says nothing that can be made.
        MissingExtraError: It takes matplotlib, which is not installed.
    """
    format = path.suffix.lower().removeprefix(".")
    if format not in FORMATS:
        accepted = ", ".join(f".{each}" for each in FORMATS)
        raise ConfigError(f"picture: got {str(path)!r}; accepted endings: {accepted}")
    if format == "html":
        return _page
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            f"{path}: a picture as .{format} needs matplotlib: pip install 'stabilitykit[report]';"
            " a page (.html) does not"
        )
    return lambda runs: _figure(runs, format)


# Imported when used: matplotlib takes most of a second, the page's templates some of it.
def _page(runs: Sequence[RunPicture]) -> bytes:
    from stabilitykit.figures.page import run_page

    return run_page(runs).encode(errors="replace")


def _figure(runs: Sequence[RunPicture], format: str) -> bytes:
    from stabilitykit.figures.run_figure import run_file

    return run_file(runs, format)
