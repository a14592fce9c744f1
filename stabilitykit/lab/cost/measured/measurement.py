"""What steps took, by operation, class and pass: medians over rounds, with their spread."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stabilitykit.lab.cost.document import MeasuredRow
from stabilitykit.lab.cost.measured.rounds import Times
from stabilitykit.lab.cost.operation import CLASSES, PASSES, OpClass, Pass
from stabilitykit.lab.cost.spread import Ratio, Spread, median_ratio, spread

_SHOWN = 0.05
"""Share of an operation's pass from which on a kernel is named."""

Seconds = Float[np.ndarray, "rounds"]


@dataclass(frozen=True)
class MeasuredOperation:
    """What one operation took in every round, and by which kernels."""

    name: str
    op_class: OpClass
    passes: Mapping[Pass, Seconds]
    kernels: Mapping[Pass, tuple[str, ...]]
    """Those that take at least 5 % of the pass, longest first."""

    @property
    def seconds(self) -> Seconds:
        """All passes together, by round."""
        total: Seconds = np.sum([*self.passes.values()], axis=0)
        return total

    @property
    def is_fused(self) -> bool:
        """Whether one kernel does all of its first pass, but for shares below 5 %."""
        return len(next(iter(self.kernels.values()))) <= 1

    def row(self) -> MeasuredRow:
        """Return medians with spreads, and kernels."""
        return MeasuredRow(
            seconds=spread(self.seconds),
            pass_seconds={name: spread(each) for name, each in self.passes.items()},
            kernels={name: list(each) for name, each in self.kernels.items()},
            fused=self.is_fused,
        )


@dataclass(frozen=True)
class Measurement:
    """One step, measured."""

    operations: tuple[MeasuredOperation, ...]
    """In the order in which they first ran."""
    plain: Seconds
    """The step without the profiler, by round."""
    profiled: Seconds
    """The step with it."""
    unattributed: Seconds
    """Kernels whose operation is not known."""

    @property
    def kernels(self) -> Seconds:
        """All kernels together, known or not."""
        total: Seconds = np.sum([each.seconds for each in self.operations], axis=0) + self.unattributed
        return total

    @property
    def unattributed_share(self) -> float:
        """The median of what is not known, of all kernels' time."""
        return float(np.median(self.unattributed / self.kernels))

    @property
    def step(self) -> Spread:
        """How long a step takes, without the profiler."""
        return spread(self.plain)

    def of_pass(self, work: Pass) -> Seconds:
        """Return what all operations took together in one pass, by round.

        Args:
            work: The pass.
        """
        members = [each.passes[work] for each in self.operations if work in each.passes]
        return np.sum(members, axis=0) if members else np.zeros_like(self.plain)

    def of_class(self, op_class: OpClass) -> Seconds:
        """Return what all operations of a class took together, by round.

        Args:
            op_class: One of the three.
        """
        members = [each.seconds for each in self.operations if each.op_class == op_class]
        return np.sum(members, axis=0) if members else np.zeros_like(self.plain)

    def share(self, op_class: OpClass) -> float:
        """Return a class's share of all kernels' time, the median over rounds.

        Args:
            op_class: One of the three.
        """
        return float(np.median(self.of_class(op_class) / self.kernels))


def measurement(times: Times, op_class: Callable[[str], OpClass], fold: Callable[[str], str]) -> Measurement:
    """Return what a step's times say.

    Args:
        times: What it took in every round.
        op_class: Gives an operation's class.
        fold: Gives the operation that a place's name counts with.
    """
    rounds = len(times.kernels)
    found: dict[str, dict[Pass, dict[str, Seconds]]] = {}
    unattributed = np.zeros(rounds)
    for n, each in enumerate(times.kernels):
        for (operation, work, kernel), seconds in each.items():
            if operation is None:
                unattributed[n] += seconds
                continue
            passes = found.setdefault(fold(operation), {})
            passes.setdefault(work, {}).setdefault(kernel, np.zeros(rounds))[n] += seconds
    operations = [_operation(name, op_class(name), passes) for name, passes in found.items()]
    return Measurement(tuple(operations), np.array(times.plain), np.array(times.profiled), unattributed)


def measured_ratios(first: Measurement, other: Measurement) -> dict[str, Ratio | None]:
    """Return how long another step takes for each second of the first one's, with 95 % intervals.

    ``step`` is of whole steps without the profiler, ``kernels`` of all kernels, the others of classes.

    Args:
        first: What is compared with.
        other: Measured in the same rounds.
    """
    pairs = {"step": (other.plain, first.plain), "kernels": (other.kernels, first.kernels)}
    pairs |= {name: (other.of_class(name), first.of_class(name)) for name in CLASSES}
    return {name: median_ratio(one, by) if by.all() else None for name, (one, by) in pairs.items()}


def _operation(
    name: str, op_class: OpClass, passes: Mapping[Pass, Mapping[str, Seconds]]
) -> MeasuredOperation:
    ordered: list[Pass] = [each for each in PASSES if each in passes]
    return MeasuredOperation(
        name,
        op_class,
        {work: np.sum([*passes[work].values()], axis=0) for work in ordered},
        {work: _main_kernels(passes[work]) for work in ordered},
    )


def _main_kernels(kernels: Mapping[str, Seconds]) -> tuple[str, ...]:
    medians = {name: float(np.median(seconds)) for name, seconds in kernels.items() if name}
    whole = sum(medians.values())
    return tuple(
        name for name in sorted(medians, key=lambda each: -medians[each]) if medians[name] >= _SHOWN * whole
    )
