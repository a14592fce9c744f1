"""Gradients of a step: called at the end of a backward pass, read once an optimizer, in their true scale."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from stabilitykit.observe.gradients import GradientNorms, read_gradient_norms
from stabilitykit.observe.hook import Hook
from stabilitykit.observe.watched import Watched

_HOOKED = 16


class AfterBackward:
    """Calls back at the end of every backward pass that reaches some parameters.

    At the first pass that reaches a set of them all of it is hooked, to see whether any gradient is gone
    when the pass ends. After that a few are, spread evenly: a hook on each would cost every backward pass a
    call a parameter.

    Args:
        parameters: Returns sets of parameters, such as those of each optimizer.
        read: What to call, with the parameters that were seen to get a gradient and have none any more.
            Gradients are complete then, not clipped, and still scaled under a loss scaler.
    """

    def __init__(
        self,
        parameters: Callable[[], Iterable[Sequence[Tensor]]],
        read: Callable[[Sequence[Tensor]], None],
    ) -> None:
        self._parameters, self._read = parameters, read
        self._task = -1
        self._fired: list[Tensor] = []
        self._sets: list[_Hooked] = []
        # What the engine calls back would end the backward pass, as a hook would.
        self._ended = Hook(self._end)
        self._is_on = True
        self.attach()

    def attach(self) -> None:
        """Hook the parameters that there are now, in place of those before."""
        for hooked in self._sets:
            hooked.remove()
        if self._is_on:
            self._sets = [_Hooked(each, self._queue) for each in self._parameters()]

    def remove(self) -> None:
        """Remove every hook; may be called twice."""
        self._is_on = False
        for hooked in self._sets:
            hooked.remove()

    def _queue(self, parameter: Tensor) -> None:
        task = torch._C._current_graph_task_id()
        if task != self._task:
            self._task = task
            self._fired.clear()
            # DistributedDataParallel averages gradients in a callback that it queues at the last one of
            # them, which may be later than this; what a callback queues comes after all.
            engine = torch.autograd.Variable._execution_engine
            engine.queue_callback(lambda: engine.queue_callback(self._ended))
        self._fired.append(parameter)

    def _end(self) -> None:
        gone = [parameter for parameter in self._fired if parameter.grad is None]
        self._fired.clear()
        for hooked in self._sets:
            hooked.thin()
        self._read(gone)


class _Hooked:
    """The hooks on one set of parameters."""

    def __init__(self, parameters: Sequence[Tensor], call: Callable[[Tensor], None]) -> None:
        self._fired = False
        self._call = call
        # A hook on a parameter that has no shape yet cannot be.
        trained = [p for p in parameters if p.requires_grad and p.is_leaf and not is_lazy(p)]
        self._spread = {id(each) for each in _spread(trained)}
        self._handles: list[tuple[int, RemovableHandle]] = [
            (id(each), each.register_post_accumulate_grad_hook(Hook(self._note)))  # type: ignore[no-untyped-call]
            for each in trained
        ]

    def _note(self, parameter: Tensor) -> None:
        self._fired = True
        self._call(parameter)

    def thin(self) -> None:
        """Leave only a few hooks, once one has been called."""
        if self._fired and len(self._handles) > len(self._spread):
            for parameter, handle in self._handles:
                if parameter not in self._spread:
                    handle.remove()
            self._handles = [pair for pair in self._handles if pair[0] in self._spread]

    def remove(self) -> None:
        """Remove every hook."""
        for _, handle in self._handles:
            handle.remove()


def _spread(trained: Sequence[Tensor]) -> list[Tensor]:
    count = min(_HOOKED, len(trained))
    places = (round(i * (len(trained) - 1) / max(1, count - 1)) for i in range(count))
    return [trained[place] for place in dict.fromkeys(places)]


class GradientReadings:
    """The gradients' norms of one step; of each optimizer's parameters those with which it stepped.

    Where several optimizers step in turn, a later backward pass may leave gradients on parameters of an
    earlier one, which are not those that it used.

    Args:
        watched: The parameters.
        optimizers: Parameters of each optimizer; those of none are read as well.
    """

    def __init__(self, watched: Watched, optimizers: Sequence[Sequence[Tensor]]) -> None:
        self._shares = _shares(watched, optimizers)
        self._newest: dict[int, GradientNorms] = {}
        self._used: dict[int, GradientNorms] = {}
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
        for key, share in enumerate(self._shares):
            found = read_gradient_norms(share, scale) if share.parameters else None
            if found is not None:
                self._newest[key] = found

    def use(self, optimizer: int) -> None:
        """Note that an optimizer steps with its gradients as they were read last."""
        if optimizer in self._newest:
            self._used[optimizer] = self._newest[optimizer]

    def use_now(self, optimizer: int) -> None:
        """Note that an optimizer steps with its gradients as they are now."""
        found = read_gradient_norms(self._shares[optimizer])
        if found is not None:
            self._used[optimizer] = found

    def divide(self, scale: Tensor) -> None:
        """Take what was read as still multiplied by a loss scaler's scale."""
        for found in (self._newest, self._used):
            for key, norms in found.items():
                found[key] = GradientNorms(norms.watched, norms.values / scale)

    def lacks(self, parameters: Sequence[Tensor]) -> int:
        """Return of how many parameters that had a gradient none was read."""
        read = {id(p) for norms in self._used.values() for p in norms.watched.parameters}
        watched = {id(p) for share in self._shares for p in share.parameters}
        return len({id(p) for p in parameters} & watched - read)

    def reset(self) -> None:
        """Forget the step."""
        self._newest.clear()
        self._used.clear()
        self._are_read = False

    def joined(self) -> GradientNorms | None:
        """Return the norms of all gradients that there were, or None."""
        found = [*(self._newest | self._used).values()]
        return GradientNorms.joined(found) if found else None


def _shares(watched: Watched, optimizers: Sequence[Sequence[Tensor]]) -> list[Watched]:
    """Return the parameters by optimizer, and those of none last."""
    left: dict[int, nn.Parameter] = {id(parameter): parameter for parameter in watched.parameters}
    shares = []
    for parameters in optimizers:
        mine = [found for p in parameters if (found := left.pop(id(p), None)) is not None]
        shares.append(watched.among(mine))
    return [*shares, watched.among(list(left.values()))]
