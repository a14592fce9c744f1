"""Which forward passes count: those that training learns from."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.fx import _symbolic_trace

from stabilitykit.observe.hook import Hook


class Ground(IntEnum):
    """Why a forward counts; one on better ground takes the place of all that were seen before it."""

    NONE = 0
    PLAIN = 1
    """In training mode, without gradient: a rollout, unless training needs no gradients."""
    EVALUATED = 2
    """In evaluation mode, with gradients: training, if a backward pass goes through it."""
    TRAINED = 3
    """In training mode, with gradients."""


class Written(Protocol):
    """What forwards have left behind at a step."""

    def restart(self) -> None:
        """Forget what was seen at this step."""

    def mark(self) -> None:
        """Remember what was seen at this step so far."""

    def rewind(self) -> None:
        """Forget what was seen since ``mark``."""


class Forwards:
    """Judges each outermost forward pass, once, where it begins; taps ask what was judged.

    A forward counts if the model is in training mode and gradients are enabled. Until there was one:

    - In evaluation mode with gradients it counts if a backward pass goes through it before the step ends.
    - In training mode without gradients it counts as long as there was none with gradients.

    Gradients also count as enabled where the forward is given a tensor that requires one: reentrant
    activation checkpointing runs the forward without. Inside a backward pass a forward is a recomputation;
    inside a transform of ``torch.func``, a trace or an export its tensors are none that could be read.

    Args:
        model: The model; its mode is training's.
        written: What is to be forgotten where a forward turns out not to count.
    """

    def __init__(self, model: nn.Module, written: Written) -> None:
        self.armed = False
        """Whether a step is observed."""
        self.counts = False
        """Whether the forward that runs counts."""
        self.refused = ""
        """Why a forward at this step could not be read; empty if none was."""
        self._model = model
        self._written = written
        self._depth = 0
        self._best = Ground.NONE
        self._now = Ground.NONE
        self._has_counted = self._is_marked = False
        self._passes: list[_Pass] = []

    @property
    def is_certain(self) -> bool:
        """Whether what was seen at this step counts for certain."""
        return self._has_counted and (self._best is Ground.TRAINED or any(p.is_learnt for p in self._passes))

    def enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note that a module begins to run."""
        # While a graph is compiled a hook would become part of it, with all its Python.
        if torch.compiler.is_compiling():
            return
        self._depth += 1
        if self._depth == 1 and self.armed:
            self._now = self._judged(args, kwargs)
            self.counts = self._now is not Ground.NONE
            if self.counts:
                self._begin()

    def leave(self, output: Any) -> None:
        """Note that a module has run."""
        if torch.compiler.is_compiling() or not self._depth:
            return
        self._depth -= 1
        if self._depth:
            return
        if self.counts and self._now is Ground.EVALUATED:
            self._passes.append(_Pass(output))
        self.counts = False

    def close(self) -> None:
        """End all forwards: an interrupt may have left one open."""
        self._depth = 0
        self.counts = False

    def finish(self) -> None:
        """Forget what the step's forwards left if no backward pass went through them; call before reading."""
        if self._passes:
            self._drop(lambda each: not each.is_learnt)
            if any(each.is_learnt for each in self._passes):
                self._best = max(self._best, Ground.EVALUATED)

    def reset(self) -> None:
        """Forget the step."""
        self._passes.clear()
        self._has_counted = self._is_marked = False
        self.refused = ""

    def _judged(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ground:
        if torch._C._current_graph_task_id() != -1:
            return Ground.NONE
        has_gradients = torch.is_grad_enabled() or _requires_grad((args, kwargs))
        if self._model.training:
            ground = Ground.TRAINED if has_gradients else Ground.PLAIN
        else:
            ground = Ground.EVALUATED if has_gradients else Ground.NONE
        if ground is Ground.NONE or ground < max(self._best, self._ground_of_step()):
            return Ground.NONE
        what = _transform()
        self.refused = self.refused or what
        return Ground.NONE if what else ground

    def _begin(self) -> None:
        """Make room for what the forward at hand will leave."""
        if self._now is Ground.EVALUATED:
            self._drop(lambda each: each.is_over)
            if self._passes and self._passes[-1].is_learnt:
                # It may be another microbatch, or a validation between two steps: that will show.
                self._written.mark()
                self._is_marked = True
        better = self._now > self._ground_of_step()
        if self._has_counted and better:
            self._written.restart()
            self._passes.clear()
            self._is_marked = False
        if self._now is not Ground.EVALUATED:
            self._best = max(self._best, self._now)
        self._has_counted = True

    def _ground_of_step(self) -> Ground:
        return Ground.EVALUATED if self._passes else self._best

    def _drop(self, is_dropped: Callable[["_Pass"], bool]) -> None:
        """Forget the forwards that were none of training, as far as they can be told apart."""
        dropped = [each for each in self._passes if is_dropped(each)]
        if not dropped:
            return
        kept = [each for each in self._passes if not is_dropped(each)]
        if not kept:
            self._written.restart()
        elif self._is_marked and dropped[0] is self._passes[-len(dropped)]:
            self._written.rewind()
        self._passes = kept
        self._is_marked = False


class _Pass:
    """A forward in evaluation mode, and whether a backward pass goes through it."""

    def __init__(self, output: Any) -> None:
        self.is_learnt = False
        node = next((x.grad_fn for x in _tensors(output) if x.grad_fn is not None), None)
        self._graph: Callable[[], object] = _nothing
        if node is not None:
            # The node holds the hook: both end with the graph.
            note = _Note(self)
            node.register_prehook(Hook(note))
            self._graph = weakref.ref(note)

    @property
    def is_over(self) -> bool:
        """Whether no backward pass has gone through it, and none can any more."""
        return not self.is_learnt and self._graph() is None


class _Note:
    """Notes that a backward pass has begun; lives as long as the graph."""

    def __init__(self, seen: _Pass) -> None:
        self._seen = weakref.ref(seen)

    def __call__(self, *gradients: Any) -> None:
        seen = self._seen()
        if seen is not None:
            seen.is_learnt = True


def _nothing() -> None:
    """Stand in for the graph of a forward that has none."""


def _transform() -> str:
    """Return what turns a forward's tensors into something that cannot be read, if anything does."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a transform of torch.func"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    if torch._C._get_tracing_state() is not None or _symbolic_trace._is_fx_tracing_flag:
        return "a trace"
    modes = torch._C._TorchDispatchModeKey
    if torch._C._len_torch_dispatch_stack() and any(
        torch._C._get_dispatch_mode(key) is not None for key in (modes.FAKE, modes.PROXY, modes.FUNCTIONAL)
    ):
        return "a trace"
    return ""


def _requires_grad(given: Any) -> bool:
    return any(x.requires_grad for x in _tensors(given))


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)


def entrances(paths: Iterable[str], modules: Mapping[str, nn.Module]) -> list[str]:
    """Return the paths of the modules through which a forward may reach some of them.

    These are the root, what lies above them, and those in which no other lies that far out: a loop of one's
    own calls blocks without the model around them.

    Args:
        paths: Paths of modules.
        modules: The model's modules by path.
    """
    wanted = {path for path in paths if path}
    outer = [path for path in wanted if not any(path.startswith(f"{other}.") for other in wanted)]
    found = {above for path in outer for above in _above(path) if _is_called(modules[above])}
    found |= {
        path for path in outer if not isinstance(modules[path], nn.Identity) or not found & {*_above(path)}
    }
    return ["", *sorted(found)]


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition(".")[0]:
        yield path


def _is_called(module: nn.Module) -> bool:
    return not isinstance(module, nn.ModuleList | nn.ModuleDict | torch.jit.ScriptModule)
