"""Corpora: what is refused, how they are split, and their statistics against exact values."""

import hashlib
import math
import os
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.errors import DataError
from stabilitykit.training import build_corpus, read_corpus


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty"),
        (b"text\0more", "binary, a NUL byte at offset 4"),
        (b"caf\xe9 au lait", "byte 0xe9 at offset 3 is not valid UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "some.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_corpus(path)
    assert str(refused.value).startswith(f"{path}: {found}; a ")
    assert "\n" not in str(refused.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, found in (
        (tmp_path, "is a directory"),
        (tmp_path / "none.txt", "cannot be read: No such file or directory"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (pipe, "is not a regular file"),
    ):
        with pytest.raises(DataError) as refused:
            read_corpus(path)
        assert str(refused.value) == f"{path}: {found}; a text file is needed"


def test_too_short_for_a_batch() -> None:
    corpus = build_corpus("short.txt", b"abcde" * 20)
    assert len(corpus.train) == 95
    corpus.require(batch_size=2, seq_len=46)
    with pytest.raises(DataError) as refused:
        corpus.require(batch_size=5, seq_len=18)
    assert str(refused.value) == (
        "short.txt: 95 bytes to train on; a batch of 5 sequences of 18 needs more than 95"
    )


def test_one_byte_is_only_too_short() -> None:
    with pytest.raises(DataError, match="0 bytes to train on"):
        build_corpus("one.txt", b"x").require(1, 1)


@pytest.mark.parametrize("size", [60, 10_000, 3_000_000])
def test_split_keeps_every_byte_once_and_spreads_validation(size: int) -> None:
    text = np.arange(size, dtype=np.uint32).astype(np.uint8).tobytes()
    corpus = build_corpus("c", text)
    assert len(corpus.train) + len(corpus.validation) == size
    assert np.array_equal(
        np.bincount(corpus.train, minlength=256) + np.bincount(corpus.validation, minlength=256),
        np.bincount(np.frombuffer(text, np.uint8), minlength=256),
    )
    assert 0.04 <= len(corpus.validation) / size <= 0.08
    assert not corpus.train.flags.writeable


def test_validation_is_taken_from_all_over_a_long_text() -> None:
    chunks = [bytes([65 + i // 20]) * 65536 for i in range(60)]
    assert np.bincount(build_corpus("c", b"".join(chunks)).validation)[65:].tolist() == [65536] * 3


def test_entropies_of_known_laws() -> None:
    draws = np.random.default_rng(0).integers(0, 4, 400_000).astype(np.uint8)
    independent = build_corpus("c", draws.tobytes())
    assert independent.unigram_entropy == pytest.approx(math.log(4), abs=1e-3)
    assert independent.bigram_entropy == pytest.approx(math.log(4), abs=1e-3)
    # A walk on a ring of 8 that moves by 0 or 1: ln 8 alone, ln 2 given the byte before.
    walk = np.cumsum(np.random.default_rng(1).integers(0, 2, 400_000)) % 8
    ring = build_corpus("c", walk.astype(np.uint8).tobytes())
    assert ring.unigram_entropy == pytest.approx(math.log(8), abs=1e-3)
    assert ring.bigram_entropy == pytest.approx(math.log(2), abs=1e-3)


def test_pairs_are_counted_across_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    text = np.random.default_rng(0).integers(0, 9, 5_000).astype(np.uint8).tobytes()
    whole = build_corpus("c", text).bigram_entropy
    monkeypatch.setattr("stabilitykit.training.corpus._COUNTED_AT_ONCE", 7)
    assert build_corpus("c", text).bigram_entropy == pytest.approx(whole, abs=1e-12)


def test_unigram_is_the_training_splits_and_finite_for_bytes_never_seen() -> None:
    corpus = build_corpus("c", b"aab" * 4_000)
    assert corpus.unigram.sum() == pytest.approx(1)
    assert corpus.unigram[ord("a")] == pytest.approx(2 / 3, abs=1e-3)
    assert np.isfinite(np.log(corpus.unigram)).all()
    cross_entropy = -np.log(corpus.unigram[corpus.train]).mean()
    assert cross_entropy == pytest.approx(corpus.unigram_entropy, abs=1e-3)


def test_a_file_keeps_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "dos.txt"
    path.write_bytes("naïve\r\n".encode() * 100)
    corpus = read_corpus(path)
    assert corpus.name == str(path)
    assert corpus.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(corpus.train) + len(corpus.validation) == 800


def make_library(root: Path) -> None:
    for name in (
        "b.py",
        "a/z.py",
        "a.py",
        "test/t.py",
        "a/tests/t.py",
        "site-packages/p.py",
        "config-3/c.py",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"# {name}\r\n".encode())
    (root / "_sysconfigdata_x.py").write_text("# built\n")
    (root / "notes.txt").write_text("# not python\n")


def test_the_library_is_sorted_joined_and_without_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_library(tmp_path)
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    corpus = read_corpus()
    expected = b"# a.py\n\n# a/z.py\n\n# b.py\n"
    assert corpus.sha256 == hashlib.sha256(expected).hexdigest()


def test_a_python_without_sources_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path / "python311.zip"))
    with pytest.raises(DataError, match=r"without its library's sources; set data\.path to a text file$"):
        read_corpus()


def test_the_running_pythons_library() -> None:
    corpus = read_corpus()
    assert corpus.name.startswith("python-3.")
    assert 5e6 < len(corpus.train) < 3e7
    # Bands: the library differs by version and by distribution.
    assert 3.1 < corpus.unigram_entropy < 3.4
    assert 2.3 < corpus.bigram_entropy < 2.55
