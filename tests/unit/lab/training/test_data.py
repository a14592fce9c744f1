"""Batches are functions of seed and number, and windows of the text."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stabilitykit.errors import ConfigError, DataError
from stabilitykit.lab.training import DataConfig, SyntheticConfig, TextDataModule


def make(path: Path, seed: int = 0, batch_size: int = 4, seq_len: int = 8) -> TextDataModule:
    return TextDataModule(DataConfig(path=path, batch_size=batch_size), seq_len, seed, total_steps=5)


def fake_trainer(ranks: int, rank: int) -> Any:
    """Return as much of a Trainer as a loader asks of one that has not begun."""
    progress = SimpleNamespace(total=SimpleNamespace(processed=0))
    return SimpleNamespace(
        accumulate_grad_batches=1,
        distributed_sampler_kwargs={"num_replicas": ranks, "rank": rank},
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    )


def test_a_batch_follows_from_seed_and_number_alone(text: Path) -> None:
    data = make(text)
    first = data.batch(3)
    data.batch(0)
    torch.manual_seed(5)
    np.random.seed(5)
    assert torch.equal(first, data.batch(3))
    assert torch.equal(first, make(text).batch(3))
    assert not torch.equal(first, data.batch(4))
    assert not torch.equal(first, make(text, seed=1).batch(3))


def test_drawing_batches_leaves_the_global_random_state_alone(text: Path) -> None:
    before = torch.get_rng_state()
    list(make(text).train_dataloader())
    assert torch.equal(before, torch.get_rng_state())


def test_windows_are_stretches_of_the_training_split(text: Path) -> None:
    data = make(text)
    whole = data.corpus.train.read(0, len(data.corpus.train)).tobytes()
    batches = [data.batch(index) for index in range(20)]
    assert all(batch.shape == (4, 9) and batch.dtype == torch.int64 for batch in batches)
    windows = [bytes(window) for batch in batches for window in batch.tolist()]
    assert all(window in whole for window in windows)
    assert len(set(windows)) > 70


def test_every_window_of_a_short_text_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_bytes(bytes(range(40, 100)))
    data = make(path, batch_size=4, seq_len=8)
    assert len(data.corpus.train) == 57
    firsts = {int(window[0]) for index in range(200) for window in data.batch(index)}
    assert firsts == set(data.corpus.train.read(0, 57 - 8).tolist())


def test_the_loader_yields_the_run_in_order(text: Path) -> None:
    data = make(text)
    loader = data.train_dataloader()
    assert len(loader) == 5
    assert all(torch.equal(batch, data.batch(index)) for index, batch in enumerate(loader))
    assert len(list(loader)) == 5


def test_validation_windows_are_fixed_and_of_their_own_split(text: Path) -> None:
    one, other = list(make(text).val_dataloader()), list(make(text, seed=9).val_dataloader())
    assert len(one) == len(make(text).val_dataloader()) == 8
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    split = make(text).corpus.validation
    whole = split.read(0, len(split)).tobytes()
    assert all(bytes(window) in whole for batch in one for window in batch.tolist())


def test_validation_of_a_tiny_text_takes_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "tiny.txt"
    path.write_bytes(b"abcdefghij" * 6)
    batches = list(make(path).val_dataloader())
    assert [tuple(batch.shape) for batch in batches] == [(1, 3)]


def test_hooks_may_be_called_again(text: Path) -> None:
    data = make(text)
    data.prepare_data()
    data.setup("fit")
    corpus = data.corpus
    data.prepare_data()
    data.setup("fit")
    assert data.corpus is corpus


@pytest.mark.parametrize("act", [lambda data: data.setup("fit"), lambda data: data.batch(0)])
def test_too_short_a_text_is_refused_before_the_first_batch(
    tmp_path: Path, act: Callable[[TextDataModule], object]
) -> None:
    path = tmp_path / "short.txt"
    path.write_text("abc" * 10)
    with pytest.raises(
        DataError, match=r"28 bytes to train on; a batch of 4 sequences of 8 needs more than 36"
    ):
        act(make(path))


def test_a_negative_seed_is_refused(text: Path) -> None:
    with pytest.raises(ConfigError, match=r"^seed: got -1; must be at least 0$"):
        make(text, seed=-1)


def test_a_folder_and_a_synthetic_text_give_batches_that_follow_from_their_number(text: Path) -> None:
    for config in (
        DataConfig(path=text.parent, batch_size=4),
        DataConfig(kind="synthetic", batch_size=4, synthetic=SyntheticConfig(length=5_000)),
    ):
        one, other = (TextDataModule(config, 8, seed=0, total_steps=5) for _ in range(2))
        other.batch(3)
        assert torch.equal(one.batch(2), other.batch(2))
        assert not torch.equal(one.batch(2), one.batch(3))


def test_a_folder_of_one_file_gives_the_files_batches(text: Path) -> None:
    assert torch.equal(make(text).batch(1), make(text.parent).batch(1))


def test_processes_share_out_the_rows_of_one_batch(text: Path) -> None:
    whole, ranks = make(text), []
    for rank in range(2):
        data = make(text)
        data.trainer = fake_trainer(2, rank)
        ranks.append(list(data.train_dataloader()))
    for index, parts in enumerate(zip(*ranks, strict=True)):
        assert all(part.shape == (2, 9) for part in parts)
        assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), whole.batch(index))


def test_a_batch_that_cannot_be_shared_out_is_refused(text: Path) -> None:
    data = make(text)
    data.trainer = fake_trainer(3, 0)
    with pytest.raises(ConfigError, match=r"^data.batch_size: got 4; must be a multiple of the 3 processes$"):
        data.train_dataloader()


def test_a_number_of_batches_repeats_the_first_ones_in_turn(text: Path) -> None:
    fresh = make(text)
    for count in (1, 3):
        config = DataConfig(path=text, batch_size=4, batches=count)
        data = TextDataModule(config, 8, seed=0, total_steps=5)
        assert all(torch.equal(data.batch(index), fresh.batch(index % count)) for index in range(7))
        loader = list(data.train_dataloader())
        assert len(loader) == 5
        assert all(torch.equal(batch, data.batch(index)) for index, batch in enumerate(loader))
