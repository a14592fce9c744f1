"""How a run learns and from what: frozen configuration. No torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from stabilitykit.model.config import Config


class OptimizerConfig(Config):
    """AdamW."""

    lr: float = Field(3e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(0.1, ge=0)
    """Decoupled decay of the weight matrices; embeddings and gains have none."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(0.95, ge=0, lt=1)
    """Decay of the second moment."""
    eps: float = Field(1e-8, gt=0)
    """Added to the root of the second moment."""


class ScheduleConfig(Config):
    """How the learning rate moves: linear warmup, then constant or cosine."""

    kind: Literal["constant", "cosine"] = "constant"
    """What follows the warmup."""
    warmup: int | None = Field(None, ge=0)
    """Warmup steps; when left out, a tenth of the steps."""
    final_ratio: float = Field(0.1, ge=0, le=1)
    """Last learning rate over the peak, for cosine."""


class DataConfig(Config):
    """What is read, as bytes."""

    path: Path | None = None
    """A text file; when left out, the sources of the running Python's standard library."""
    batch_size: int = Field(8, gt=0)
    """Sequences in a batch."""
