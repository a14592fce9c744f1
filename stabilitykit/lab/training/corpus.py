"""Text as tokens, mostly bytes: read, split and measured. No torch."""

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stabilitykit.errors import DataError
from stabilitykit.lab.training.config import SUFFIXES, DataConfig, SyntheticConfig
from stabilitykit.lab.training.sources import file_text, folder_text, standard_library
from stabilitykit.lab.training.synthetic import exact_entropies, symbol_probabilities, synthetic_text
from stabilitykit.lab.training.text import MemoryText, Readable, Split, stretches

_BYTES = 256


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text read as bytes and split, with the statistics of its training split.

    Those of a synthetic text are its distribution's, which are exact; its symbols stand in for bytes.
    """

    name: str
    sha256: str
    """Of the whole text, before the split."""
    train: Split
    validation: Split
    unigram_entropy: float
    """H(x) of a byte, in nats: where a run parks that has learnt nothing but frequencies."""
    bigram_entropy: float
    """H(x′|x) of a byte given the one before it, in nats; biased low in texts below some 100 kB."""
    unigram: NDArray[np.float64]
    """Probabilities of the 256 bytes, or of the symbols where there are more. One count spread evenly over
    all of them is added to what was counted, so that a token never seen costs much but not infinity."""

    @property
    def unit(self) -> str:
        """What a token is: a byte, or a symbol where there are more than bytes."""
        return "byte" if len(self.unigram) == _BYTES else "symbol"

    def require(self, batch_size: int, seq_len: int) -> None:
        """Refuse a corpus that is too short for one batch.

        Args:
            batch_size: Sequences in a batch.
            seq_len: Predicted tokens of a sequence; each needs one token more to start from.

        Raises:
            DataError: The training split is no longer than that.
        """
        needed = batch_size * (seq_len + 1)
        if len(self.train) <= needed:
            raise DataError(
                f"{self.name}: {len(self.train):,} {self.unit}s to train on; a batch of {batch_size} "
                f"sequences of {seq_len} needs more than {needed:,}"
            )


def load_corpus(config: DataConfig) -> Corpus:
    """Return the corpus that a configuration asks for.

    Args:
        config: Where the text comes from.

    Raises:
        DataError: There is no such text; the line says what was found instead.
    """
    if config.kind == "synthetic":
        return synthetic_corpus(config.synthetic)
    return read_corpus(config.path, config.suffixes)


def read_corpus(path: Path | None = None, suffixes: tuple[str, ...] = SUFFIXES) -> Corpus:
    """Return the corpus of a file or a folder, or of the standard library's sources when none is given.

    Files stay on disk, whatever their size: they are gone through once, and mapped where they are read.

    Args:
        path: A UTF-8 text file, or a folder of them.
        suffixes: How the names of a folder's text files end.

    Raises:
        DataError: There is no such text; the line says what was found instead.
    """
    if path is None:
        return _measured(f"python-{platform.python_version()}-stdlib", standard_library())
    return _measured(str(path), folder_text(path, suffixes) if _is_folder(path) else file_text(path))


def synthetic_corpus(config: SyntheticConfig) -> Corpus:
    """Return the synthetic corpus, with the exact entropies and symbol probabilities of its distribution.

    Args:
        config: Sizes and probabilities.
    """
    text = synthetic_text(config)
    train = Split(text, validation=False)
    unigram_entropy, bigram_entropy = exact_entropies(config)
    return Corpus(
        name="synthetic",
        sha256=_sha256(text),
        train=train,
        validation=Split(text, validation=True),
        unigram_entropy=unigram_entropy,
        bigram_entropy=bigram_entropy,
        unigram=_smoothed(symbol_probabilities(config) * train.size),
    )


def build_corpus(name: str, text: bytes) -> Corpus:
    """Return a text split and measured.

    Args:
        name: What messages call the corpus.
        text: All of it.
    """
    return _measured(name, MemoryText(np.frombuffer(text, dtype=np.uint8)))


def _measured(name: str, text: Readable) -> Corpus:
    train = Split(text, validation=False)
    pairs, singles = _counts(train)
    return Corpus(
        name=name,
        sha256=_sha256(text),
        train=train,
        validation=Split(text, validation=True),
        unigram_entropy=_entropy(singles),
        bigram_entropy=_entropy(pairs.ravel()) - _entropy(pairs.sum(axis=1)),
        unigram=_smoothed(singles),
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror}; a text file or a folder is needed"
        ) from error


def _sha256(text: Readable) -> str:
    digest = hashlib.sha256()
    for stretch in stretches(text):
        digest.update(stretch.data)
    return digest.hexdigest()


def _counts(text: Readable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how often each pair of neighbours occurs, and each byte."""
    pairs = np.zeros(_BYTES * _BYTES, np.int64)
    for stretch in stretches(text, overlap=1):
        values = stretch.astype(np.int64)
        pairs += np.bincount(values[:-1] * _BYTES + values[1:], minlength=_BYTES * _BYTES)
    table = pairs.reshape(_BYTES, _BYTES).astype(np.float64)
    singles = table.sum(axis=1)
    if len(text):
        # The last byte begins no pair.
        singles[text.read(len(text) - 1, len(text))] += 1
    return table, singles


def _smoothed(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = (counts + 1 / len(counts)) / (counts.sum() + 1)
    return shares


def _entropy(counts: NDArray[np.float64]) -> float:
    seen = counts[counts > 0]
    shares = seen / seen.sum()
    return float(-(shares * np.log(shares)).sum())
