"""The sections of a transformer's configuration, one for each part. No torch."""

from typing import Literal

from pydantic import Field

from stabilitykit.lab.model.wirings import WiringName
from stabilitykit.lab.validation import Config

NormKind = Literal["rmsnorm", "layernorm", "l2", "dyt", "derf"]
PositionKind = Literal["learned", "sine", "none", "rope", "alibi", "t5_bias"]
RescaleKind = Literal["none", "linear", "dynamic", "llama3", "yarn", "longrope"]
Activation = Literal[
    "silu",
    "relu",
    "relu2",
    "leaky_relu",
    "gelu",
    "gelu_tanh",
    "elu",
    "selu",
    "xielu",
    "mish",
    "tanh",
    "softplus",
    "identity",
    "sigmoid",
]
Scheme = Literal[
    "xavier",
    "normal",
    "gpt2",
    "llama_depth",
    "small",
    "wang",
    "deepnorm",
    "subln",
    "tfixup",
    "t5",
    "fan_in",
    "spectral",
    "mup",
]


class NormConfig(Config):
    """A norm, or what stands in for one; without more said, in every slot and before the head."""

    kind: NormKind = "rmsnorm"
    """RMSNorm, LayerNorm, x/‖x‖ (l2), or element-wise tanh(αx) (dyt) or erf(αx + s) (derf)."""
    eps: float = Field(1e-5, gt=0)
    """Added to the mean square or the variance before the root; the least norm of l2; unused by dyt, derf."""
    gain: bool = True
    """Whether each feature is multiplied by a learned gain."""
    gain_offset: float = 0.0
    """Added to the stored gain: with 1 it is stored, decayed and started as a difference from 1."""
    bias: bool = False
    """Whether a learned bias is added to each feature."""
    alpha0: float = Field(0.5, gt=0)
    """Where the learned α of dyt and derf starts."""


class RescaleConfig(Config):
    """How rope's frequencies are stretched for a context longer than the one it was trained in."""

    kind: RescaleKind = "none"
    """All divided by factor (linear), a base that grows with the sequence (dynamic), slow ones divided and
    fast ones kept (llama3, yarn), or each divided by its own number (longrope)."""
    factor: float | None = Field(None, ge=1)
    """How many times longer the context became; every kind but none needs it."""
    original_len: int | None = Field(None, ge=2)
    """Context before, in tokens; every kind but none and linear needs it."""
    low_freq: float = Field(1.0, gt=0)
    """llama3: frequencies with fewer turns than this in original_len are divided by factor."""
    high_freq: float = Field(4.0, gt=0)
    """llama3: frequencies with more turns than this are kept."""
    beta_slow: float = Field(1.0, gt=0)
    """yarn: about here, in turns in original_len, frequencies are fully divided by factor."""
    beta_fast: float = Field(32.0, gt=0)
    """yarn: about here they are kept."""
    truncate: bool = True
    """yarn: whether both ends of the ramp between are moved to whole pairs of features."""
    short: tuple[float, ...] | None = None
    """longrope: divisor of each pair's frequency in sequences of at most original_len tokens."""
    long: tuple[float, ...] | None = None
    """longrope: those in longer ones."""
    attention_factor: float | None = Field(None, gt=0)
    """yarn, longrope: factor on cos and sin; if left out, 1 + 0.1·ln factor or √(1 + log_original factor)."""


UNSCALED = RescaleConfig()
"""Frequencies as they are."""


class ResidualConfig(Config):
    """How a branch joins the stream."""

    skip_scale: float = 1.0
    """Factor on the stream where the branch is added."""
    branch_scale: float = 1.0
    """Constant factor on the branch."""
    branch_depth_exponent: float = Field(0.0, ge=0, le=1)
    """α in a further factor n_layers^-α on it; 1 in CompleteP, which leaves learning rates alone."""
    gate: Literal["none", "scalar", "vector"] = "none"
    """A learned factor on the branch: one, or one a feature. The wiring lerp takes a vector for none."""
    gate_init: float | None = None
    """Where it starts; when left out, 0, and 1/n_layers in the wiring lerp."""
    gpas: bool = False
    """Whether the stream's activations, not their gradients, are scaled by a learned 1 − silu(g)."""
    depth_scale: Literal["none", "inv_sqrt_layer"] = "none"
    """Whether what a branch's first norm gives is divided by the root of the layer's number, from 1."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of a branch's features set to zero in training."""


class PositionConfig(Config):
    """How a token's position is told."""

    kind: PositionKind = "learned"
    """Added to the embedding (learned, sine), rotated into q and k (rope), added to the logits, or not."""
    theta: float = Field(10_000.0, gt=0)
    """Base of rope's wavelengths."""
    theta_local: float | None = Field(None, gt=0)
    """Base in sliding layers; when left out, theta."""
    rotary_fraction: float = Field(1.0, gt=0, le=1)
    """Leading share of a head's width that rope rotates; the rest is left as it is."""
    layout: Literal["half", "interleaved"] = "half"
    """Which features rope pairs: i with i + half the rotated width, or neighbours."""
    rescale: RescaleConfig = RescaleConfig()
    """How rope's frequencies are stretched for a longer context."""
    rescale_local: bool = True
    """Whether they are in sliding layers, too."""
    sine_layout: Literal["interleaved", "half"] = "interleaved"
    """Where sine's cosines stand: behind each sine, or all in the second half."""
    sine_closed: bool = False
    """Whether sine's slowest pair turns by 10000^-1 a token: 10000^(−i/(pairs−1)), not 10000^(−i/pairs)."""
    sine_start: int = Field(0, ge=0)
    """Number of the first position, for sine."""
    buckets: int = Field(32, ge=4)
    """Distances that t5_bias tells apart."""
    max_distance: int = Field(128, gt=0)
    """Distance in tokens from which on t5_bias puts all into the last bucket."""


class AttentionConfig(Config):
    """Causal self-attention."""

    n_heads: int = Field(4, gt=0)
    """Query heads; must divide d_model unless head_dim is given."""
    n_kv_heads: int | None = Field(None, gt=0)
    """Key and value heads, each shared by a group of query heads; when left out, n_heads."""
    head_dim: int | None = Field(None, gt=0)
    """Width of a head; when left out, d_model / n_heads."""
    wiring: WiringName | None = None
    """The wiring of this sublayer, where it differs from the model's."""
    norm: NormConfig | None = None
    """The norms of this sublayer, but of queries, keys and values, where they differ from the model's."""
    residual: ResidualConfig | None = None
    """How this sublayer's branch joins the stream, where that differs from the model's."""
    logit_scale: float | Literal["rsqrt_head_dim", "inv_head_dim", "sqrt_head_dim", "none"] = "rsqrt_head_dim"
    """Factor on q·k: a number, head_dim^-½, 1/head_dim, √head_dim or 1."""
    qk_norm: Literal["none", "head", "full"] = "none"
    """Whether queries and keys are normalised: each head over its own width, or all heads as one row."""
    qk_norm_at: Literal["pre_rope", "post_rope"] = "pre_rope"
    """Whether that happens before or after rope's rotation."""
    qk_norm_config: NormConfig | None = None
    """The norm of queries and keys; when left out, RMSNorm with a gain and the model's eps."""
    qk_gain_per_head: bool = False
    """Whether every head has its own gain in the queries' and keys' norm."""
    v_norm: bool = False
    """Whether values pass the same kind of norm as queries and keys."""
    softcap: float | None = Field(None, gt=0)
    """c in c·tanh(logit/c), applied before the mask."""
    clip_qkv: float | None = Field(None, gt=0)
    """Queries, keys and values are clamped to ± this after their projections."""
    sinks: Literal["none", "learned", "zero"] = "none"
    """A further logit a head in the softmax's sum, which gathers nothing: learned, or fixed at 0."""
    temperature_floor: int | None = Field(None, gt=0)
    """f in 1 + s·log(⌊(i+b)/f⌋ + 1), the factor on query i, from 0; none if left out."""
    temperature_scale: float = Field(0.1, ge=0)
    """s in that formula."""
    temperature_start: Literal[0, 1] = 1
    """b in that formula, what the first query counts as."""
    temperature_layers: Literal["no_position", "all"] = "no_position"
    """Whether it acts in layers without position alone."""
    qkv_bias: bool = False
    """Whether the projections to queries, keys and values have biases."""
    out_bias: bool = False
    """Whether the output projection has a bias."""
    out_norm: bool = False
    """Whether a norm stands before the output projection."""
    head_scale: bool = False
    """Whether each head's output has a learned factor."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of attention weights set to zero in training."""
    implementation: Literal["auto", "eager"] = "auto"
    """The fused kernel wherever it can express the rest, or always matrix by matrix."""


class FeedForwardConfig(Config):
    """The feed-forward sublayer."""

    activation: Activation = "silu"
    """The non-linearity."""
    gated: bool = True
    """Whether the activation multiplies a second projection: (act(x W_gate) ⊗ x W_up) W_down."""
    d_ff: int | None = Field(None, gt=0)
    """Hidden width; when left out, ratio · d_model rounded up to a multiple of multiple_of."""
    ratio: float | None = Field(None, gt=0)
    """Hidden width over d_model; when left out, 8/3 if gated, else 4."""
    multiple_of: int = Field(8, gt=0)
    """What a hidden width from a ratio is rounded up to."""
    wiring: WiringName | None = None
    """The wiring of this sublayer, where it differs from the model's."""
    norm: NormConfig | None = None
    """The norms of this sublayer, where they differ from the model's."""
    residual: ResidualConfig | None = None
    """How this sublayer's branch joins the stream, where that differs from the model's."""
    bias: bool = False
    """Whether the projections have biases."""
    mid_norm: bool = False
    """Whether a norm stands before the last projection."""
    pre_scale: float | Literal["sqrt_d"] = 1.0
    """Factor on what the first projections give: a number, or √d_model."""
    pre_gain: bool = False
    """Whether each feature of theirs has a learned factor."""
    clamp: float | None = Field(None, gt=0)
    """Pre-activations are clamped to ± this; of a gate only the top."""
    alpha: float = Field(1.0, gt=0)
    """α in silu's x·σ(αx); 1.702 makes it the quick form of GELU."""
    up_offset: float = 0.0
    """Added to what a gate multiplies: act(x W_gate) ⊗ (x W_up + offset)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of hidden features set to zero in training."""


class EmbeddingConfig(Config):
    """From tokens to the residual stream."""

    scale: float | Literal["sqrt_d"] = 1.0
    """Factor on token embeddings: a number, or √d_model."""
    norm: bool = False
    """Whether a norm stands behind the embedding."""
    norm_config: NormConfig | None = None
    """That norm, where it differs from the model's."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of embedded features set to zero in training."""


class HeadConfig(Config):
    """From the residual stream to logits."""

    tied: bool = False
    """Whether the head's matrix is the token embedding."""
    bias: bool = False
    """Whether every token of the vocabulary has a bias."""
    scale: float | Literal["rsqrt_d"] = 1.0
    """Factor on the logits: a number, or d_model^-½. The scheme mup has one more, mup_base_width/d_model."""
    gain: bool = False
    """Whether every token of the vocabulary has a learned factor on its logit."""
    softcap: float | None = Field(None, gt=0)
    """c in c·tanh(logit/c), applied after the scale."""
    z_loss: float = Field(0.0, ge=0)
    """Weight of the mean squared log-sum-exp of the logits in the training loss."""


class InitConfig(Config):
    """How weights are drawn; gains start at 1, biases at 0."""

    scheme: Scheme = "xavier"
    """Rule for the matrices' standard deviations."""
    std: float = Field(0.02, ge=0)
    """Standard deviation that the schemes normal, gpt2 and llama_depth start from."""
    embed_std: float | None = Field(None, ge=0)
    """That of embeddings; when left out, 0.02, d_model^-½ in tfixup, 1 in t5, and in mup 1, or tied w^-½."""
    mup_base_width: int | None = Field(None, gt=0)
    """w, the d_model at which mup is fan_in; d_ff and all heads' width, also of keys, are to grow with it."""
    zero_branch_out: bool = False
    """Whether each sublayer's last matrix starts at zero."""
    zero_head: bool = False
    """Whether the head's matrix starts at zero."""


class LayerKind(Config):
    """What one layer of the pattern attends to, and how."""

    span: Literal["full", "sliding", "chunked"] = "full"
    """All tokens so far; the last window of them, itself included; or those of its own chunk of window."""
    window: int | None = Field(None, gt=0)
    """Tokens, for sliding and chunked layers."""
    position: bool = True
    """Whether rope, alibi or t5_bias applies in this layer."""
    qk_norm: bool = True
    """Whether the configured norm of queries and keys applies in this layer."""


class LayerOverride(Config):
    """A wiring of their own for some layers."""

    layers: tuple[int, ...]
    """Numbers of the layers, from 0."""
    wiring: WiringName
    """Their wiring, in both sublayers."""
