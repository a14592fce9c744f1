"""What sort of log a file is, by how it begins; its name only where that leaves it open."""

import re
from itertools import islice
from pathlib import Path
from typing import Literal

from stabilitykit.store.logs.columns import NoLossError
from stabilitykit.store.logs.csv import cells_of, delimiter_of
from stabilitykit.store.logs.lines import encoding_of
from stabilitykit.store.logs.numbers import number
from stabilitykit.store.logs.objects import parsed
from stabilitykit.store.logs.phrases import FIRST, numbers_in, without_colours

LogFormat = Literal["csv", "jsonl", "trainer_state", "json", "notebook", "text", "tensorboard"]

HEAD = 2**16
"""Bytes a file is recognised by."""
_LINES = 20
_CONTROL = re.compile(r"[\0-\x07\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_SERIES = re.compile(r"\[\s*(?:\[\s*)?(?:-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|NaN|null)\s*[,\]]")
"""How an array of numbers begins, or of rows of numbers; a text's line may begin with a bracket, too."""
_BEGINS_OBJECT = re.compile(r"\{\s*\"[^\"\n]{0,200}\"\s*:")
_COLUMN = re.compile(r"\"\s*:\s*\[\s*(?:[-+]?\d|NaN|null)")
"""A list of numbers behind a key."""
_LOSS_BESIDE = re.compile(r"loss\"\s*:\s*[-+\"]?\d", re.IGNORECASE)
"""A loss that is one number: a row, with lists of other things in it."""
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4")


def suffix_of(path: Path) -> str:
    """Return a log's suffix in lower case, without that of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def recognise(path: Path, head: bytes) -> LogFormat:
    """Return a log's format.

    Args:
        path: The log, for its name.
        head: Its first bytes, decompressed.

    Raises:
        NoLossError: It is neither text nor an event file.
    """
    if _holds_events(path, head):
        return "tensorboard"
    text = without_colours(head.decode(encoding_of(head), errors="replace").lstrip("\ufeff"))
    if head and _is_binary(text):
        raise NoLossError(f"neither text nor a TensorBoard event file; it begins with {head[:8]!r}")
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        # The last one may be cut.
        lines.pop()
    if _holds_history(text):
        return "trainer_state"
    if _is_notebook(text):
        return "notebook"
    if _holds_series(text):
        return "json"
    if _holds_objects(lines):
        return "jsonl"
    if suffix_of(path) in (".csv", ".tsv") or _holds_table(lines):
        return "csv"
    return "text"


def _is_binary(text: str) -> bool:
    """Return whether too much of it is no character; a crash may leave zeros at a log's end."""
    text = text.rstrip("\0")
    return len(_CONTROL.findall(text)) * 20 >= len(text)


def _holds_events(path: Path, head: bytes) -> bool:
    if "tfevents" in path.name:
        return True
    if head[4:8] != b"\0\0\0\0":
        return False
    # Imported here: tensorboard's protobufs are needed for event files only.
    from stabilitykit.store.event_stream import begins_as_events

    return begins_as_events(head)


def _holds_history(text: str) -> bool:
    start = text.lstrip()
    if start.startswith("{"):
        first = parsed(start.partition("\n")[0])
        return "log_history" in first if first is not None else '"log_history"' in start
    return start.startswith("[") and start[1:].lstrip().startswith("{")


def _is_notebook(text: str) -> bool:
    return text.lstrip().startswith("{") and '"cell_type"' in text and '"cells"' in text


def _holds_series(text: str) -> bool:
    """Return whether it is one JSON document, and not an object a line."""
    start = text.strip()
    if start.startswith("["):
        return _SERIES.match(start) is not None
    if not start.startswith("{"):
        return False
    first, _, rest = start.partition("\n")
    if rest.strip():
        # The first of many lines is a whole object where each is.
        return parsed(first) is None and _BEGINS_OBJECT.match(start) is not None
    return _COLUMN.search(start) is not None and _LOSS_BESIDE.search(start) is None


def _holds_objects(lines: list[str]) -> bool:
    first = lines[:_LINES]
    if len(first) == 1 and first[0].lstrip().startswith('{"'):
        # One line longer than what was read.
        return True
    return 2 * sum(parsed(line) is not None for line in first) > len(first)


def _holds_table(lines: list[str]) -> bool:
    rows = list(islice((line for line in lines if not line.startswith("#")), _LINES))
    if len(rows) < 2:
        return False
    if numbers_in(rows[0]).keys() - {FIRST}:
        # A header has no "step 10" in it.
        return False
    delimiter = delimiter_of(rows[0])
    header, *table = [cells_of(row, delimiter) for row in rows]
    numeric = [sum(map(_is_number, cells)) for cells in table if len(cells) == len(header)]
    if delimiter == " " or len(header) == 1:
        # Words are parted by blanks, too: a line of a text log may have as many as the line before.
        names = sum(map(_is_number, header))
        return numeric.count(len(header)) == len(table) and names in (0, len(header))
    # Not all of them: a header may stand again where a run was taken up.
    return 2 * sum(2 * n >= len(header) for n in numeric) >= len(table)


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True
