"""Dearer statistics of an activation, taken now and then from one sequence: device numbers, then host ones.

Null values below are those of independent Gaussian elements.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MEDIAN_OF = 2**16
"""At most so many evenly strided elements are sorted for a median."""
SILENT = 1e-3
"""A unit is silent that never exceeds this part of the layer's root mean square."""


def line_detail(x: Float[Tensor, "tokens width"]) -> Float[Tensor, "5"]:
    """Return what ``LineDetail`` is made of, on the device.

    max|x|, median|x|, ‖Σ_t x_t/‖x_t‖‖², Σ_j s_j² and Σ_j s_j⁴ with s_j² the mean square of channel j.

    Args:
        x: The tokens of one sequence; detached by the caller.
    """
    x = x.float()
    size = x.abs()
    strided = size.flatten()[:: max(1, -(-x.numel() // MEDIAN_OF))]
    direction = torch.nn.functional.normalize(x, dim=-1).sum(0)
    channel = x.square().mean(0)
    return torch.stack(
        [size.amax(), strided.median(), direction.dot(direction), channel.sum(), channel.dot(channel)]
    )


@dataclass(frozen=True, slots=True)
class LineDetail:
    """Statistics of the residual stream over the tokens of one sequence, on the host."""

    massive: float
    """max|x| / median|x| (Sun 2402.17762 §2 calls a thousand massive). Null: 6 to 8."""
    kurtosis: float
    """mean_j s_j⁴ / (mean_j s_j²)² over channels (He 2405.19279), 1 to the width. Null: 1."""
    token_spread: float
    """1 − the mean cosine of all pairs of tokens, (‖Σ u_t‖² − n) / (n(n − 1)) with u_t = x_t/‖x_t‖.

    0 where all tokens point the same way (Dong 2103.03404). Null: 1 ± √(2/(n²·width)).
    """

    @classmethod
    def of(cls, numbers: list[float], n_tokens: int, width: int) -> "LineDetail":
        """Return the statistics from the five numbers of ``line_detail``.

        Args:
            numbers: Its numbers on the host.
            n_tokens: Tokens looked at, at least 2.
            width: Channels of each.
        """
        most, median, direction, square, fourth = numbers
        return cls(
            massive=most / median if median else float(most > 0),
            kurtosis=width * fourth / square**2 if square else 1.0,
            token_spread=1 - (direction - n_tokens) / (n_tokens * (n_tokens - 1)),
        )


def silent_share(hidden: Float[Tensor, "tokens units"]) -> Float[Tensor, ""]:
    """Return the share of hidden units that are silent on all tokens, 0 to 1.

    Behind a ReLU that means zero on every token; behind a smooth activation |a| ≤ 10⁻³ of the layer's root
    mean square. A unit that fires with rate p looks silent on n tokens with probability (1 − p)ⁿ.

    Args:
        hidden: What enters the last projection of a feed-forward layer.
    """
    hidden = hidden.float()
    limit = torch.linalg.vector_norm(hidden) * (SILENT / hidden.numel() ** 0.5)
    share: Tensor = (hidden.abs().amax(0) <= limit).float().mean()
    return share
