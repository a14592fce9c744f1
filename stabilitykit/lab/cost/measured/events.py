"""What torch's profiler recorded, as plain data."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch._C._autograd import DeviceType
from torch.profiler import profile

_USER_SCOPE, _NODE_SCOPE = 7, 1
"""Numbers of at::RecordScope: a range that Python opened, and a node of the autograd graph."""


class Event(NamedTuple):
    """One event of the host, or of a device."""

    name: str
    start: int
    """Nanoseconds."""
    duration: int
    """Nanoseconds."""
    thread: int = 0
    sequence: int = -1
    """Number of the autograd node that an operator may have made, or that is evaluated; -1 for none."""
    is_range: bool = False
    """Whether it is a range that Python opened, rather than an operator."""
    is_node: bool = False
    """Whether it is the autograd node itself."""
    id: int = 0
    """What device events call the host event that launched them."""
    launched_by: int = 0
    """For events of a device: that number."""
    on_device: bool = False

    @property
    def end(self) -> int:
        """When it ended, in nanoseconds."""
        return self.start + self.duration


def events_of(profiler: profile) -> Iterator[Event]:
    """Yield every event that a profiler recorded.

    Args:
        profiler: One that has stopped.
    """
    results: Any = profiler.profiler.kineto_results  # type: ignore[union-attr]
    for each in results.events():
        scope = each.scope()
        on_device = each.device_type() != DeviceType.CPU
        if on_device and each.is_user_annotation():
            # The host's range once more.
            continue
        yield Event(
            each.name(),
            each.start_ns(),
            each.duration_ns(),
            each.start_thread_id(),
            each.sequence_nr(),
            scope == _USER_SCOPE,
            scope == _NODE_SCOPE,
            each.correlation_id(),
            each.linked_correlation_id(),
            on_device,
        )
