"""Tokens, mostly bytes, that need not be in memory, and the two splits of them. No torch."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stabilitykit.errors import DataError

Tokens = NDArray[np.uint8 | np.uint16]
"""The bytes of a text, or the symbols of a synthetic one that has more than 256."""

STRETCH = 1 << 22
"""Tokens that are looked at together where a whole text is gone through."""

_CHUNK = 64 * 1024
_VALIDATION_EVERY = 20
_OPEN_FILES = 64


class Readable(Protocol):
    """Tokens by their place."""

    def __len__(self) -> int:
        """Return how many there are."""

    def read(self, start: int, stop: int) -> Tokens:
        """Return those from ``start`` up to, without, ``stop``; both lie within."""


class MemoryText:
    """A text that is in memory."""

    def __init__(self, values: Tokens) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def read(self, start: int, stop: int) -> Tokens:
        """Return the tokens from ``start`` up to, without, ``stop``."""
        return self._values[start:stop]


class FileText:
    """Files joined by newlines; they stay on disk and are mapped where they are read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Remember the files and their sizes.

        Args:
            paths: At least one; none is empty.

        Raises:
            OSError: A file is not there.
        """
        self._paths = paths
        sizes = [path.stat().st_size for path in paths]
        # Each but the last is followed by a newline.
        self._starts = [0, *accumulate(size + 1 for size in sizes)]
        # Its own: another text of the same path may be of another file.
        self._map = lru_cache(maxsize=_OPEN_FILES)(_mapped)

    def __len__(self) -> int:
        return self._starts[-1] - 1

    def read(self, start: int, stop: int) -> Tokens:
        """Return the bytes from ``start`` up to, without, ``stop``.

        Raises:
            DataError: A file is no longer what it was when the text was made.
        """
        first, last = bisect_right(self._starts, start) - 1, bisect_right(self._starts, stop - 1) - 1
        pieces = [self._piece(i, start, stop) for i in range(first, last + 1)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _piece(self, i: int, start: int, stop: int) -> Tokens:
        begin, end = self._starts[i], self._starts[i + 1] - 1
        try:
            mapped = self._map(self._paths[i])
        except (OSError, ValueError) as error:
            raise DataError(f"{self._paths[i]}: cannot be read any more: {error}") from None
        if len(mapped) != end - begin:
            raise DataError(f"{self._paths[i]}: has changed while it was read")
        piece = mapped[max(start - begin, 0) : min(stop, end) - begin]
        newline = np.full(int(stop > end), ord("\n"), np.uint8)
        return np.concatenate([piece, newline]) if len(newline) else piece


def _mapped(path: Path) -> Tokens:
    return np.memmap(path, dtype=np.uint8, mode="r")


class Split:
    """One of the two splits of a text, read as if it were a text of its own.

    Every 20th chunk is for validation, beginning with the first: a text is not the same all over, and chunks
    from everywhere keep the two splits alike. Chunks are 65,536 tokens, or a 20th of a shorter text.
    """

    def __init__(self, text: Readable, validation: bool) -> None:
        """Say which split of which text.

        Args:
            text: All of it.
            validation: The chunks for validation, or those to train on.
        """
        self._text = text
        self._chunk = max(min(_CHUNK, len(text) // _VALIDATION_EVERY), 2)
        # In every period of 20 chunks the first is for validation, the rest, in one stretch, to train on.
        self._period = self._chunk * _VALIDATION_EVERY
        self._offset, self._run = (
            (0, self._chunk) if validation else (self._chunk, self._period - self._chunk)
        )
        periods, rest = divmod(len(text), self._period)
        self._size = periods * self._run + min(max(rest - self._offset, 0), self._run)

    def __len__(self) -> int:
        return self._size

    @property
    def size(self) -> int:
        """How many tokens the split has."""
        return self._size

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        return self._size * self._text.read(0, 1).itemsize

    def read(self, start: int, stop: int) -> Tokens:
        """Return the split's tokens from ``start`` up to, without, ``stop``, across the chunks left out."""
        pieces: list[Tokens] = [np.empty(0, np.uint8)]
        while start < stop:
            period, within = divmod(start, self._run)
            take = min(stop - start, self._run - within)
            place = period * self._period + self._offset + within
            pieces.append(self._text.read(place, place + take))
            start += take
        return pieces[1] if len(pieces) == 2 else np.concatenate(pieces)


def stretches(text: Readable, overlap: int = 0) -> Iterator[Tokens]:
    """Return a text's tokens in stretches short enough for memory.

    Args:
        text: All of it.
        overlap: How many tokens of the next stretch each one ends with.
    """
    for start in range(0, len(text), STRETCH):
        yield text.read(start, min(start + STRETCH + overlap, len(text)))
