"""Gradients of a step: called at the end of a backward pass, read once an optimizer, in their true scale."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from stabilitykit.observe.optimizer_tap import Groups, GroupVector, Scratch, gradient_norms

_HOOKED = 16


def after_backward(optimizers: Sequence[Optimizer], read: Callable[[], None]) -> list[RemovableHandle]:
    """Call ``read`` at the end of every backward pass that reaches the parameters of an optimizer.

    A few of each are hooked, spread evenly: a hook on each would cost every backward pass a call a parameter.

    Args:
        optimizers: The optimizers.
        read: What to call; gradients are complete then, not clipped, and still scaled under a loss scaler.
    """
    queued = -1

    def queue(parameter: Tensor) -> None:
        nonlocal queued
        task = torch._C._current_graph_task_id()
        if task != queued:
            queued = task
            torch.autograd.Variable._execution_engine.queue_callback(read)

    hooked = [parameter for optimizer in optimizers for parameter in _spread(optimizer)]
    return [each.register_post_accumulate_grad_hook(queue) for each in hooked]  # type: ignore[no-untyped-call]


def _spread(optimizer: Optimizer) -> list[nn.Parameter]:
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    count = min(_HOOKED, len(trained))
    places = (round(i * (len(trained) - 1) / max(1, count - 1)) for i in range(count))
    return [trained[place] for place in dict.fromkeys(places)]


class GradientReadings:
    """The gradients' norms of one step; of each optimizer's parameters those with which it stepped.

    Where several optimizers step in turn, a later backward pass may leave gradients on parameters of an
    earlier one, which are not those that it used.

    Args:
        groups: Parameters by group.
        optimizers: The optimizers; parameters of none are read as well.
        scratch: Memory for the largest group.
    """

    def __init__(self, groups: Groups, optimizers: Sequence[Optimizer], scratch: Scratch) -> None:
        self._scratch = scratch
        self._keys: tuple[Optimizer | None, ...] = (*optimizers, None)
        self._shares = dict(zip(self._keys, _shares(groups, optimizers), strict=True))
        self._newest: dict[Optimizer | None, GroupVector] = {}
        self._used: dict[Optimizer | None, GroupVector] = {}

    @property
    def are_read(self) -> bool:
        """Whether gradients were read at this step."""
        return bool(self._newest)

    @torch.no_grad()
    def read(self, scale: Tensor | None = None) -> None:
        """Read all gradients as they are now.

        Args:
            scale: What a loss scaler has multiplied them by, on the device.
        """
        for key, share in self._shares.items():
            found = gradient_norms(share, self._scratch) if share else GroupVector()
            if scale is not None:
                found.values = [value / scale.to(value.device) for value in found.values]
            self._newest[key] = found

    def use(self, optimizer: Optimizer) -> None:
        """Note that an optimizer steps with its gradients as they were read last."""
        if optimizer in self._newest:
            self._used[optimizer] = self._newest[optimizer]

    def reset(self) -> None:
        """Forget the step."""
        self._newest.clear()
        self._used.clear()

    def joined(self) -> GroupVector:
        """Return the norm of every group that has gradients, in forward order."""
        return joined([self._used.get(key, found) for key, found in self._newest.items()])


def joined(vectors: Sequence[GroupVector], sums: bool = False) -> GroupVector:
    """Return one vector of several: a group may have parameters in more than one optimizer.

    Args:
        vectors: Norms, or sums, by group.
        sums: Whether the numbers of one group add up, rather than their squares.
    """
    values: dict[str, Tensor] = {}
    sizes: dict[str, int] = {}
    for vector in vectors:
        for group, value, size in zip(vector.groups, vector.values, vector.sizes, strict=True):
            known = values.get(group)
            together = value if known is None else known + value if sums else torch.hypot(known, value)
            values[group], sizes[group] = together, sizes.get(group, 0) + size
    return GroupVector(list(values), list(values.values()), list(sizes.values()))


def _shares(groups: Groups, optimizers: Sequence[Optimizer]) -> list[Mapping[str, list[nn.Parameter]]]:
    """Return the groups' parameters by optimizer, and those of none last."""
    owner = {
        id(parameter): i
        for i, optimizer in reversed(list(enumerate(optimizers)))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    shares: list[dict[str, list[nn.Parameter]]] = [{} for _ in range(len(optimizers) + 1)]
    for name, parameters in groups.items():
        for parameter in parameters:
            share = shares[owner.get(id(parameter), len(optimizers))]
            share.setdefault(name, []).append(parameter)
    return list(shares)
