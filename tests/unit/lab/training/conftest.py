"""A text of a few kilobytes and runs small enough for a unit test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from stabilitykit.lab.model import TransformerConfig
from stabilitykit.lab.training import (
    DataConfig,
    OptimizerConfig,
    ScheduleConfig,
    TextDataModule,
    TransformerModule,
)
from stabilitykit.lab.validation import validated

SEQ_LEN = 8
STEPS = 6

Parts = tuple[TransformerModule, TextDataModule]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Train on one thread: a second one only waits for the first at these sizes, and spins meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("".join(f"line {n} holds {n * n} and {n % 7}\n" for n in range(400)))
    return path


@pytest.fixture
def parts(text: Path) -> Callable[..., Parts]:
    """Return a maker of a fresh module and its data."""

    def make(seed: int = 0, total_steps: int = STEPS) -> Parts:
        model = validated(
            TransformerConfig,
            {"d_model": 16, "n_layers": 2, "seq_len": SEQ_LEN, "attention": {"n_heads": 2}},
        )
        data = TextDataModule(DataConfig(path=text, batch_size=2), SEQ_LEN, seed, total_steps)
        schedule = ScheduleConfig(kind="cosine", warmup=2)
        module = TransformerModule(model, OptimizerConfig(), schedule, total_steps, seed, data.corpus.unigram)
        return module, data

    return make


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Return a maker of quiet trainers."""

    def make(max_steps: int = STEPS, **options: object) -> Trainer:
        settings = {"limit_val_batches": 0, "enable_checkpointing": False, **options}
        return Trainer(
            max_steps=max_steps,
            accelerator="cpu",
            default_root_dir=tmp_path,
            gradient_clip_val=1.0,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **settings,
        )

    return make
