"""Files that hold what ``stabilitykit cost --json`` printed."""

import json
from pathlib import Path
from typing import Any

from stabilitykit.errors import DataError
from stabilitykit.lab.cost.document import CostDocument
from stabilitykit.store.disk import reason

_MARKS = ("operations", "classes", "passes")
"""Fields by which a document is known."""
_LARGEST = 64_000_000
"""Bytes; a document of many variants has less than one million."""


def is_cost_document(path: Path) -> bool:
    """Return whether a file is what ``cost --json`` printed, by what is in it.

    Args:
        path: Any path.
    """
    document = _json(path)
    return isinstance(document, dict) and all(mark in document for mark in _MARKS)


def read_cost(path: Path) -> CostDocument:
    """Return a document.

    Args:
        path: A file that ``is_cost_document`` knows.

    Raises:
        DataError: It cannot be read, or has another shape; names the field.
    """
    try:
        return CostDocument.from_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _json(path: Path) -> Any:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        with path.open("rb") as file:
            if not file.read(64).lstrip().startswith(b"{"):
                return None
            file.seek(0)
            return json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None
