"""What a transformer is made of, field by field, and the sizes that follow. No torch."""

import math
from fractions import Fraction
from typing import Literal

from pydantic import Field

from stabilitykit.lab.model.sections import (
    UNSCALED,
    AttentionConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    HeadConfig,
    InitConfig,
    LayerKind,
    LayerOverride,
    NormConfig,
    PositionConfig,
    RescaleConfig,
    ResidualConfig,
)
from stabilitykit.lab.model.wirings import WIRINGS, Slots, WiringName
from stabilitykit.lab.validation import Config


class Architecture(Config):
    """The fields of a decoder-only transformer, and what follows from them; nothing is checked yet."""

    vocab_size: int = Field(256, gt=0)
    """Distinct tokens; 256 for text read as bytes."""
    d_model: int = Field(64, gt=0)
    """Width of the residual stream."""
    n_layers: int = Field(6, gt=0)
    """Blocks, each attention and feed-forward."""
    seq_len: int = Field(64, gt=0)
    """Longest sequence, in tokens."""
    wiring: WiringName = "pre_norm"
    """Where the norms stand."""
    order: Literal["serial", "parallel"] = "serial"
    """Feed-forward after attention, or both from the same line."""
    shared_norm: bool = False
    """Whether parallel branches share their first norm."""
    final_norm: Literal["auto"] | bool = "auto"
    """Whether a norm stands before the head; auto: unless the last sublayer ends in one or has none."""
    final_norm_config: NormConfig | None = None
    """That norm, where it differs from the model's."""
    norm: NormConfig = NormConfig()
    """The norm in every slot."""
    position: PositionConfig = PositionConfig()
    """How a token's position is told."""
    attention: AttentionConfig = AttentionConfig()
    """Causal self-attention."""
    feedforward: FeedForwardConfig = FeedForwardConfig()
    """The feed-forward sublayer."""
    residual: ResidualConfig = ResidualConfig()
    """How a branch joins the stream."""
    embedding: EmbeddingConfig = EmbeddingConfig()
    """From tokens to the stream."""
    head: HeadConfig = HeadConfig()
    """From the stream to logits."""
    initialization: InitConfig = InitConfig()
    """How weights are drawn."""
    unit_weights: bool = False
    """Whether matrices and token embeddings have length 1 along d_model, when drawn and after each step."""
    pattern: tuple[LayerKind, ...] = (LayerKind(),)
    """Kinds of layers, repeated over the depth."""
    overrides: tuple[LayerOverride, ...] = ()
    """Wirings of single layers; a later entry wins."""

    def layer_kind(self, layer: int) -> LayerKind:
        """Return what the layer of that number, from 0, attends to."""
        return self.pattern[layer % len(self.pattern)]

    def wiring_of(self, layer: int, sublayer: str) -> WiringName:
        """Return the wiring of a layer's sublayer, ``attn`` or ``mlp``."""
        for override in reversed(self.overrides):
            if layer in override.layers:
                return override.wiring
        own = self.attention.wiring if sublayer == "attn" else self.feedforward.wiring
        return own or self.wiring

    def slots(self, layer: int, sublayer: str) -> Slots:
        """Return the norm slots of a layer's sublayer, ``attn`` or ``mlp``."""
        return WIRINGS[self.wiring_of(layer, sublayer)]

    def rescale_of(self, kind: LayerKind) -> RescaleConfig:
        """Return how rope's frequencies are stretched in layers of that kind."""
        plain = kind.span == "sliding" and not self.position.rescale_local
        return UNSCALED if plain else self.position.rescale

    def norm_of(self, part: Literal["embed", "attn", "mlp", "final"]) -> NormConfig:
        """Return the norm behind the embedding, in a sublayer, or before the head."""
        own = {
            "embed": self.embedding.norm_config,
            "attn": self.attention.norm,
            "mlp": self.feedforward.norm,
            "final": self.final_norm_config,
        }
        return own[part] or self.norm

    def residual_of(self, sublayer: str) -> ResidualConfig:
        """Return how the branch of a sublayer, ``attn`` or ``mlp``, joins the stream."""
        own = self.attention.residual if sublayer == "attn" else self.feedforward.residual
        return own or self.residual

    @property
    def has_final_norm(self) -> bool:
        """Whether a norm stands before the head."""
        if self.final_norm != "auto":
            return self.final_norm
        last = self.slots(self.n_layers - 1, "mlp")
        return bool(last.names) and not last.line_out

    @property
    def n_kv_heads(self) -> int:
        """Key and value heads, resolved."""
        return self.attention.n_kv_heads or self.attention.n_heads

    @property
    def head_dim(self) -> int:
        """Width of one attention head, resolved."""
        return self.attention.head_dim or self.d_model // self.attention.n_heads

    @property
    def rotary_dim(self) -> int:
        """Features of a head that rope rotates."""
        return int(self.head_dim * self.position.rotary_fraction)

    @property
    def logit_scale(self) -> float:
        """Factor on q·k, resolved."""
        rules = {
            "rsqrt_head_dim": 1 / math.sqrt(self.head_dim),
            "inv_head_dim": 1 / self.head_dim,
            "sqrt_head_dim": math.sqrt(self.head_dim),
            "none": 1.0,
        }
        scale = self.attention.logit_scale
        return rules[scale] if isinstance(scale, str) else scale

    @property
    def qk_norm(self) -> NormConfig:
        """The norm of queries and keys, resolved."""
        return self.attention.qk_norm_config or NormConfig(eps=self.norm.eps)

    @property
    def d_ff(self) -> int:
        """Hidden width of the feed-forward sublayer, resolved."""
        section = self.feedforward
        if section.d_ff is not None:
            return section.d_ff
        ratio = Fraction(8, 3) if section.gated else Fraction(4)
        if section.ratio is not None:
            # A typed ratio such as 2.6667 is meant as the fraction near by.
            ratio = Fraction(section.ratio).limit_denominator(10_000)
        return math.ceil(self.d_model * ratio / section.multiple_of) * section.multiple_of

    @property
    def embed_std(self) -> float:
        """Standard deviation of embeddings at the start, resolved."""
        section = self.initialization
        if section.embed_std is not None:
            return section.embed_std
        if section.scheme == "mup":
            return self.base_width**-0.5 if self.head.tied else 1.0
        return {"tfixup": 1 / math.sqrt(self.d_model), "t5": 1.0}.get(section.scheme, 0.02)

    @property
    def base_width(self) -> int:
        """The width whose scales are kept at all others: the scheme mup's, elsewhere d_model itself."""
        return self.initialization.mup_base_width or self.d_model

    @property
    def output_scale(self) -> float:
        """Constant factor on the logits, resolved."""
        scale = self.head.scale
        own = self.d_model**-0.5 if scale == "rsqrt_d" else float(scale)
        return own * (self.base_width / self.d_model)
