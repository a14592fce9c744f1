"""What the sections of a run refuse, and that reading them loads no torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from stabilitykit.errors import ConfigError
from stabilitykit.lab.training import DataConfig, OptimizerConfig, ScheduleConfig, SyntheticConfig
from stabilitykit.lab.validation import validated


@pytest.mark.parametrize(
    ("cls", "mapping", "message"),
    [
        (OptimizerConfig, {"lr": 0}, "it.lr: got 0; must be greater than 0"),
        (OptimizerConfig, {"lr": "fast"}, "it.lr: got 'fast'; must be a number"),
        (OptimizerConfig, {"lr": float("inf")}, "it.lr: got inf; must be finite"),
        (OptimizerConfig, {"beta2": 1}, "it.beta2: got 1; must be less than 1"),
        (
            OptimizerConfig,
            {"betas": 1},
            "it.betas: not a known field; did you mean 'beta2' or 'beta1' or 'eps'?",
        ),
        (OptimizerConfig, {"kind": "adam"}, "it.kind: got 'adam'; did you mean 'adamw'?"),
        (
            OptimizerConfig,
            {"momentum": 0.9},
            "it.momentum: got 0.9; needs optimizer.kind sgd or muon, not adamw",
        ),
        (
            OptimizerConfig,
            {"kind": "sgd", "beta2": 0.9},
            "it.beta2: got 0.9; needs optimizer.kind adamw or muon, not sgd",
        ),
        (DataConfig, {"batches": 0}, "it.batches: got 0; must be greater than 0"),
        (ScheduleConfig, {"kind": "cosin"}, "it.kind: got 'cosin'; did you mean 'cosine'?"),
        (ScheduleConfig, {"warmup": -1}, "it.warmup: got -1; must be at least 0"),
        (ScheduleConfig, {"final_ratio": 2}, "it.final_ratio: got 2; must be at most 1"),
        (
            ScheduleConfig,
            {"kind": "wsd", "decay_steps": 3, "decay_ratio": 0.2},
            "it.decay_ratio: got 0.2; decay_steps is given already",
        ),
        (
            ScheduleConfig,
            {"kind": "cosine", "decay_steps": 3},
            "it.decay_steps: got 3; needs schedule.kind wsd, not cosine",
        ),
        (
            ScheduleConfig,
            {"decay_shape": "linear"},
            "it.decay_shape: got linear; needs schedule.kind wsd, not constant",
        ),
        (ScheduleConfig, {"kind": "wsd", "decay_ratio": 0}, "it.decay_ratio: got 0; must be greater than 0"),
        (DataConfig, {"batch_size": 0}, "it.batch_size: got 0; must be greater than 0"),
        (DataConfig, {"kind": "folder"}, "it.kind: got 'folder'; accepted: text, synthetic"),
        (
            DataConfig,
            {"kind": "synthetic", "path": "a"},
            "it.path: got a; data.kind synthetic reads no text",
        ),
        (
            DataConfig,
            {"kind": "synthetic", "suffixes": ".c"},
            "it.suffixes: got .c; data.kind synthetic reads no text",
        ),
        (DataConfig, {"synthetic": {"block": 8}}, "it.synthetic: is given; needs data.kind synthetic"),
        (SyntheticConfig, {"copy_rate": 1}, "it.copy_rate: got 1; must be less than 1"),
        (DataConfig, {"path": 3}, "it.path: got 3; must be a path"),
    ],
)
def test_refusals(cls: type[BaseModel], mapping: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        validated(cls, mapping, where="it")
    assert str(refused.value) == message


@pytest.mark.parametrize("cls", [OptimizerConfig, ScheduleConfig, DataConfig, SyntheticConfig])
def test_every_field_is_described(cls: type[BaseModel]) -> None:
    assert [name for name, field in cls.model_fields.items() if not field.description] == []


def test_text_is_read_by_the_field_type() -> None:
    assert validated(OptimizerConfig, {"lr": "1e-3"}, "optimizer").lr == 1e-3
    assert validated(DataConfig, {"path": "a.txt"}, "data").path == Path("a.txt")
    assert validated(DataConfig, {"suffixes": ".txt, .c"}, "data").suffixes == (".txt", ".c")


def test_configuration_and_corpus_load_no_torch() -> None:
    rooms = ", ".join(f"stabilitykit.lab.training.{name}" for name in ("config", "schedules", "corpus"))
    code = f"import sys, {rooms}; print({{'torch', 'lightning'}} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert ran.stdout.strip() == "set()"
