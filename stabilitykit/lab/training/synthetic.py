"""A synthetic text whose entropies are known exactly, and which rewards looking back. No torch."""

import numpy as np
from numpy.typing import NDArray

from stabilitykit.lab.training.config import SyntheticConfig
from stabilitykit.lab.training.text import MemoryText

_BYTES = 256

Distribution = NDArray[np.float64]


def synthetic_text(config: SyntheticConfig) -> MemoryText:
    """Return the text: blocks of a Markov chain, some of them copies of the one before the last.

    The distribution π of symbols falls off as 1/(1 + ⌊i/4⌋). Within a block the next symbol is, with
    probability ``repeat``, the successor of this one on a cycle of four symbols of equal π, and else drawn
    from π; so π is the stationary distribution of the chain. Each block begins with a draw from π or is,
    with probability ``copy``, the block two before it. Even and odd blocks never mix, and so what meets at
    a seam is independent.

    Args:
        config: Sizes and probabilities; up to 256 symbols are bytes, more are 16-bit words.
            The text follows from them alone, whatever the run's seed.
    """
    blocks = -(-config.length // config.block)
    draws = np.random.Philox(key=0)
    text = np.empty((blocks, config.block), "<u1" if config.symbols <= _BYTES else "<u2")
    cumulative = np.cumsum(_symbol_distribution(config))
    for place in range(config.block):
        fresh = _drawn(cumulative, _uniform(draws, blocks))
        if place:
            repeats = _uniform(draws, blocks) < config.repeat
            fresh = np.where(repeats, _successor(text[:, place - 1]), fresh)
        text[:, place] = fresh
    source = _sources(_uniform(draws, blocks) < config.copy_rate)
    values = text[source].ravel()[: config.length]
    values.setflags(write=False)
    return MemoryText(values)


def exact_entropies(config: SyntheticConfig) -> tuple[float, float]:
    """Return H(x) and H(x′|x) of the synthetic text's distribution, in nats.

    With ``T`` the chain's transitions and ``B`` the block's length, neighbours have the distribution
    ``J = (1 − 1/B)·diag(π)·T + ππᵀ/B``, whose two marginals are π. Row i of J is ``πᵢ·((1 − a)·π + a·e)``,
    where ``a = (1 − 1/B)·repeat`` and e is 1 at i's successor, whose own probability is πᵢ too. So without a
    table of pairs ``H(x′|x) = Σᵢ πᵢ·(h − f((1 − a)·πᵢ) + f((1 − a)·πᵢ + a))``, where ``f(p) = −p·ln p`` and
    ``h = Σⱼ f((1 − a)·πⱼ)``.

    Args:
        config: Sizes and probabilities.
    """
    distribution = _symbol_distribution(config)
    bonus = (1 - 1 / config.block) * config.repeat
    shares = (1 - bonus) * distribution
    rows = _terms(shares).sum() - _terms(shares) + _terms(shares + bonus)
    return float(_terms(distribution).sum()), float(distribution @ rows)


def symbol_probabilities(config: SyntheticConfig) -> Distribution:
    """Return the probabilities of the 256 bytes, or of more symbols, in the synthetic text's distribution."""
    return np.pad(_symbol_distribution(config), (0, max(_BYTES - config.symbols, 0)))


def _symbol_distribution(config: SyntheticConfig) -> Distribution:
    weights = 1 / (1 + np.arange(config.symbols) // 4)
    distribution: Distribution = weights / weights.sum()
    return distribution


def _successor(symbols: NDArray[np.integer]) -> NDArray[np.integer]:
    return symbols // 4 * 4 + (symbols + 1) % 4


def _sources(is_copy: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the block that each block's symbols come from: itself, or what block i − 2 is."""
    numbers = np.arange(len(is_copy))
    # The first two have nothing to copy.
    own = np.where(is_copy & (numbers >= 2), 0, numbers)
    for parity in (0, 1):
        own[parity::2] = np.maximum.accumulate(np.maximum(own[parity::2], parity))
    return own


def _uniform(draws: np.random.Philox, n: int) -> Distribution:
    # Raw words: NumPy may change how it makes floats of them, not the words.
    words: NDArray[np.uint64] = draws.random_raw(n)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _drawn(cumulative: Distribution, uniform: Distribution) -> NDArray[np.int64]:
    return np.searchsorted(cumulative[:-1], uniform, side="right")


def _terms(distribution: Distribution) -> Distribution:
    """Return −p·ln p of probabilities above 0."""
    terms: Distribution = -distribution * np.log(distribution)
    return terms
