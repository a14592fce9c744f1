"""What a transformer is made of: frozen configuration, and the table of norm placements. No torch."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from stabilitykit.errors import ConfigError, closest
from stabilitykit.model.validation import Config, refusal, validated

__all__ = [
    "ARCHS",
    "WIRINGS",
    "AttentionConfig",
    "Config",
    "FeedForwardConfig",
    "InitConfig",
    "NormConfig",
    "Slots",
    "TransformerConfig",
    "WiringName",
    "arch_config",
    "refusal",
    "validated",
]


@dataclass(frozen=True, slots=True)
class Slots:
    """Where a sublayer has norms, in the order the data meets them.

    ``u = N_line_in(x);  x' = N_line_out(u + N_branch_out(f(N_branch_in(u))))``
    """

    line_in: bool = False
    branch_in: bool = False
    branch_out: bool = False
    line_out: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The slots that hold a norm, in data order."""
        return tuple(name for name in self.__slots__ if getattr(self, name))


WiringName = Literal["post_norm", "pre_norm", "double_norm", "out_norm"]
"""How norms and residual line are wired."""

WIRINGS: dict[WiringName, Slots] = {
    "post_norm": Slots(line_out=True),
    "pre_norm": Slots(branch_in=True),
    "double_norm": Slots(branch_in=True, branch_out=True),
    "out_norm": Slots(branch_out=True),
}
"""The norm slots of every wiring, the same for both sublayers of a block."""


class NormConfig(Config):
    """The norm used in every slot and before the head."""

    kind: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    """RMSNorm, or LayerNorm; both have a gain and no bias."""
    eps: float = Field(1e-5, gt=0)
    """Added to the mean square (RMSNorm) or the variance (LayerNorm) before the root."""


class AttentionConfig(Config):
    """Causal self-attention."""

    n_heads: int = Field(4, gt=0)
    """Attention heads; must divide d_model."""
    qk_norm: Literal["none", "head"] = "none"
    """Whether queries and keys are normalised, each head over its own width."""


class FeedForwardConfig(Config):
    """The gated feed-forward sublayer (SwiGLU)."""

    d_ff: int | None = Field(None, gt=0)
    """Hidden width; when left out, 8/3 of d_model rounded up to a multiple of 8."""


class InitConfig(Config):
    """How weights are drawn; gains start at 1."""

    scheme: Literal["xavier"] = "xavier"
    """Linear weights: normal with variance 2/(fan_in + fan_out)."""
    embed_std: float = Field(0.02, ge=0)
    """Standard deviation of token and position embeddings."""


class TransformerConfig(Config):
    """A decoder-only transformer: learned positions, no biases, untied head."""

    vocab_size: int = Field(256, gt=0)
    """Distinct tokens; 256 for text read as bytes."""
    d_model: int = Field(64, gt=0)
    """Width of the residual line."""
    n_layers: int = Field(6, gt=0)
    """Blocks, each attention and feed-forward."""
    seq_len: int = Field(64, gt=0)
    """Longest sequence, in tokens."""
    wiring: WiringName = "pre_norm"
    """Where the norms stand."""
    norm: NormConfig = NormConfig()
    """The norm in every slot."""
    attention: AttentionConfig = AttentionConfig()
    """Causal self-attention."""
    feedforward: FeedForwardConfig = FeedForwardConfig()
    """The feed-forward sublayer."""
    initialization: InitConfig = InitConfig()
    """How weights are drawn."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "TransformerConfig":
        n_heads, d_model = self.attention.n_heads, self.d_model
        if d_model % n_heads:
            divisors = ", ".join(str(n) for n in range(1, d_model + 1) if d_model % n == 0)
            raise refusal(
                "attention.n_heads", f"got {n_heads}; must divide d_model {d_model}, accepted: {divisors}"
            )
        return self

    @property
    def slots(self) -> Slots:
        """The norm slots of both sublayers."""
        return WIRINGS[self.wiring]

    @property
    def has_final_norm(self) -> bool:
        """Whether a norm stands before the head: unless the last sublayer leaves the line normalised."""
        return not self.slots.line_out

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.attention.n_heads

    @property
    def d_ff(self) -> int:
        """Hidden width of the feed-forward sublayer, resolved."""
        if self.feedforward.d_ff is not None:
            return self.feedforward.d_ff
        return -(-self.d_model * 8 // (3 * 8)) * 8

    def resolved(self) -> "TransformerConfig":
        """Return the same configuration with every value that was left to a rule written out."""
        return self.model_copy(
            update={"feedforward": self.feedforward.model_copy(update={"d_ff": self.d_ff})}
        )


ARCHS: tuple[str, ...] = get_args(WiringName)
"""What ``--arch`` takes."""

_ARCH_EXTRAS: dict[str, dict[str, Any]] = {
    # Attention reads the bare line there: without QK-norm logits grow with the line's mean square.
    "out_norm": {"attention": {"qk_norm": "head"}},
}


def arch_config(arch: str) -> dict[str, Any]:
    """Return the nested fields of ``TransformerConfig`` that an architecture's name stands for.

    Args:
        arch: One of ``ARCHS``.

    Raises:
        ConfigError: There is no such architecture; the closest names are given.
    """
    if arch not in ARCHS:
        raise ConfigError(f"arch: got {arch!r}; {closest(arch, ARCHS)}")
    extras = {section: dict(fields) for section, fields in _ARCH_EXTRAS.get(arch, {}).items()}
    return {"wiring": arch, **extras}
