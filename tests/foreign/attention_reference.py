"""Attention materialised, from what the dispatcher is asked to compute: by another way than the taps'."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from stabilitykit.observe.attention_tap import AttentionTap
from stabilitykit.observe.partials import BOUND, COUNT, MAXIMUM, MINIMUM, SUM, PartialBuffer
from stabilitykit.observe.site import Role, Site

FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
SOFTMAXES = (torch.ops.aten._softmax.default, torch.ops.aten._safe_softmax.default)


class Materialised(TorchDispatchMode):
    """Keeps the logits of every attention, by the name of the module that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.logits: dict[str, list[Tensor]] = {}
        self.difference: tuple[Any, Any] = (None, None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.running and func is FLASH:
            self._keep(_logits(*args, **kwargs))
        if self.running and func in SOFTMAXES and args[0].dim() >= 3:
            logits, less = self.difference
            self._keep((logits if less is args[0] else args[0]).detach().double())
        output = func(*args, **kwargs)
        if func is torch.ops.aten.sub.Tensor and isinstance(args[1], Tensor) and args[1].shape[-1:] == (1,):
            # Some subtract each row's maximum before the softmax: what it was subtracted from is kept.
            self.difference = args[0], output
        return output

    def _keep(self, logits: Tensor) -> None:
        self.logits.setdefault(self.running[-1], []).append(logits)


def _logits(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    q, k = q.detach().double(), k.detach().double()
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    s = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        s = s + attn_mask.detach().double()
    if is_causal:
        s = s.masked_fill(torch.ones_like(s[0, 0]).triu(1).bool(), -math.inf)
    return s


class Reading(NamedTuple):
    """What a tap has written of one module."""

    logit_max: float
    bound: float
    entropy: float
    entropy_min: float
    calls: int
    kind: str


@contextmanager
def named(model: nn.Module, names: list[str], running: list[str]) -> Iterator[None]:
    """Keep the name of the module that runs on a stack."""
    handles = []
    for name in names:
        module = model.get_submodule(name)
        handles.append(module.register_forward_pre_hook(lambda m, a, name=name: running.append(name)))
        handles.append(module.register_forward_hook(lambda m, a, o: running.pop() and None))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def materialised(model: nn.Module, names: list[str], run: Callable[[], Any]) -> dict[str, list[Tensor]]:
    """Return the logits of every call of attention within some modules, in float64."""
    mode = Materialised()
    with named(model, names, mode.running), mode:
        run()
    return mode.logits


class Watch:
    """Taps on some modules of a model, without a collector."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        self.errors: list[BaseException] = []
        self.buffer = PartialBuffer(len(names), torch.device("cpu"))
        self.taps = [
            AttentionTap(Site(name, name, Role.ATTENTION), row, self.buffer, self._armed, self._fail)
            for row, name in enumerate(names)
        ]
        self.handles = [
            handle
            for name, tap in zip(names, self.taps, strict=True)
            for handle in tap.attach(model.get_submodule(name))
        ]

    def _armed(self, module: nn.Module) -> bool:
        return module.training and (torch.compiler.is_compiling() or torch._C._current_graph_task_id() == -1)

    def _fail(self, site: str, error: BaseException) -> None:
        self.errors.append(error)

    def readings(self) -> dict[str, Reading]:
        """Return what was written, by module."""
        rows = self.buffer.partials().tolist()
        # Graphs that were compiled count in the buffer.
        counts = [n + int(row[COUNT]) for n, row in zip(self.buffer.counts, rows, strict=True)]
        return {
            tap.site.name: Reading(
                row[MAXIMUM], row[BOUND], row[SUM] / max(count, 1), row[MINIMUM], count, tap.kind
            )
            for tap, row, count in zip(self.taps, rows, counts, strict=True)
        }

    def remove(self) -> None:
        """Take the taps off."""
        for handle in self.handles:
            handle.remove()


def entropies(s: Tensor, first: int) -> Tensor:
    """Return the mean entropy over ln n of each sequence and head, on sixteen rows that see enough keys.

    Args:
        s: Logits, batch × heads × queries × keys.
        first: The first row; they are evenly spaced up to the last.
    """
    n = s.shape[2]
    count = min(16, n - first)
    rows = [round(first + i * (n - 1 - first) / max(count - 1, 1)) for i in range(count)]
    s = s[:, :, rows]
    visible = (s > s.amax(-1, keepdim=True) - 5e3).sum(-1)
    h = torch.special.entr(s.softmax(-1)).sum(-1) / visible.clamp_min(2).log()
    counts = visible >= visible.amax(-1, keepdim=True).clamp_max(8)
    return torch.where(counts, h, 0.0).sum(-1) / counts.sum(-1)


def entropy_of_a_sequence(logits: Tensor, heads: int) -> list[tuple[float, float]]:
    """Return what a tap may say of a call: mean and minimum over heads, of any of its sequences.

    The first of three dimensions may be heads alone, or sequences and heads.
    """
    shaped = [logits.flatten(0, -4)] if logits.dim() > 3 else [logits[None]]
    if logits.dim() == 3 and logits.shape[0] % heads == 0:
        shaped.append(logits.view(-1, heads, *logits.shape[1:]))
    firsts = [7] if logits.shape[-2] >= 23 else [0, 7] if logits.shape[-2] > 8 else [0]
    found = [entropies(s, first) for s in shaped for first in firsts]
    return [(each.mean().item(), each.amin().item()) for h in found for each in h]
