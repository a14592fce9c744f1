"""Text as bytes: read, split and measured. No torch."""

import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stabilitykit.errors import DataError

_CHUNK = 64 * 1024
_VALIDATION_EVERY = 20
_COUNTED_AT_ONCE = 1 << 22

_LEFT_OUT = frozenset(
    [
        *("test", "tests", "idlelib", "idle_test", "lib2to3", "ensurepip", "turtledemo"),
        *("site-packages", "dist-packages", "lib-dynload", "__pycache__"),
    ]
)
"""Folders that some distributions move elsewhere, or that hold tests and other people's code."""
_LEFT_OUT_PREFIXES = ("config-", "_sysconfigdata")
"""What differs with how the interpreter was built."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text read as bytes and split, with the statistics of its training split."""

    name: str
    sha256: str
    """Of the whole text, before the split."""
    train: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    unigram_entropy: float
    """H(x) of a byte, in nats: where a run parks that has learnt nothing but frequencies."""
    bigram_entropy: float
    """H(x′|x) of a byte given the one before it, in nats; biased low in texts below some 100 kB."""
    unigram: NDArray[np.float64]
    """Probabilities of the 256 bytes. One count spread evenly over all of them is added to what was counted,
    so that a byte never seen costs much but not infinity."""

    def require(self, batch_size: int, seq_len: int) -> None:
        """Refuse a corpus that is too short for one batch.

        Args:
            batch_size: Sequences in a batch.
            seq_len: Predicted tokens of a sequence; each needs one byte more to start from.

        Raises:
            DataError: The training split is no longer than that.
        """
        needed = batch_size * (seq_len + 1)
        if len(self.train) <= needed:
            raise DataError(
                f"{self.name}: {len(self.train):,} bytes to train on; a batch of {batch_size} sequences of "
                f"{seq_len} needs more than {needed:,}"
            )


def read_corpus(path: Path | None = None) -> Corpus:
    """Return the corpus of a text file, or of the standard library's sources when no file is given.

    Args:
        path: A UTF-8 text file.

    Raises:
        DataError: There is no such text; the line says what was found instead.
    """
    if path is None:
        return build_corpus(f"python-{platform.python_version()}-stdlib", _standard_library())
    return build_corpus(str(path), _text_file(path))


def build_corpus(name: str, text: bytes) -> Corpus:
    """Return a text split and measured.

    Every 20th chunk is for validation: a text is not the same all over, and chunks from everywhere keep the
    two splits alike. Chunks are 64 KiB, or a 20th of a shorter text.

    Args:
        name: What messages call the corpus.
        text: All of it.
    """
    values = np.frombuffer(text, dtype=np.uint8)
    train, validation = _split(values)
    pairs = _pair_counts(train)
    singles = np.bincount(train, minlength=256).astype(np.float64)
    return Corpus(
        name=name,
        sha256=hashlib.sha256(text).hexdigest(),
        train=train,
        validation=validation,
        unigram_entropy=_entropy(singles),
        bigram_entropy=_entropy(pairs.ravel()) - _entropy(pairs.sum(axis=1)),
        unigram=(singles + 1 / 256) / (singles.sum() + 1),
    )


def _split(values: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    size = max(min(_CHUNK, len(values) // _VALIDATION_EVERY), 2)
    chunks = [values[start : start + size] for start in range(0, len(values), size)]
    validation = chunks[::_VALIDATION_EVERY]
    train = [chunk for i, chunk in enumerate(chunks) if i % _VALIDATION_EVERY]
    return _joined(train), _joined(validation)


def _joined(chunks: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    whole = np.concatenate([np.empty(0, np.uint8), *chunks])
    whole.setflags(write=False)
    return whole


def _pair_counts(values: NDArray[np.uint8]) -> NDArray[np.float64]:
    counts = np.zeros(256 * 256, dtype=np.int64)
    # In stretches: the index of a pair takes eight times the space of a byte.
    for start in range(0, len(values) - 1, _COUNTED_AT_ONCE):
        stretch = values[start : start + _COUNTED_AT_ONCE + 1].astype(np.int64)
        counts += np.bincount(stretch[:-1] * 256 + stretch[1:], minlength=256 * 256)
    return counts.reshape(256, 256).astype(np.float64)


def _entropy(counts: NDArray[np.float64]) -> float:
    seen = counts[counts > 0]
    shares = seen / seen.sum()
    return float(-(shares * np.log(shares)).sum())


def _text_file(path: Path) -> bytes:
    try:
        # A pipe or a device may never end.
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is {_what(path)}; a text file is needed")
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; a text file is needed") from error
    _refuse_what_is_no_text(path, text)
    return text


def _what(path: Path) -> str:
    return "a directory" if path.is_dir() else "not a regular file"


def _refuse_what_is_no_text(path: Path, text: bytes) -> None:
    if not text:
        raise DataError(f"{path}: is empty; a text file is needed")
    if (at := text.find(b"\0")) >= 0:
        raise DataError(f"{path}: binary, a NUL byte at offset {at:,}; a text file is needed")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        found = f"byte 0x{text[error.start]:02x} at offset {error.start:,} is not valid UTF-8"
        raise DataError(f"{path}: {found}; a UTF-8 text file is needed") from None


def _standard_library() -> bytes:
    root = Path(sysconfig.get_path("stdlib"))
    sources = sorted(_sources(root), key=Path.as_posix)
    if not sources:
        raise DataError(
            f"{root}: this Python comes without its library's sources; set data.path to a text file"
        )
    try:
        return b"\n".join(path.read_bytes().replace(b"\r\n", b"\n") for path in sources)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}; set data.path") from error


def _sources(root: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(root):
        # In place, which is how a walk is kept out of a folder: site-packages may be vast.
        subfolders[:] = filter(_is_kept, subfolders)
        yield from (Path(folder, name) for name in files if name.endswith(".py") and _is_kept(name))


def _is_kept(name: str) -> bool:
    return name not in _LEFT_OUT and not name.startswith(_LEFT_OUT_PREFIXES)
