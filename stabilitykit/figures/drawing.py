"""Figures of matplotlib as files: the same bytes for the same data, whatever the user's own settings are."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure

_SETTINGS: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9a9a9a",
    "xtick.color": "#6e6e6e",
    "ytick.color": "#6e6e6e",
    "xtick.labelcolor": "#262626",
    "ytick.labelcolor": "#262626",
    "axes.formatter.useoffset": False,
    "text.parse_math": False,
    "svg.hashsalt": "stabilitykit",
    "svg.fonttype": "none",
    "savefig.dpi": 150,
}
_METADATA = {
    "svg": {"Date": None, "Creator": "stabilitykit"},
    "pdf": {"CreationDate": None, "Creator": "stabilitykit"},
    "png": {"Software": "stabilitykit"},
}


@contextmanager
def settings() -> Iterator[None]:
    """Draw with our own settings inside; whoever draws beside us keeps theirs."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        # A name in letters that the font lacks shows boxes; it is not worth a warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that lays itself out; call it under ``settings``.

    Args:
        width: Inches.
        height: Inches.
    """
    figure = Figure(figsize=(width, height))
    # A share of the figure as room between panels would be much of a high one.
    figure.set_layout_engine("constrained", hspace=0, h_pad=0.06)
    return figure


def files(figure: Figure, formats: Sequence[str]) -> dict[str, bytes]:
    """Return a figure as the bytes of several files, laid out once; call it under ``settings``.

    Args:
        figure: What to save.
        formats: Each ``png``, ``svg`` or ``pdf``.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return {format: file_bytes(figure, format) for format in formats}


def file_bytes(figure: Figure, format: str) -> bytes:
    """Return a figure as the bytes of a file; call it under ``settings``.

    Args:
        figure: What to save.
        format: ``png``, ``svg`` or ``pdf``.
    """
    file = io.BytesIO()
    figure.savefig(file, format=format, metadata=_METADATA[format])
    return file.getvalue()
