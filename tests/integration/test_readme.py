"""What the README shows runs as it stands."""

import functools
import logging
import re
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F

from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.lab.training import (
    DataConfig,
    OptimizerConfig,
    ScheduleConfig,
    TextDataModule,
    TransformerModule,
)
from stabilitykit.store import open_run

README = Path(__file__).parents[2] / "README.md"
LIGHTNING, LOOP = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
SMALL = TransformerConfig.model_validate(
    {"d_model": 16, "n_layers": 2, "seq_len": 16, "attention": {"n_heads": 2}}
)


def test_the_lightning_snippet(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    here = {"logger": False, "default_root_dir": tmp_path, "limit_val_batches": 0, "accelerator": "cpu"}
    small = functools.partial(L.Trainer, max_steps=4, max_epochs=-1, **quiet, **here)  # type: ignore[arg-type]
    monkeypatch.setattr(L, "Trainer", small)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = TextDataModule(DataConfig(path=corpus, batch_size=2), 16, 0, 4)
    module = TransformerModule(SMALL, OptimizerConfig(), ScheduleConfig(), 4, 0, unigram=data.corpus.unigram)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(LeafSpec|many workers|logging interval).*")
        exec(LIGHTNING, {"module": module, "data": data})
    assert capsys.readouterr().out.startswith("stable ()")
    assert len(list(open_run(tmp_path / "stability").records())) == 4


def test_the_plain_loop_snippet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute_loss(model: Any, batch: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    monkeypatch.chdir(tmp_path)
    model = Transformer(SMALL)
    names = {
        "torch": torch,
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters()),
        "batches": torch.randint(0, 256, (3, 2, 17)),
        "compute_loss": compute_loss,
    }
    exec(LOOP, names)
    run = open_run(tmp_path / "runs" / "mine")
    assert run.complete
    assert [record.step for record in run.records()] == [0, 1, 2]
