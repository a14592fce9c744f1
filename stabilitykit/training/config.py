"""How a run learns and from what: frozen configuration. No torch."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from stabilitykit.model.validation import Config, refusal


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
    """How the learning rate moves: linear warmup, then constant, down to the end, or down near the end."""

    kind: Literal["constant", "cosine", "linear", "wsd"] = "constant"
    """What follows the warmup; wsd (warmup, stable, decay) is constant and decays over its last steps."""
    warmup: int | None = Field(None, ge=0)
    """Warmup steps; when left out, a tenth of the steps."""
    decay_steps: int | None = Field(None, gt=0)
    """Last steps over which wsd decays; when left out, decay_ratio of the steps."""
    decay_ratio: float | None = Field(None, gt=0, le=1)
    """Share of the steps over which wsd decays; when both are left out, a fifth."""
    decay_shape: Literal["linear", "sqrt", "cosine"] = "sqrt"
    """How wsd decays with the share p of its decay that is done: as 1 − p, 1 − √p or (1 + cos πp)/2."""
    final_ratio: float = Field(0.1, ge=0, le=1)
    """Last learning rate over the peak, for cosine, linear and wsd."""

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.decay_steps is not None and self.decay_ratio is not None:
            raise refusal("decay_ratio", f"got {self.decay_ratio:g}; decay_steps is given already")
        for name in ("decay_steps", "decay_ratio", "decay_shape"):
            value = getattr(self, name)
            if self.kind != "wsd" and value != type(self).model_fields[name].default:
                raise refusal(name, f"got {value}; needs schedule.kind wsd, not {self.kind}")
        return self


class DataConfig(Config):
    """What is read, as bytes."""

    path: Path | None = None
    """A text file; when left out, the sources of the running Python's standard library."""
    batch_size: int = Field(8, gt=0)
    """Sequences in a batch."""
