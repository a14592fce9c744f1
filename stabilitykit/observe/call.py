"""One call of a module, as an unknown model's forward pass is written down."""

from dataclasses import dataclass, field

from torch import nn

from stabilitykit.observe.handed import Handed
from stabilitykit.observe.routers import Choices


@dataclass(slots=True)
class Call:
    """One call of a module; its descendants are the calls numbered from ``number + 1`` to ``end - 1``."""

    number: int
    path: str
    module: nn.Module
    parent: int | None
    """Number of the call it was made from; None at the top."""
    turn: tuple[int, int] = (0, 1)
    """Which call of its module it is in a pass through its stack, and of how many."""
    caller: str | None = None
    """Path of the module whose forward is a pass through its stack; None outside of stacks."""
    end: int = 0
    """How many calls had begun when it returned."""
    shape_in: tuple[int, ...] | None = None
    """Shape of the first tensor it was given."""
    shape_out: tuple[int, ...] | None = None
    """Shape of the first tensor it returned."""
    sources: tuple[int, ...] = ()
    """Calls that returned the very tensor it was given."""
    given: tuple[Handed, ...] = ()
    """All tensors that it was given."""
    returned: tuple[Handed, ...] = ()
    """All tensors that it returned."""
    attends_from: int | None = None
    """How many calls had begun when it, itself, last called an attention or a softmax; None if it did not."""
    choices: Choices = field(default_factory=Choices)
    """What it, itself, chose the largest of."""

    @property
    def carries(self) -> bool:
        """Whether it returned what it was given with something added: a residual stream runs through it."""
        given = {each.number for each in self.given if each.is_floating}
        return any(each.is_floating and not given.isdisjoint(each.terms) for each in self.returned)

    def holds(self, other: "Call") -> bool:
        """Return whether ``other`` was made during this call."""
        return self.number < other.number < self.end
