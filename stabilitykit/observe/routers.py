"""Routers of mixtures of experts: where they are, and what they chose.

A router multiplies by a parameter, and of what comes of it the largest are chosen: by ``topk``, ``argmax`` or
``max``. Its numbers are sums over tokens, so that microbatches and ranks add up.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stabilitykit.observe.active import deactivate
from stabilitykit.observe.detail_tap import Detail, DetailPart
from stabilitykit.observe.graph_walk import GATES_IN_GRAPH, Source, trace
from stabilitykit.observe.hook import Handle, hook_input, hook_output
from stabilitykit.observe.site import Coverage, Layout, Router
from stabilitykit.observe.tap import Armed, OnError
from stabilitykit.stats import RouterSums, router_sums
from stabilitykit.tags import tag

_TOPK = (torch.topk, Tensor.topk)
_MAXIMA = (torch.max, Tensor.max)
_LARGEST = (torch.argmax, Tensor.argmax, *_MAXIMA)
SELECTIONS = frozenset((*_TOPK, *_LARGEST))
"""Functions that choose the largest along a dimension."""

GATES = frozenset(
    (
        *(F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax),
        *(F.sigmoid, torch.sigmoid, Tensor.sigmoid, torch.special.expit),
    )
)
"""Functions that make chances or weights of scores."""

_LIMIT = 4096
"""More outputs than this are no experts."""


def selected_by(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """Return the dimension, from the end, along which a selection chooses; None where there is none.

    Args:
        func: One of ``SELECTIONS``.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
    """
    x = args[0] if args else kwargs["input"]
    place = 2 if func in _TOPK else 1
    dim = args[place] if len(args) > place else kwargs.get("dim", -1 if func in _TOPK else None)
    if not isinstance(dim, int) or type(x) is not Tensor or x.dim() < 2 or not x.is_floating_point():
        return None
    return dim % x.dim() - x.dim()


def chosen_of(
    number: int, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Router, bool] | None:
    """Return the router that makes a selection, and whether a gate stands before it; None where it is none.

    Args:
        number: How many selections were made before this one.
        func: The selection.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
    """
    x, along = args[0] if args else kwargs["input"], selected_by(func, args, kwargs)
    if along is None or x.grad_fn is None:
        return None
    for dim in dict.fromkeys((along, *range(-x.dim(), 0))):
        if not 1 < x.shape[dim] <= _LIMIT:
            continue
        steps, is_parametric = trace(Source(x.grad_fn, x.output_nr, dim, is_known=True), routes=True)
        kinds = {step.kind for step in steps}
        if is_parametric and "ConvolutionBackward" not in kinds:
            router = Router("", x.shape[dim], dim, frozenset({number}), experts_choose=dim != along)
            return router, bool(kinds & GATES_IN_GRAPH)
    return None


class Choices:
    """What a call chose, until it is known whether it is a router.

    Activations, too, may keep the largest: it takes a softmax or a sigmoid, before or after.
    """

    def __init__(self) -> None:
        self.router: Router | None = None
        self.count = 0
        """How many selections were made."""
        self._waiting: Router | None = None
        self._has_threshold = False

    def select(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Take a selection that the call itself made."""
        found = chosen_of(self.count, func, args, kwargs)
        if found is None:
            return
        router, is_gated = found
        # A maximum of raw scores is a threshold, or drawn with noise: then others are no choice, either.
        self._has_threshold |= func in _MAXIMA and not is_gated
        if func in _MAXIMA and self._has_threshold:
            return
        before = self.router or self._waiting
        if before and func in _LARGEST:
            # One after the other, the first and the second expert; of choices of k the last one counts.
            router = replace(router, selections=before.selections | router.selections)
        if is_gated or self.router:
            self.router = router
        else:
            self._waiting = router

    def gate(self) -> None:
        """Take a softmax or a sigmoid."""
        self.router = self.router or self._waiting


@dataclass(frozen=True, slots=True)
class RouterPart(DetailPart):
    """What a router's numbers are: sums of entropies and of tokens left out, and each expert's choices."""

    adds_up = True

    def readings(self, n_tokens: int, numbers: list[float]) -> dict[str, float]:
        """Return the readings.

        Args:
            n_tokens: Tokens that were routed.
            numbers: The numbers on the host.
        """
        entropy, left, *chosen = numbers
        total = sum(chosen)
        found = {"moe/router_entropy": entropy / n_tokens / math.log(len(chosen))}
        found |= {"moe/max_share": max(chosen) / total, "moe/min_share": min(chosen) / total}
        if self.width:
            found["moe/dropped"] = left / n_tokens
        return {tag(name, self.site): value for name, value in found.items()}


class RouterTap:
    """What is attached to the module in which a router chooses.

    Args:
        site: Its block's name.
        router: What is known of it.
        armed: Whether a forward belongs to an observed step.
        on_error: Told when the tap fails.
    """

    def __init__(self, site: str, router: Router, armed: Armed, on_error: OnError) -> None:
        self.site = site
        self.router = router
        self._armed = armed
        self._on_error = on_error
        self._modes: list[_RouterMode] = []
        self.is_dark = False
        """Whether it sees nothing any more."""
        self.fired = 0
        self.newest: Detail | None = None
        """What the step at hand gave, until it is read."""

    def attach(self, module: nn.Module) -> list[Handle]:
        """Hook the module; the handles remove the tap."""
        return [
            hook_input(module, self._enter),
            # always_call: the mode must not outlive a forward that raises.
            hook_output(module, self._leave, always_call=True),
        ]

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not (torch.compiler.is_compiling() or self.is_dark) and self._armed(module):
            self._modes.append(_RouterMode(self.router, self._take, self._fail))
            self._modes[-1].__enter__()  # type: ignore[no-untyped-call]

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._modes and not torch.compiler.is_compiling():
            deactivate(self._modes.pop())

    def close(self) -> None:
        """Leave no mode active: an interrupt may have ended a forward without its hooks."""
        while self._modes:
            deactivate(self._modes.pop())

    def _take(self, sums: RouterSums, n_tokens: int) -> None:
        numbers = torch.cat([torch.stack([sums.entropy, sums.left]), sums.chosen])
        if self.newest is None:
            part = RouterPart(self.site, numbers.numel(), int(self.router.experts_choose))
            self.newest = Detail(part, numbers, n_tokens)
            self.fired += 1
        else:
            n_tokens += self.newest.n_tokens
            self.newest = replace(self.newest, numbers=self.newest.numbers + numbers, n_tokens=n_tokens)

    def _fail(self, error: BaseException) -> None:
        # What was taken of a part of the step must not be read.
        self.newest = None
        self._on_error(self.site, error)


class RouterTaps:
    """All taps on routers of a model: read at every observed step, since experts cost far more.

    Args:
        layout: What was found.
        armed: Whether a forward belongs to an observed step.
        on_error: Told when a tap fails.
    """

    def __init__(self, layout: Layout, armed: Armed, on_error: OnError) -> None:
        self.taps = [RouterTap(site, router, armed, on_error) for site, router in layout.routers.items()]

    def newest(self) -> list[Detail]:
        """Return what the step at hand gave."""
        return [each.newest for each in self.taps if each.newest is not None]

    def reset(self) -> None:
        """Forget the step."""
        for each in self.taps:
            each.newest = None

    def coverage(self, name: Callable[[str], str], dark: Mapping[str, str]) -> list[Coverage]:
        """Return how the routers are watched.

        Args:
            name: Describes the module at a path.
            dark: Why a site is no longer watched.
        """
        return [
            Coverage(
                each.site,
                "exact",
                f"{name(each.router.module)}, {each.router.experts} experts",
                ("moe/router_entropy", "moe/max_share", "moe/min_share")
                + (("moe/dropped",) if each.router.experts_choose else ()),
                each.fired,
                dark.get(each.site, ""),
            )
            for each in self.taps
        ]


class _RouterMode(TorchFunctionMode):
    """Sees what a router chooses while its module runs."""

    def __init__(
        self,
        router: Router,
        take: Callable[[RouterSums, int], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        super().__init__()
        self._router = router
        self._take = take
        self._on_error = on_error
        self._selections = 0
        self._chances: Tensor | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if (func in SELECTIONS or func in GATES) and not torch.compiler.is_compiling():
            try:
                # Other modes, which watch attention, must not see what is computed here.
                with torch.no_grad(), torch._C.DisableTorchFunction():
                    self._note(func, args, kwargs, output)
            except Exception as error:  # Nothing in a monitor may end a training run.
                self._on_error(error)
        return output

    def _note(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        if func not in SELECTIONS:
            if output.shape[-1] == self._router.experts:
                self._chances = output.detach()
            return
        along = selected_by(func, args, kwargs)
        number, self._selections = self._selections, self._selections + 1
        if along is None or number not in self._router.selections:
            return
        x = (args[0] if args else kwargs["input"]).detach()
        indices = output if isinstance(output, Tensor) else output[1]
        if x.shape[self._router.dim] != self._router.experts or not x.numel():
            return
        if indices.dim() < x.dim():
            indices = indices.unsqueeze(along)
        logits = x.movedim(self._router.dim, -1)
        chances = self._chances
        if chances is None or chances.numel() != x.numel():
            chances = logits.float().softmax(-1)
        sums = router_sums(chances, indices, along, self._router.dim, x.shape)
        self._take(sums, x.numel() // self._router.experts)
