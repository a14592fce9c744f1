"""How fast rope turns each pair of features: by its base alone, or stretched for a longer context."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from stabilitykit.lab.model.sections import RescaleConfig, RescaleKind


class _Rope(NamedTuple):
    """What a rule may look at."""

    plain: Float[Tensor, "pairs"]
    """Radians a token, before."""
    theta: float
    length: int
    factor: float
    original: int
    rescale: RescaleConfig


def frequencies(
    width: int, theta: float, length: int, rescale: RescaleConfig, like: Tensor
) -> Float[Tensor, "pairs"]:
    """Return by how many radians a token each pair of features turns.

    Args:
        width: Features that are rotated; even.
        theta: Base of the wavelengths: pair ``i`` turns by ``theta^(−2i/width)``, before rescaling.
        length: Tokens of the sequence, for the kinds that depend on it.
        rescale: How the frequencies are stretched.
        like: A tensor on the device and in the type the result should have.
    """
    exponents = torch.arange(0, width, 2, dtype=like.dtype, device=like.device) / width
    plain = theta**-exponents
    if rescale.kind == "none":
        return plain
    rope = _Rope(plain, theta, length, rescale.factor or 1.0, rescale.original_len or length, rescale)
    return _RULES[rescale.kind](rope)


def amplitude(rescale: RescaleConfig) -> float:
    """Return the factor on cosine and sine, with which logits grow by its square.

    Left out, it is ``0.1·ln(factor) + 1`` in yarn (Peng et al. 2309.00071) and
    ``√(1 + ln(factor)/ln(original_len))`` in longrope (Ding et al. 2402.13753).
    """
    if rescale.attention_factor is not None:
        return rescale.attention_factor
    factor = rescale.factor or 1.0
    if rescale.kind == "yarn":
        return 0.1 * math.log(factor) + 1
    if rescale.kind == "longrope" and rescale.original_len is not None:
        return math.sqrt(1 + math.log(factor) / math.log(rescale.original_len))
    return 1.0


def _linear(rope: _Rope) -> Float[Tensor, "pairs"]:
    """Positions are interpolated (Chen et al. 2306.15595)."""
    return rope.plain / rope.factor


def _dynamic(rope: _Rope) -> Float[Tensor, "pairs"]:
    """The base grows by ``r^(width/(width−2))``, ``r = factor·length/original − (factor − 1)``, from 1 on.

    So the slowest pair is interpolated and the fastest kept ("dynamic NTK", transformers' rope type dynamic;
    there the longest sequence of the past counts, too, as long as sequences stay beyond the original).
    """
    ratio = rope.factor * max(rope.length, rope.original) / rope.original - (rope.factor - 1)
    pairs = rope.plain.shape[0]
    place = torch.arange(pairs, dtype=rope.plain.dtype, device=rope.plain.device) / max(pairs - 1, 1)
    return rope.plain * ratio**-place


def _llama3(rope: _Rope) -> Float[Tensor, "pairs"]:
    """Slow pairs are divided by factor, fast ones kept, those between mixed (Llama 3.1's code)."""
    turns = rope.original * rope.plain / (2 * math.pi)
    low, high = rope.rescale.low_freq, rope.rescale.high_freq
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return rope.plain * (kept + (1 - kept) / rope.factor)


def _yarn(rope: _Rope) -> Float[Tensor, "pairs"]:
    """The same with a ramp that is linear in the pair's number (Peng et al. 2309.00071, section 3.2)."""
    pairs = rope.plain.shape[0]
    first = max(_pair_with(rope.rescale.beta_fast, rope, math.floor), 0.0)
    last = min(_pair_with(rope.rescale.beta_slow, rope, math.ceil), 2.0 * pairs - 1)
    # As in the released code: equal ends would divide by zero.
    last = last + 1e-3 if first == last else last
    number = torch.arange(pairs, dtype=rope.plain.dtype, device=rope.plain.device)
    divided = ((number - first) / (last - first)).clamp(0, 1)
    return rope.plain * (divided / rope.factor + (1 - divided))


def _pair_with(turns: float, rope: _Rope, rounded: Callable[[float], int]) -> float:
    """Return the number of the pair that makes so many turns in the original context."""
    width = 2 * rope.plain.shape[0]
    number = width * math.log(rope.original / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))
    return float(rounded(number)) if rope.rescale.truncate else number


def _longrope(rope: _Rope) -> Float[Tensor, "pairs"]:
    """Every pair has a divisor of its own, found by search (Ding et al. 2402.13753)."""
    divisors = rope.rescale.long if rope.length > rope.original else rope.rescale.short
    return rope.plain / rope.plain.new_tensor(divisors)


_RULES: dict[RescaleKind, Callable[[_Rope], Tensor]] = {
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}
