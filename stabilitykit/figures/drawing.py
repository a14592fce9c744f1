"""Figures of matplotlib as files: the same bytes for the same data, whatever the user's own settings are."""

import io
import warnings
from collections.abc import Iterator
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


def file_bytes(figure: Figure, format: str) -> bytes:
    """Return a figure as the bytes of a file; call it under ``settings``.

    Args:
        figure: What to save.
        format: ``png``, ``svg`` or ``pdf``.
    """
    file = io.BytesIO()
    figure.savefig(file, format=format, metadata=_METADATA[format])
    return file.getvalue()
