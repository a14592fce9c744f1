"""How a token's position is told: vectors, rotations, and biases on the attention logits."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.rope import amplitude, frequencies
from stabilitykit.lab.model.rotate import turned
from stabilitykit.lab.model.sections import UNSCALED, PositionConfig, RescaleConfig


class LearnedPositions(nn.Module):
    """Holds one learned vector a position."""

    def __init__(self, seq_len: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(seq_len, d_model))

    def forward(self, length: int, start: int = 0) -> Float[Tensor, "seq d_model"]:
        """Return the vectors of ``length`` positions from ``start`` on."""
        return self.weight[start : start + length]


def sine_positions(
    length: int, d_model: int, position: PositionConfig | None = None, start: int = 0
) -> Float[Tensor, "seq d_model"]:
    """Return a sine and a cosine of the position for every pair of features (Vaswani et al. 1706.03762).

    Pair ``i`` of ``n`` has the frequency ``10000^(−i/n)``, or ``10000^(−i/(n−1))`` where it is closed.

    Args:
        length: Tokens.
        d_model: Features.
        position: Where cosines stand, which frequencies, and the first position's number; as in the paper
            when left out.
        start: Tokens before them.
    """
    position = position or PositionConfig(kind="sine")
    pairs = (d_model + 1) // 2
    spaces = max(pairs - 1, 1) if position.sine_closed else d_model / 2
    turns = 10_000.0 ** -(torch.arange(pairs, dtype=torch.float32) / spaces)
    start += position.sine_start
    angles = torch.outer(torch.arange(start, start + length, dtype=torch.float32), turns)
    both = (angles.sin(), angles.cos())
    halves = position.sine_layout == "half"
    return (torch.cat(both, -1) if halves else torch.stack(both, -1).flatten(-2))[:, :d_model]


class Rotation(NamedTuple):
    """Cosine and sine of every position's angles, as rope turns pairs of features by them."""

    cos: Float[Tensor, "seq width"]
    """Of each feature's angle; a pair's two are equal."""
    sin: Float[Tensor, "seq pairs"]
    """Of each pair's angle."""
    interleaved: bool
    """Whether neighbours are a pair, rather than i and i + width/2."""


def rotation(
    length: int,
    width: int,
    theta: float,
    interleaved: bool,
    like: Tensor,
    rescale: RescaleConfig = UNSCALED,
    start: int = 0,
    whole: int | None = None,
) -> Rotation:
    """Return the rotation of ``length`` positions: pair ``i`` turns by ``theta^(−2i/width)`` a token.

    Args:
        length: Tokens.
        width: Features that are rotated; even.
        theta: Base of the wavelengths.
        interleaved: Whether neighbours are a pair, rather than i and i + width/2.
        like: A tensor on the device and in the type the result should have.
        rescale: How the frequencies are stretched; not at all when left out.
        start: Tokens before them.
        whole: Tokens of the sequence that they are part of, for the kinds of rescaling that depend on it;
            when left out, it ends with them.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    turns = frequencies(width, theta, whole or start + length, rescale, like.new_empty((), dtype=dtype))
    angles = torch.outer(torch.arange(start, start + length, dtype=dtype, device=like.device), turns)
    factor = amplitude(rescale)
    cos, sin = (each if factor == 1 else each * factor for each in (angles.cos(), angles.sin()))
    cos, sin = cos.to(like.dtype), sin.to(like.dtype)
    return Rotation(cos.repeat_interleave(2, -1) if interleaved else cos.repeat(1, 2), sin, interleaved)


def rotate(
    x: Float[Tensor, "batch heads seq head_dim"], turn: Rotation
) -> Float[Tensor, "batch heads seq head_dim"]:
    """Return ``x`` with the leading features rotated by their positions (Su et al. 2104.09864)."""
    # Under autocast the stream, and so the angles, may be wider than queries and keys.
    wide = x.to(torch.promote_types(x.dtype, turn.cos.dtype))
    return turned(wide, *turn).to(x.dtype)


def alibi_slopes(n_heads: int) -> Float[Tensor, "heads"]:
    """Return each head's slope (Press et al. 2108.12409).

    For a power of two ``2^(−8i/n)``; otherwise those of the next lower power of two, then every other one
    of twice that many.
    """
    lower = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (i + 1) / lower) for i in range(lower)]
    between = [2 ** (-4 * (i + 1) / lower) for i in range(0, 2 * lower, 2)]
    return torch.tensor((slopes + between)[:n_heads])


def distances(length: int) -> Int[Tensor, "seq seq"]:
    """Return how many tokens before each query, by row, each key, by column, stands; negative behind it."""
    position = torch.arange(length)
    return position[:, None] - position[None, :]


def t5_buckets(
    distance: Int[Tensor, "queries keys"], buckets: int, max_distance: int
) -> Int[Tensor, "queries keys"]:
    """Return the bucket of every pair of query and key (Raffel et al. 1910.10683, one direction).

    The first half of the buckets are single distances; the rest grow by a constant factor up to
    ``max_distance``, from which on all distances share the last one. Later keys count as distance 0.
    """
    distance = distance.clamp(min=0)
    single = buckets // 2
    grown = torch.log(distance.clamp(min=1) / single) / math.log(max_distance / single)
    wide = (single + (grown * (buckets - single)).long()).clamp(max=buckets - 1)
    return torch.where(distance < single, distance, wide)


class AlibiBias(nn.Module):
    """Lowers a head's logits in proportion to the distance; nothing is learned."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self._n_heads = config.attention.n_heads

    def forward(
        self, distance: Int[Tensor, "queries keys"], like: Tensor
    ) -> Float[Tensor, "heads queries keys"]:
        """Return what is added to the logits of every head, query and key, by their distance."""
        return (-alibi_slopes(self._n_heads)[:, None, None] * distance).to(like)


class T5Bias(nn.Module):
    """Holds a learned bias for every head and bucket of distances; all layers share it."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self._buckets, self._max_distance = config.position.buckets, config.position.max_distance
        self.weight = nn.Parameter(torch.zeros(self._buckets, config.attention.n_heads))

    def forward(
        self, distance: Int[Tensor, "queries keys"], like: Tensor
    ) -> Float[Tensor, "heads queries keys"]:
        """Return what is added to the logits of every head, query and key, by their distance."""
        buckets = t5_buckets(distance, self._buckets, self._max_distance).to(like.device)
        return self.weight[buckets].permute(2, 0, 1).to(like.dtype)


def build_logit_bias(config: TransformerConfig) -> AlibiBias | T5Bias | None:
    """Return the configured bias on the attention logits, if there is one."""
    kinds: dict[str, type[AlibiBias | T5Bias]] = {"alibi": AlibiBias, "t5_bias": T5Bias}
    kind = kinds.get(config.position.kind)
    return None if kind is None else kind(config)
