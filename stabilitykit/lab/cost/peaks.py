"""Measure what this machine does at most: one large product, one large copy."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch

from stabilitykit.lab.cost.device import measuring_device, wait_for_device
from stabilitykit.lab.cost.operation import Work
from stabilitykit.lab.cost.workload import DType

_BUDGET = 0.3
"""Seconds of trying, for each; at least two tries."""
_SMALLEST, _LARGEST = 256, 8192
"""Rows of the product: it grows until one takes a tenth of the budget."""
_COPIED = 2**28
"""Bytes copied: beyond what caches hold."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a machine does at most, as measured on it."""

    flops: float
    """FLOPs a second of a large product of matrices."""
    bandwidth: float
    """Bytes a second, read and written, of a large copy."""

    @property
    def ridge(self) -> float:
        """FLOPs a byte from which on arithmetic is what limits."""
        return self.flops / self.bandwidth

    def seconds(self, work: Work) -> float:
        """Return the roofline's bound: no less than the arithmetic and no less than the traffic takes."""
        return max(work.flops / self.flops, work.bytes / self.bandwidth)


def measure_peaks(dtype: DType) -> Peaks:
    """Return the best rates of several tries, on the measuring device, with this process's number of threads.

    Args:
        dtype: The type of the product's matrices.
    """
    kind: torch.dtype = getattr(torch, dtype)
    return Peaks(_product(kind), _copy())


def _product(dtype: torch.dtype) -> float:
    size, best = _SMALLEST, 0.0
    while True:
        one, other, out = (torch.ones(size, size, dtype=dtype, device=measuring_device()) for _ in range(3))

        def multiply(one: torch.Tensor = one, other: torch.Tensor = other, out: torch.Tensor = out) -> None:
            torch.mm(one, other, out=out)

        seconds = _quickest(multiply)
        best = max(best, 2 * size**3 / seconds)
        if seconds > _BUDGET / 10 or size == _LARGEST:
            return best
        size *= 2


def _copy() -> float:
    source = torch.ones(_COPIED // 4, device=measuring_device())
    target = torch.empty_like(source)
    return 2 * _COPIED / _quickest(lambda: target.copy_(source))


def _quickest(run: Callable[[], object]) -> float:
    """Return the least seconds of one call; the first, which warms up, does not count."""
    run()
    wait_for_device()
    best, tries, begun = float("inf"), 0, perf_counter()
    while tries < 2 or perf_counter() - begun < _BUDGET:
        start = perf_counter()
        run()
        wait_for_device()
        best, tries = min(best, perf_counter() - start), tries + 1
    return best
