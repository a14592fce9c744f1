"""How a run learns and from what: frozen configuration. No torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.validation import Config, refusal

SUFFIXES = (".txt", ".md", ".rst", ".py")
"""How the names of a folder's text files end unless more is said."""


class OptimizerConfig(Config):
    """What turns gradients into updates."""

    kind: Literal["adamw", "sgd", "muon"] = "adamw"
    """AdamW, SGD, or Muon for the blocks' matrices beside AdamW for the rest."""
    lr: float = Field(3e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(0.1, ge=0)
    """Decay of the weight matrices, a part of the gradient in sgd, else decoupled; the rest has none."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of AdamW's first moment."""
    beta2: float = Field(0.95, ge=0, lt=1)
    """Decay of AdamW's second moment."""
    eps: float = Field(1e-8, gt=0)
    """Added to the root of AdamW's second moment."""
    momentum: float | None = Field(None, ge=0, lt=1)
    """Decay of the momentum of sgd and muon; when left out, 0.9 and 0.95."""

    @property
    def resolved_momentum(self) -> float:
        """Decay of the momentum, resolved."""
        return {"sgd": 0.9, "muon": 0.95}.get(self.kind, 0.0) if self.momentum is None else self.momentum

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.kind == "adamw" and self.momentum is not None:
            raise refusal("momentum", f"got {self.momentum:g}; needs optimizer.kind sgd or muon, not adamw")
        for name in ("beta1", "beta2", "eps"):
            value = getattr(self, name)
            if self.kind == "sgd" and value != type(self).model_fields[name].default:
                raise refusal(name, f"got {value:g}; needs optimizer.kind adamw or muon, not sgd")
        return self


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


class SyntheticConfig(Config):
    """A text of known entropies: blocks of a Markov chain, some of which repeat an earlier one."""

    symbols: int = Field(64, ge=4, le=65_536, multiple_of=4)
    """Distinct symbols, the tokens from 0 on."""
    repeat: float = Field(0.6, ge=0, lt=1)
    """Probability that a symbol follows from the one before it; else it is drawn from their distribution."""
    block: int = Field(32, gt=0)
    """Symbols in a block."""
    copy_rate: float = Field(0.5, ge=0, lt=1)
    """Probability that a block is the block two before it; more than a bigram can know."""
    length: int = Field(4_000_000, gt=0)
    """Symbols in all."""


class DataConfig(Config):
    """What is read: text as bytes, or the synthetic one's symbols."""

    kind: Literal["text", "synthetic"] = "text"
    """Text that somebody wrote, or the synthetic one whose entropies are known exactly."""
    path: Path | None = None
    """A text file, or a folder of them; when left out, the running Python's standard library's sources."""
    suffixes: tuple[str, ...] = Field(SUFFIXES, min_length=1)
    """How the names of a folder's text files end; typed with commas between them."""
    synthetic: SyntheticConfig = SyntheticConfig()
    """What the synthetic text is made of."""
    batch_size: int = Field(8, gt=0)
    """Sequences in a batch."""
    batches: int | None = Field(None, gt=0)
    """Only the run's first so many batches, in turn: with 1 always the same; when left out, all fresh."""

    @field_validator("suffixes", mode="before")
    @classmethod
    def _parse_suffixes(cls, value: Any) -> Any:
        return tuple(each.strip() for each in value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.kind == "synthetic" and self.path is not None:
            raise refusal("path", f"got {self.path}; data.kind synthetic reads no text")
        if self.kind == "synthetic" and self.suffixes != SUFFIXES:
            raise refusal("suffixes", f"got {', '.join(self.suffixes)}; data.kind synthetic reads no text")
        if self.kind != "synthetic" and self.synthetic != SyntheticConfig():
            raise refusal("synthetic", "is given; needs data.kind synthetic")
        return self


_FACTORS = {"learning_rate": 10.0, "huge_gradient": 1000.0}
_LASTING = ("low_precision_logits", "shuffled_labels")


class FaultConfig(Config):
    """What goes wrong in a run on purpose, and when: a disturbance of known onset."""

    kind: Literal[
        "learning_rate",
        "repeated_token",
        "huge_gradient",
        "lost_moments",
        "low_precision_logits",
        "shuffled_labels",
    ]
    """The learning rate multiplied, a batch of one token only, the gradient multiplied before it is clipped,
    Adam's second moments set to 0, output logits rounded to float8, or targets in another order."""
    step: int = Field(ge=0)
    """The first step it touches, counted from 0."""
    steps: int | None = Field(1, gt=0)
    """How many steps it touches; null: all to the end. When left out, one, but all to the end for
    low_precision_logits and shuffled_labels."""
    factor: float | None = Field(None, gt=0)
    """What the learning rate or the gradient is multiplied by; when left out, 10 and 1000."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_what_the_kind_decides(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        filled = {"steps": None if data.get("kind") in _LASTING else 1, **data}
        if filled.get("factor") is None:
            filled["factor"] = _FACTORS.get(str(data.get("kind")))
        return filled

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.factor is not None and self.kind not in _FACTORS:
            reason = f"got {self.factor:g}; needs fault.kind {' or '.join(_FACTORS)}, not {self.kind}"
            raise refusal("factor", reason)
        if self.kind == "lost_moments" and not self.step:
            raise refusal("step", "got 0; must be at least 1: before the first step there are no moments")
        return self

    def touches(self, step: int) -> bool:
        """Return whether a step is among those that go wrong.

        Args:
            step: Optimizer steps finished before this one.
        """
        return self.step <= step and (self.steps is None or step < self.step + self.steps)


def check_optimizer(optimizer: OptimizerConfig, model: TransformerConfig) -> None:
    """Refuse an optimizer for which a model's learning rates are not made.

    Args:
        optimizer: The optimizer's configuration.
        model: The model's.

    Raises:
        ConfigError: Some of the model's parameters have rates of their own, which are right for AdamW.
    """
    scheme, kind = model.initialization.scheme, optimizer.kind
    if scheme == "mup" and kind != "adamw":
        raise ConfigError(f"optimizer.kind: got {kind}; model.initialization.scheme mup needs adamw")
    if model.unit_weights and kind == "sgd":
        raise ConfigError(f"optimizer.kind: got {kind}; model.unit_weights needs adamw or muon")


def check_sharpness(every_n_steps: int | None, optimizer: OptimizerConfig) -> None:
    """Refuse to measure the sharpness that Adam meets beside another optimizer.

    Args:
        every_n_steps: Steps from one measurement to the next, or None.
        optimizer: The optimizer's configuration.

    Raises:
        ConfigError: There is no Adam.
    """
    if every_n_steps is not None and optimizer.kind != "adamw":
        raise ConfigError(
            f"monitor.sharpness_every_n_steps: got {every_n_steps}; needs optimizer.kind adamw, "
            f"not {optimizer.kind}"
        )
