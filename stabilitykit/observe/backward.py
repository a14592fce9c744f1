"""Gradients of a step: called at the end of a backward pass, read once an optimizer, in their true scale."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from stabilitykit.observe.gradients import GradientNorms, read_gradient_norms
from stabilitykit.observe.hook import Hook
from stabilitykit.observe.watched import Watched

_HOOKED = 16


def after_backward(optimizers: Sequence[Optimizer], read: Callable[[], None]) -> list[RemovableHandle]:
    """Call ``read`` at the end of every backward pass that reaches the parameters of an optimizer.

    A few of each are hooked, spread evenly: a hook on each would cost every backward pass a call a parameter.

    Args:
        optimizers: The optimizers.
        read: What to call; gradients are complete then, not clipped, and still scaled under a loss scaler.
    """
    engine, queued = torch.autograd.Variable._execution_engine, -1

    def queue(parameter: Tensor) -> None:
        nonlocal queued
        task = torch._C._current_graph_task_id()
        if task != queued:
            queued = task
            # DistributedDataParallel averages gradients in a callback that it queues at the last one of
            # them, which may be later than this; what a callback queues comes after all.
            engine.queue_callback(lambda: engine.queue_callback(read))

    hooked = [parameter for optimizer in optimizers for parameter in _spread(optimizer)]
    return [each.register_post_accumulate_grad_hook(Hook(queue)) for each in hooked]  # type: ignore[no-untyped-call]


def _spread(optimizer: Optimizer) -> list[nn.Parameter]:
    trained = [
        p for group in optimizer.param_groups for p in group["params"] if p.requires_grad and not is_lazy(p)
    ]
    count = min(_HOOKED, len(trained))
    places = (round(i * (len(trained) - 1) / max(1, count - 1)) for i in range(count))
    return [trained[place] for place in dict.fromkeys(places)]


class GradientReadings:
    """The gradients' norms of one step; of each optimizer's parameters those with which it stepped.

    Where several optimizers step in turn, a later backward pass may leave gradients on parameters of an
    earlier one, which are not those that it used.

    Args:
        watched: The parameters.
        optimizers: The optimizers; parameters of none are read as well.
    """

    def __init__(self, watched: Watched, optimizers: Sequence[Optimizer]) -> None:
        keys: tuple[Optimizer | None, ...] = (*optimizers, None)
        self._shares = dict(zip(keys, _shares(watched, optimizers), strict=True))
        self._newest: dict[Optimizer | None, GradientNorms] = {}
        self._used: dict[Optimizer | None, GradientNorms] = {}
        self._are_read = False

    @property
    def are_read(self) -> bool:
        """Whether gradients were read at this step."""
        return self._are_read

    def read(self, scale: Tensor | None = None) -> None:
        """Read all gradients as they are now.

        Args:
            scale: What a loss scaler has multiplied them by, on the device.
        """
        self._are_read = True
        for key, share in self._shares.items():
            found = read_gradient_norms(share, scale) if share.parameters else None
            if found is not None:
                self._newest[key] = found

    def use(self, optimizer: Optimizer) -> None:
        """Note that an optimizer steps with its gradients as they were read last."""
        if optimizer in self._newest:
            self._used[optimizer] = self._newest[optimizer]

    def reset(self) -> None:
        """Forget the step."""
        self._newest.clear()
        self._used.clear()
        self._are_read = False

    def joined(self) -> GradientNorms | None:
        """Return the norms of all gradients that there were, or None."""
        found = [self._used.get(key, newest) for key, newest in self._newest.items()]
        return GradientNorms.joined(found) if found else None


def _shares(watched: Watched, optimizers: Sequence[Optimizer]) -> list[Watched]:
    """Return the parameters by optimizer, and those of none last."""
    left = {id(parameter): parameter for parameter in watched.parameters}
    shares = []
    for optimizer in optimizers:
        mine = [
            p
            for group in optimizer.param_groups
            for p in group["params"]
            if left.pop(id(p), None) is not None
        ]
        shares.append(watched.among(mine))
    return [*shares, watched.among(list(left.values()))]
