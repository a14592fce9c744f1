"""What a model is asked to do: how many tokens, in which mode and type."""

from dataclasses import dataclass
from typing import Literal, get_args

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model.cache import cached_tokens
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.sections import LayerKind
from stabilitykit.lab.model.windows import by_blocks

Mode = Literal["train", "prefill", "decode"]
DType = Literal["float32", "bfloat16", "float16"]

MODES: tuple[Mode, ...] = get_args(Mode)
DTYPES: tuple[DType, ...] = get_args(DType)

_BYTES: dict[DType, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Workload:
    """One step of training, one reading of a prompt, or one step of generating."""

    mode: Mode = "train"
    """Forward, backward and optimizer step; forward alone; or one new token a sequence behind a cache."""
    batch: int = 8
    """Sequences."""
    length: int = 64
    """Tokens of a sequence; in decode those that the new token sees in a full layer, itself included."""
    dtype: DType = "float32"
    """The type of weights, activations, gradients and the optimizer's state alike."""

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return _BYTES[self.dtype]

    @property
    def queries(self) -> int:
        """Tokens of a sequence that go through the model."""
        return 1 if self.mode == "decode" else self.length

    @property
    def tokens(self) -> int:
        """Tokens that go through the model."""
        return self.batch * self.queries


def check_workload(workload: Workload, config: TransformerConfig) -> None:
    """Refuse what the model could not be given.

    Args:
        workload: What it is asked to do.
        config: The model's configuration.

    Raises:
        ConfigError: Mode or type is not known, a size is below 1, or the sequence is too long.
    """
    for name, value, known in (("mode", workload.mode, MODES), ("dtype", workload.dtype, DTYPES)):
        if value not in known:
            raise ConfigError(f"{name}: got {value!r}; accepted: {', '.join(known)}")
    length = "cache" if workload.mode == "decode" else "seq"
    for name, size in (("batch", workload.batch), (length, workload.length)):
        if size < 1:
            raise ConfigError(f"{name}: got {size}; must be at least 1")
    if workload.length > config.seq_len:
        more = f"--set model.seq_len={workload.length} allows it"
        raise ConfigError(f"{length}: got {workload.length}; at most model.seq_len {config.seq_len}; {more}")


def visible_pairs(kind: LayerKind, workload: Workload) -> int:
    """Return how many pairs of query and key a layer's mask leaves, in one head of one sequence.

    Args:
        kind: The layer's kind.
        workload: What the model is asked to do.
    """
    if workload.mode == "decode":
        return cached_tokens(kind, workload.length)
    length, window = workload.length, min(kind.window or workload.length, workload.length)
    if kind.span == "chunked":
        whole, rest = divmod(length, window)
        return whole * _triangle(window) + _triangle(rest)
    # The first window's queries see a triangle, all others a whole window: T·(w − w(w−1)/(2T)).
    return _triangle(window) + (length - window) * window


def dense_pairs(kind: LayerKind, config: TransformerConfig, workload: Workload) -> int:
    """Return how many pairs the kernel is handed, with those that the mask hides.

    Args:
        kind: The layer's kind.
        config: The model's configuration.
        workload: What the model is asked to do.
    """
    if workload.mode == "decode":
        return cached_tokens(kind, workload.length)
    length = workload.length
    biased = kind.position and config.position.kind in ("alibi", "t5_bias")
    if kind.window is None or biased or not by_blocks(config.attention, kind, length):
        return length * length
    # A chunk sees itself, a window's block also the one before.
    return length * kind.window * (1 if kind.span == "chunked" else 2)


def _triangle(n: int) -> int:
    return n * (n + 1) // 2
