"""Where the statistics of the user's own are taken, and the taps that take them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from stabilitykit.observe.partials import COUNT, PartialBuffer
from stabilitykit.observe.site import Layout, Role, Site
from stabilitykit.observe.statistic import Statistic
from stabilitykit.observe.tap import Armed, OnError, Tap

_MERGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": torch.add,
    "sum": torch.add,
    "max": torch.maximum,
    "min": torch.minimum,
}


def with_statistics(layout: Layout, statistics: Sequence[Statistic]) -> Layout:
    """Return a layout with a site more for each statistic at each site that it fits."""
    places = [site for site in layout.sites if site.role is not Role.ATTENTION]
    more = [
        replace(site, role=Role.STATISTIC, statistic=each)
        for each in statistics
        for site in places
        if fnmatchcase(site.name, each.sites)
    ]
    notes = [
        f"the statistic {each.name} fits no site: {each.sites}"
        for each in statistics
        if not any(fnmatchcase(site.name, each.sites) for site in places)
    ]
    return replace(layout, sites=(*layout.sites, *more), notes=(*layout.notes, *notes))


class StatisticTap(Tap):
    """What is attached to a site for a statistic: writes one row of the buffer."""

    def __init__(self, site: Site, row: int, buffer: PartialBuffer, armed: Armed, on_error: OnError) -> None:
        super().__init__(site, row, buffer, armed, on_error)
        self._write = self._write_statistic

    @torch.no_grad()
    def _write_statistic(self, x: Tensor) -> None:
        statistic = self.site.statistic
        if statistic is None:
            return
        number = statistic.function(x.detach())
        if not isinstance(number, Tensor) or number.numel() != 1:
            raise TypeError(f"{statistic.name} must return a tensor of one number; got {_described(number)}")
        number = number.reshape(()).to(self._buffer.rows)
        if not torch.compiler.is_compiling():
            self._buffer.begin(self._row, 1)
            self._slots[statistic.column].copy_(number)
            return
        # In a graph nothing may depend on state of the host that changes from step to step.
        row, column = self._buffer.rows[self._row], statistic.column
        row[column] = _MERGES[statistic.merge](row[column], number)
        row[COUNT] += 1


def _described(value: object) -> str:
    return f"the shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
