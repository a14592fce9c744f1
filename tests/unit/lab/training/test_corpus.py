"""Corpora: what is refused, how they are split, and their statistics against exact values."""

import hashlib
import math
import os
import sysconfig
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stabilitykit.errors import DataError
from stabilitykit.lab.training import (
    DataConfig,
    Split,
    SyntheticConfig,
    build_corpus,
    load_corpus,
    read_corpus,
    synthetic_corpus,
)
from stabilitykit.lab.training.sources import folder_text
from stabilitykit.lab.training.synthetic import _successor, exact_entropies, synthetic_text


def whole(split: Split) -> NDArray[np.uint8 | np.uint16]:
    return split.read(0, len(split))


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
        (tmp_path / "none.txt", "cannot be read: No such file or directory"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (pipe, "is not a regular file"),
    ):
        with pytest.raises(DataError) as refused:
            read_corpus(path)
        assert str(refused.value) == f"{path}: {found}; a text file or a folder is needed"


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
        np.bincount(whole(corpus.train), minlength=256)
        + np.bincount(whole(corpus.validation), minlength=256),
        np.bincount(np.frombuffer(text, np.uint8), minlength=256),
    )
    assert 0.04 <= len(corpus.validation) / size <= 0.08


def test_validation_is_taken_from_all_over_a_long_text() -> None:
    chunks = [bytes([65 + i // 20]) * 65536 for i in range(60)]
    assert np.bincount(whole(build_corpus("c", b"".join(chunks)).validation))[65:].tolist() == [65536] * 3


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
    monkeypatch.setattr("stabilitykit.lab.training.text.STRETCH", 7)
    assert build_corpus("c", text).bigram_entropy == pytest.approx(whole, abs=1e-12)


def test_unigram_is_the_training_splits_and_finite_for_bytes_never_seen() -> None:
    corpus = build_corpus("c", b"aab" * 4_000)
    assert corpus.unigram.sum() == pytest.approx(1)
    assert corpus.unigram[ord("a")] == pytest.approx(2 / 3, abs=1e-3)
    assert np.isfinite(np.log(corpus.unigram)).all()
    cross_entropy = -np.log(corpus.unigram[whole(corpus.train)]).mean()
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


def make_folder(root: Path) -> dict[str, bytes]:
    """Write a folder of files and return those that are its text, in order."""
    taken = {
        "a-b.txt": b"first\r\n",
        "a/z.md": "s\u00e9cond".encode(),
        "a.txt": b"third\n",
        "b/c/d.py": b"fourth" * 50,
    }
    passed_over = {
        ".hidden.txt": b"no",
        ".git/x.txt": b"no",
        "empty.txt": b"",
        "picture.png": b"\x89PNG\0",
    }
    for name, content in {**taken, **passed_over}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return dict(sorted(taken.items()))


def test_a_folder_is_its_files_in_order_joined_by_newlines(tmp_path: Path) -> None:
    expected = b"\n".join(make_folder(tmp_path).values())
    ours, theirs = read_corpus(tmp_path), build_corpus("c", expected)
    assert ours.name == str(tmp_path)
    assert ours.sha256 == theirs.sha256 == hashlib.sha256(expected).hexdigest()
    assert np.array_equal(whole(ours.train), whole(theirs.train))
    assert np.array_equal(whole(ours.validation), whole(theirs.validation))
    assert ours.bigram_entropy == theirs.bigram_entropy


def test_any_stretch_of_a_folder_is_that_of_the_joined_text(tmp_path: Path) -> None:
    make_folder(tmp_path)
    text = folder_text(tmp_path, (".txt", ".md"))
    joined = b"first\r\n" + b"\n" + b"third\n" + b"\n" + "s\u00e9cond".encode()
    assert len(text) == len(joined)
    for start in range(len(joined)):
        for stop in range(start + 1, len(joined) + 1):
            assert text.read(start, stop).tobytes() == joined[start:stop]


def test_suffixes_choose_the_files_of_a_folder(tmp_path: Path) -> None:
    make_folder(tmp_path)
    config = DataConfig(path=tmp_path, suffixes=(".py",))
    assert load_corpus(config).sha256 == hashlib.sha256(b"fourth" * 50).hexdigest()


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path)
    with pytest.raises(DataError) as refused:
        read_corpus(tmp_path, (".rs", ".go"))
    assert str(refused.value) == (
        f"{tmp_path}: holds no text: no file that is not empty ends in .rs or .go; set data.suffixes"
    )


def test_a_binary_file_that_was_asked_for_is_refused_by_name(tmp_path: Path) -> None:
    make_folder(tmp_path)
    with pytest.raises(DataError, match=r"^\S+/picture\.png: binary, a NUL byte at offset 4; a UTF-8 text "):
        read_corpus(tmp_path, (".txt", ".png"))


@pytest.mark.parametrize("at", range(6))
def test_a_character_across_stretches_is_text_and_a_fault_is_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr("stabilitykit.lab.training.sources.STRETCH", 3)
    path = tmp_path / "some.txt"
    path.write_bytes(b"x" * at + "\u20ac\U0001f600".encode() + b"yz" * 40)
    read_corpus(path)
    path.write_bytes(b"x" * at + "\u20ac".encode() + b"\xe2\x82")
    with pytest.raises(DataError, match=f": byte 0xe2 at offset {at + 3} is not valid UTF-8; "):
        read_corpus(path)


def test_a_large_file_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("text", "sources"):
        monkeypatch.setattr(f"stabilitykit.lab.training.{room}.STRETCH", 1 << 17)
    path = tmp_path / "large.txt"
    path.write_bytes((b"0123456789abcdef" * 4096) * 512)  # 32 MiB
    tracemalloc.start()
    corpus = read_corpus(path)
    corpus.train.read(20_000_000, 20_000_100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(corpus.train) / 4
    assert corpus.unigram_entropy == pytest.approx(math.log(16), abs=1e-4)


def test_a_file_that_changes_under_the_run_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path)
    text = folder_text(tmp_path, (".txt",))
    (tmp_path / "a.txt").write_text("longer than it was")
    with pytest.raises(DataError, match=r"a\.txt: has changed while it was read$"):
        text.read(0, len(text))


def test_a_file_written_anew_is_another_corpus(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_text("one" * 50)
    before = read_corpus(path)
    path.unlink()
    path.write_text("other" * 50)
    assert read_corpus(path).sha256 != before.sha256


def test_the_synthetic_texts_entropies_are_the_laws_exact_ones() -> None:
    corpus = synthetic_corpus(SyntheticConfig(length=1_000_000))
    assert corpus.unigram_entropy == pytest.approx(3.7452, abs=5e-5)
    assert corpus.bigram_entropy == pytest.approx(2.1844, abs=5e-5)
    assert -np.log(corpus.unigram[:64]) @ corpus.unigram[:64] == pytest.approx(3.7452, abs=1e-3)


@pytest.mark.parametrize(
    "law",
    [
        SyntheticConfig(length=2_000_000),
        SyntheticConfig(length=2_000_000, symbols=16, repeat=0.2, block=4, copy_rate=0.8),
    ],
    ids=["default", "short blocks"],
)
def test_what_is_measured_on_the_synthetic_text_is_near_its_law(law: SyntheticConfig) -> None:
    corpus = synthetic_corpus(law)
    measured = build_corpus("c", whole(corpus.train).tobytes())
    assert measured.unigram_entropy == pytest.approx(corpus.unigram_entropy, abs=5e-3)
    assert measured.bigram_entropy == pytest.approx(corpus.bigram_entropy, abs=6e-3)


def test_copied_blocks_are_those_two_before() -> None:
    law = SyntheticConfig(length=320_000, copy_rate=0.3)
    text = synthetic_text(law)
    blocks = text.read(0, len(text)).reshape(-1, law.block)
    assert np.mean((blocks[2:] == blocks[:-2]).all(axis=1)) == pytest.approx(0.3, abs=0.02)
    assert np.mean((blocks[1:] == blocks[:-1]).all(axis=1)) < 1e-3


def test_the_synthetic_text_is_the_same_everywhere() -> None:
    assert synthetic_corpus(SyntheticConfig(length=1_000)).sha256.startswith("38b35b6b818169b5")


def test_the_synthetic_text_has_the_length_asked_for() -> None:
    corpus = load_corpus(DataConfig(kind="synthetic", synthetic=SyntheticConfig(length=1_003)))
    assert len(corpus.train) + len(corpus.validation) == 1_003
    assert corpus.name == "synthetic"


def dense_entropies(config: SyntheticConfig) -> tuple[float, float]:
    """Return H(x) and H(x′|x) from the whole table of pairs."""
    law = 1 / (1 + np.arange(config.symbols) // 4)
    law /= law.sum()
    symbols = np.arange(config.symbols)
    rows = np.tile((1 - config.repeat) * law, (config.symbols, 1))
    rows[symbols, symbols // 4 * 4 + (symbols + 1) % 4] += config.repeat
    pairs = (1 - 1 / config.block) * law[:, None] * rows + np.outer(law, law) / config.block
    unigram, both = (float(-(each * np.log(each)).sum()) for each in (law, pairs))
    return unigram, both - unigram


@pytest.mark.parametrize("symbols", [4, 64, 256, 1024])
@pytest.mark.parametrize(("repeat", "block"), [(0.6, 32), (0.0, 8), (0.9, 1), (0.95, 500)])
def test_exact_entropies_are_those_of_the_table_of_pairs(symbols: int, repeat: float, block: int) -> None:
    law = SyntheticConfig(symbols=symbols, repeat=repeat, block=block)
    assert exact_entropies(law) == pytest.approx(dense_entropies(law), abs=1e-9)


def test_a_wide_synthetic_text_has_the_laws_frequencies_and_transitions() -> None:
    law = SyntheticConfig(symbols=8192, length=600_000)
    corpus = synthetic_corpus(law)
    tokens = whole(corpus.train).astype(np.int64)
    assert 256 < tokens.max() < 8192
    assert corpus.unigram.shape == (8192,)
    assert corpus.unigram.sum() == pytest.approx(1)
    assert -np.log(corpus.unigram[tokens]).mean() == pytest.approx(corpus.unigram_entropy, abs=0.02)
    follows = tokens[1:] == tokens[:-1] // 4 * 4 + (tokens[:-1] + 1) % 4
    assert follows.mean() == pytest.approx(0.6 * 31 / 32, abs=0.01)
    assert corpus.train.nbytes == 2 * len(corpus.train)
    assert corpus.unit == "symbol"


def test_the_widest_text_needs_no_table_of_pairs() -> None:
    tracemalloc.start()
    corpus = synthetic_corpus(SyntheticConfig(symbols=65_536, length=100_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
    assert corpus.bigram_entropy < corpus.unigram_entropy < math.log(65_536)
    assert whole(corpus.train).max() > 32_768
    # The last of a cycle of four leads to its first, although its successor in the word's range is 0.
    assert _successor(np.array([65_534, 65_535], np.uint16)).tolist() == [65_535, 65_532]


def test_256_symbols_are_bytes_as_ever() -> None:
    corpus = synthetic_corpus(SyntheticConfig(symbols=256, length=10_000))
    assert whole(corpus.train).dtype == np.uint8
    assert corpus.sha256.startswith("e69afa197a6503d5")
    assert corpus.train.nbytes == len(corpus.train)
    assert len(corpus.unigram) == 256
    assert corpus.unit == "byte"
