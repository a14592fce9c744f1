"""Batches of a corpus: every one a pure function of the seed and its number."""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from lightning.pytorch import LightningDataModule
from torch import Tensor

from stabilitykit.errors import ConfigError
from stabilitykit.lab.training.config import DataConfig
from stabilitykit.lab.training.corpus import Corpus, load_corpus
from stabilitykit.lab.training.text import Split

_VALIDATION_BATCHES = 8

Batch = Int[Tensor, "batch window"]
"""Windows of one token more than is predicted."""


class TextDataModule(LightningDataModule):
    """Random windows of a text for training, fixed ones for validation.

    Batch ``t`` depends on the seed and ``t`` alone, and ``t`` goes on counting the batches the trainer has
    processed: a resumed run sees what an unbroken one would have seen. With ``data.batches`` batch ``t`` is
    batch ``t mod batches``. One epoch is the whole run. Where several processes train, each draws its rows of
    the same batch: rank ``r`` of ``n`` the rows ``r``, ``r + n``, …; the Trainer must not put a sampler of
    its own before it.
    """

    def __init__(self, config: DataConfig, seq_len: int, seed: int, total_steps: int) -> None:
        """Remember what to read; nothing is read yet.

        Args:
            config: Where the text comes from, and the batch size.
            seq_len: Predicted tokens of a sequence.
            seed: Not negative.
            total_steps: Optimizer steps of the whole run.

        Raises:
            ConfigError: The seed is negative.
        """
        super().__init__()
        if seed < 0:
            raise ConfigError(f"seed: got {seed}; must be at least 0")
        self.config = config
        self.seq_len = seq_len
        self.seed = seed
        self.total_steps = total_steps

    @cached_property
    def corpus(self) -> Corpus:
        """The text, read when first asked for.

        Raises:
            DataError: There is no such text, or it is shorter than a batch.
        """
        corpus = load_corpus(self.config)
        corpus.require(self.config.batch_size, self.seq_len)
        return corpus

    def setup(self, stage: str) -> None:
        """Read the text before any loader is asked for.

        Args:
            stage: Lightning's name of what comes next; all need the same.
        """
        self.corpus  # noqa: B018  reading is what it is for

    def batch(self, index: int) -> Batch:
        """Return one training batch: windows of ``seq_len + 1`` tokens that start anywhere.

        Args:
            index: Batches before this one, over the whole run.
        """
        text = self.corpus.train
        if self.config.batches is not None:
            index %= self.config.batches
        # Raw words of a counter-based generator: NumPy may change how it draws integers from them, not these.
        words = np.random.Philox(key=self.seed, counter=[0, 0, 0, index]).random_raw(self.config.batch_size)
        starts = words % np.uint64(len(text) - self.seq_len)
        return _windows(text, starts.tolist(), self.seq_len + 1)

    def train_dataloader(self) -> "BatchStream":
        """Return the batches of the run, or this process's share of each, from where the trainer is.

        Raises:
            ConfigError: A batch cannot be shared out evenly among the processes.
        """
        sharing = (self.trainer.distributed_sampler_kwargs if self.trainer else None) or {}
        ranks, rank = sharing.get("num_replicas", 1), sharing.get("rank", 0)
        if self.config.batch_size % ranks:
            raise ConfigError(
                f"data.batch_size: got {self.config.batch_size}; must be a multiple of the {ranks} processes"
            )

        def share(index: int) -> Batch:
            return self.batch(index)[rank::ranks]

        return BatchStream(share, self._batches_in_run(), self._batches_processed)

    def val_dataloader(self) -> "BatchStream":
        """Return the validation split's windows, evenly spaced, the same every time."""
        text, size = self.corpus.validation, self.config.batch_size
        width = min(self.seq_len + 1, len(text))
        count = min(_VALIDATION_BATCHES * size, len(text) // width)
        starts = np.linspace(0, len(text) - width, count).astype(np.int64).tolist()
        batches = [_windows(text, starts[i : i + size], width) for i in range(0, count, size)]
        return BatchStream(batches.__getitem__, len(batches))

    def _batches_in_run(self) -> int:
        return self.total_steps * (self.trainer.accumulate_grad_batches if self.trainer else 1)

    def _batches_processed(self) -> int:
        if self.trainer is None:
            return 0
        # Not the batches handed out: one may have been in flight when the run was cut.
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.total
        processed: int = progress.processed  # type: ignore[attr-defined]  # annotated as its own base class
        return processed


class BatchStream:
    """An iterable of batches that begins at a position of its owner's; a loader to Lightning."""

    def __init__(
        self, batch: Callable[[int], Batch], length: int, position: Callable[[], int] = lambda: 0
    ) -> None:
        self._batch = batch
        self._length = length
        self._position = position

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        start = self._position()
        return (self._batch(index) for index in range(start, start + self._length))

    def state_dict(self) -> dict[str, int]:
        """Return nothing: the position is kept by the trainer, in every checkpoint of its own."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Accept what ``state_dict`` returned; having both tells Lightning that the stream resumes."""


def _windows(text: Split, starts: list[int], width: int) -> Batch:
    windows = np.stack([text.read(start, start + width) for start in starts])
    return torch.from_numpy(windows.astype(np.int64))
