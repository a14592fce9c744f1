"""What single operations compute and move, under one stated model.

Every tensor that an operation takes is read once and every one that it gives is written once, at the
workload's type; nothing is assumed to stay in a cache from one operation to the next. In backward the
operation takes its output's gradient and what it saved, and gives a gradient for each input and each of its
parameters; a product has two such operations, since its two gradients are two products.
"""

from typing import NamedTuple

from stabilitykit.lab.cost.operation import OpClass, Operation, work
from stabilitykit.lab.cost.workload import Workload
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.sections import NormConfig


class Case(NamedTuple):
    """What is predicted: a model and what it is asked to do."""

    config: TransformerConfig
    workload: Workload

    @property
    def tokens(self) -> int:
        """Tokens that go through the model."""
        return self.workload.tokens

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return self.workload.itemsize


def linear(case: Case, name: str, n_in: int, n_out: int, bias: bool, keeps: bool = True) -> list[Operation]:
    """Return a projection and the addition of its bias: 2·N·in·out FLOPs, and N·out.

    Args:
        case: Model and workload.
        name: The module's path.
        n_in: Features read.
        n_out: Features written.
        bias: Whether there is one.
        keeps: Whether what it reads is kept by it, rather than by an operation before it.
    """
    n, s = case.tokens, case.size
    flops, weight = 2 * n * n_in * n_out, n_in * n_out
    forward = work(flops, s * (n * n_in + weight), s * n * n_out)
    # dx = dy·Wᵀ and dW = xᵀ·dy.
    backward = work(2 * flops, s * (2 * n * n_out + weight + n * n_in), s * (n * n_in + weight))
    product = Operation(name, "contraction", forward, backward, saved=s * n * n_in if keeps else 0)
    if not bias:
        return [product]
    plus = pointwise(case, f"{name}.bias", n * n_out, shared=n_out, back=(1, 1, 0))
    return [product, plus]


def pointwise(
    case: Case,
    name: str,
    n: int,
    *,
    flops: int = 1,
    reads: int = 1,
    shared: int = 0,
    back: tuple[int, int, int] = (1, 1, 1),
    keeps: int = 0,
    op_class: OpClass = "element-wise",
) -> Operation:
    """Return an operation on every element of a tensor, perhaps with parameters that all rows share.

    Args:
        case: Model and workload.
        name: The module's path, or the function's.
        n: Elements of its output.
        flops: Operations an element, forward.
        reads: Tensors of that size read, forward.
        shared: Elements read that all rows share; where they are learned, their gradient is written.
        back: Operations an element, tensors read and tensors written, backward.
        keeps: Tensors of that size kept for it.
        op_class: Its class.
    """
    s = case.size
    back_flops, back_reads, back_writes = back
    forward = work(flops * n, s * (reads * n + shared), s * n)
    backward = work(back_flops * n, s * (back_reads * n + shared), s * (back_writes * n + shared))
    return Operation(name, op_class, forward, backward, saved=s * keeps * n)


def factor(case: Case, name: str, n: int, shared: int) -> Operation:
    """Return the product with a learned factor of ``shared`` elements: it keeps what it reads.

    Args:
        case: Model and workload.
        name: The module's path.
        n: Elements of its output.
        shared: Elements of the factor.
    """
    return pointwise(case, name, n, shared=shared, back=(3, 2, 1), keeps=1)


def dropout(case: Case, name: str, n: int, rate: float) -> list[Operation]:
    """Return dropout, which draws a mask and multiplies by it; none outside training.

    Args:
        case: Model and workload.
        name: What it acts on.
        n: Elements.
        rate: Share set to zero.
    """
    if not rate or case.workload.mode != "train":
        return []
    return [pointwise(case, name, n, flops=2, back=(1, 2, 1), keeps=1)]


class _NormCost(NamedTuple):
    """Operations an element, and tensors kept, without gain and bias."""

    op_class: OpClass
    forward: int
    backward: int
    statistics: int
    """Numbers kept a row, in float32."""
    keeps: int
    gain_keeps: int
    """Tensors that the gain's gradient needs beside those."""


# LayerNorm: mean, centre, square, sum, × 1/σ. RMSNorm: square, sum, × 1/rms. Backward: the closed forms'.
_NORMS = {
    "layernorm": _NormCost("normalisation", 5, 9, 2, 1, 0),
    "rmsnorm": _NormCost("normalisation", 3, 5, 1, 1, 0),
    "l2": _NormCost("normalisation", 3, 5, 1, 1, 1),
    # No statistics: these only stand in for norms.
    "dyt": _NormCost("element-wise", 2, 4, 0, 2, 0),
    "derf": _NormCost("element-wise", 3, 6, 0, 2, 1),
}


def norm(
    case: Case, name: str, rows: int, width: int, section: NormConfig, keeps: bool = True, gains: int = 1
) -> Operation:
    """Return a norm: 7 FLOPs an element for LayerNorm with gain and bias, 4 for RMSNorm with a gain.

    Args:
        case: Model and workload.
        name: The module's path.
        rows: Rows that are normalised.
        width: Features of a row.
        section: Its configuration.
        keeps: Whether what it reads is kept by it, rather than by an operation before it.
        gains: Rows of gains, one unless every head has its own.
    """
    kind, s, n = _NORMS[section.kind], case.size, rows * width
    gain, bias = int(section.gain), int(section.bias)
    learned, statistics = (gain * gains + bias) * width, 4 * kind.statistics * rows
    flops = n * (kind.forward + gain + bias)
    forward = work(flops, s * (n + learned), s * n + statistics)
    # The gain's gradient is dy times the normalised row, summed; it also scales dy.
    back = n * (kind.backward + 4 * gain + bias)
    backward = work(back, s * (2 * n + learned) + statistics, s * (n + learned))
    kept = (kind.keeps if keeps else kind.keeps - 1) + gain * kind.gain_keeps
    return Operation(name, kind.op_class, forward, backward, saved=s * n * kept + statistics)
