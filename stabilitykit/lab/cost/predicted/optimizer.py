"""What an optimizer's step computes, moves and keeps."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

from stabilitykit.lab.cost.operation import Operation, work
from stabilitykit.lab.cost.predicted.traffic import Case

OptimizerName = Literal["adamw", "sgd", "muon"]

OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)

_ROUNDS = 5
"""Newton–Schulz iterations of torch's Muon."""
_HALF = 2
"""Bytes of bfloat16, in which it iterates."""


class _Rule(NamedTuple):
    """Operations, and numbers read and written, for each parameter."""

    flops: int
    reads: int
    writes: int
    state: int
    """Numbers kept."""


_RULES: dict[OptimizerName, _Rule] = {
    # Decay 1, first moment 3, second 4, root and bias and ε 3, update 3; g, p, m and v are read.
    "adamw": _Rule(14, 4, 3, 2),
    # Decay 2, momentum 2, update 2.
    "sgd": _Rule(6, 3, 2, 1),
    # The same around the iterations, which count by themselves.
    "muon": _Rule(6, 3, 2, 1),
}


def optimizer_step(case: Case, optimizer: OptimizerName, parameters: dict[str, int]) -> list[Operation]:
    """Return the step's operations; muon updates the blocks' matrices, adamw all else beside it.

    Args:
        case: Model and workload.
        optimizer: One of ``OPTIMIZERS``.
        parameters: How many there are under each name.
    """
    muon, other = _parted(optimizer, parameters)
    found = []
    if muon:
        found += [_update(case, "muon", muon), _iterations(case)]
    return [*found, _update(case, "adamw" if optimizer == "muon" else optimizer, other)]


def optimizer_state(case: Case, optimizer: OptimizerName, parameters: dict[str, int]) -> int:
    """Return the bytes that the optimizer keeps between steps.

    Args:
        case: Model and workload.
        optimizer: One of ``OPTIMIZERS``.
        parameters: How many there are under each name.
    """
    muon, other = _parted(optimizer, parameters)
    rest = _RULES["adamw" if optimizer == "muon" else optimizer]
    return case.size * (muon * _RULES["muon"].state + other * rest.state)


def _parted(optimizer: OptimizerName, parameters: dict[str, int]) -> tuple[int, int]:
    """Return how many parameters are the blocks' matrices and go to muon, and how many do not."""
    total = sum(parameters.values())
    if optimizer != "muon":
        return 0, total
    inside = sum(
        count
        for name, count in parameters.items()
        if name.startswith("blocks.") and name.endswith("_proj.weight")
    )
    return inside, total - inside


def _update(case: Case, optimizer: OptimizerName, n: int) -> Operation:
    rule, s = _RULES[optimizer], case.size
    step = work(rule.flops * n, s * rule.reads * n, s * rule.writes * n)
    return Operation(f"optimizer.{optimizer}", "element-wise", step=step)


def _iterations(case: Case) -> Operation:
    """Return Muon's orthogonalisation: X ← aX + (bA + cA²)X with A = XXᵀ, five times for each matrix."""
    flops = read = written = 0
    for rows, columns in _block_matrices(case):
        short, long = sorted((rows, columns))
        flops += 4 * short * short * long + 2 * short**3
        # XXᵀ, AA and BX; the sums with their factors are counted with these products.
        read += 2 * short * long + 2 * short * short
        written += short * long + 2 * short * short
    times = _ROUNDS * case.config.n_layers
    step = work(times * flops, times * _HALF * read, times * _HALF * written)
    return Operation("optimizer.orthogonalise", "contraction", step=step)


def _block_matrices(case: Case) -> Iterator[tuple[int, int]]:
    config = case.config
    d, k = config.d_model, config.head_dim
    yield from ((heads * k, d) for heads in (config.attention.n_heads, config.n_kv_heads, config.n_kv_heads))
    yield d, config.attention.n_heads * k
    yield from [(config.d_ff, d)] * (3 if config.feedforward.gated else 2)
