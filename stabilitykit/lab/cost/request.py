"""What is to be priced, as options of ``cost`` or a recipe's workload ask for it."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from stabilitykit.errors import closest
from stabilitykit.lab.cost import public
from stabilitykit.lab.cost.comparisons import COMPARISONS
from stabilitykit.lab.cost.predicted.optimizer import OPTIMIZERS, OptimizerName
from stabilitykit.lab.cost.workload import DTYPES, MODES, DType, Mode
from stabilitykit.lab.validation import Config, refusal

_OF_PUBLIC = {"mode": public.MODES, "dtype": DTYPES, "optimizer": public.OPTIMIZERS}
"""What models of transformers take."""
_NOT_OF_PUBLIC = ("arch", "scale", "set", "cache")
"""What their files say, or they have no use for."""


class CostRequest(Config):
    """Models, of which the first is what the others are compared with, and what they are to do.

    Fields are named as the options are; a field that was not typed is not given.
    """

    arch: str = "pre_norm"
    """Wiring of the norms, or a preset."""
    hf: str | None = None
    """Instead: the configuration file of a model of transformers, or its folder."""
    scale: str | None = None
    """Of presets."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Any fields of the model, by dotted path, as in ``model.n_layers: 2``."""
    compare: str | None = None
    """What is varied."""
    mode: Mode | None = None
    """What the model is asked to do; by default what is compared is of, or training."""
    batch: int = Field(8, ge=1)
    """Sequences at once."""
    seq: int | None = Field(None, ge=1)
    """Tokens of a sequence; by default all it may."""
    cache: int | None = Field(None, ge=1)
    """Tokens that a decoded one sees, itself included."""
    dtype: DType = "float32"
    """The type of everything."""
    optimizer: OptimizerName = "adamw"
    """What steps, in training."""

    @property
    def does(self) -> Mode:
        """The mode, where none was given what is compared is of, or training."""
        return self.mode or self._only or "train"

    @property
    def length(self) -> int | None:
        """Tokens, of a sequence or in the cache; None for all the model may have."""
        return self.seq if self.cache is None else self.cache

    @property
    def _only(self) -> Mode | None:
        return COMPARISONS[self.compare].mode if self.compare in COMPARISONS else None

    @model_validator(mode="before")
    @classmethod
    def _is_accepted(cls, data: Any) -> Any:
        """Refuse by what is priced: models of transformers take less."""
        if not isinstance(data, Mapping):
            return data
        if data.get("hf") is None:
            mode, optimizer = data.get("mode"), data.get("optimizer", "adamw")
            if mode is not None and mode not in MODES:
                # All of them: what is closest by its letters is hardly what was meant.
                raise refusal("mode", f"got {mode!r}; accepted: {', '.join(MODES)}")
            if optimizer not in OPTIMIZERS:
                raise refusal("--optimizer", f"got {optimizer!r}; {closest(str(optimizer), OPTIMIZERS)}")
            return data
        for name, accepted in _OF_PUBLIC.items():
            if name in data and data[name] not in accepted:
                told = f"got {data[name]!r}; accepted with --hf: {', '.join(accepted)}"
                raise refusal(f"--{name}", told)
        return data

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.hf is not None:
            self._is_public()
            return self
        if self._only and self.does != self._only:
            raise refusal("--mode", f"got {self.mode}; --compare {self.compare} is of {self._only}")
        unused = "seq" if self.does == "decode" else "cache"
        if getattr(self, unused) is not None:
            raise refusal(f"--{unused}", f"got {getattr(self, unused)}; not in --mode {self.does}")
        return self

    def _is_public(self) -> None:
        for name in _NOT_OF_PUBLIC:
            if name in self.model_fields_set:
                typed = getattr(self, name)
                told = [f"{path}={value}" for path, value in typed.items()] if name == "set" else typed
                raise refusal(f"--{name}", f"got {told}; not with --hf, whose file says what the model is")
        if self.compare is not None and (self.compare in COMPARISONS or "=" in self.compare):
            raise refusal("--compare", f"got {self.compare}; with --hf another config.json")
