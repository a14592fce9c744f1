"""Taps on attention: see q, k and the log-sum-exp of the kernel that runs anyway.

A ``TorchFunctionMode`` is active while an attention module runs. Where the fused CPU kernel would be
chosen, the same kernel is called in the form that also returns its log-sum-exp: the output and the
gradients are bit-equal. Everywhere else the model's own call runs untouched and a few rows are computed
beside it.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from stabilitykit.observe.partials import MINIMUM, SUM, PartialBuffer
from stabilitykit.observe.site import Site
from stabilitykit.observe.tap import Armed, OnError
from stabilitykit.stats import MIN_VISIBLE_KEYS, AttentionCall, AttentionReading, read_attention

_FLASH = 1
"""What ``torch._fused_sdp_choice`` returns where the fused kernel would run."""


class AttentionTap:
    """What is attached to an attention site; one row of the buffer."""

    def __init__(self, site: Site, row: int, buffer: PartialBuffer, armed: Armed, on_error: OnError) -> None:
        self.site = site
        self.kind = "exact or bound"
        self._row = row
        self._buffer = buffer
        self._slots = buffer.rows[row, MINIMUM : SUM + 1]
        self._armed = armed
        self._on_error = on_error
        self._modes: list[_AttentionMode] = []

    def attach(self, module: nn.Module) -> list[RemovableHandle]:
        """Hook the module; the handles remove the tap."""
        return [
            module.register_forward_pre_hook(self._enter),
            # always_call: the mode must not outlive a forward that raises.
            module.register_forward_hook(self._leave, always_call=True),
        ]

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self._armed(module):
            mode = _AttentionMode(self._see)
            mode.__enter__()  # type: ignore[no-untyped-call]
            self._modes.append(mode)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._modes:
            self._modes.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def _see(self, call: AttentionCall, lse: Tensor | None) -> None:
        if min(call.q.shape[2], call.k.shape[2]) < MIN_VISIBLE_KEYS:
            return
        try:
            if lse is None:
                self.kind = "sampled"
            self._write(read_attention(call, lse))
        except Exception as error:  # Nothing in a monitor may end a training run: the site goes dark.
            self._on_error(self.site.name, error)

    def _write(self, reading: AttentionReading) -> None:
        self._buffer.begin(self._row, 1)
        entropy = reading.entropy
        # In the order of the buffer's columns: minimum, maximum, bound, sum.
        numbers = [entropy.amin(), reading.logit_max, reading.logit_bound, entropy.mean()]
        torch.stack(numbers, out=self._slots)


class _AttentionMode(TorchFunctionMode):
    """Sees every call of scaled dot-product attention while it is active."""

    def __init__(self, see: Callable[[AttentionCall, Tensor | None], None]) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        arguments = _arguments(*args, **kwargs)
        q, k, v, mask, _, causal, scale, _ = arguments
        if q.dim() != 4:
            return func(*args, **kwargs)
        bias = _as_bias(mask, q.dtype)
        lse = None
        if _is_fused(*arguments):
            output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q, k, v, 0.0, causal, attn_mask=bias, scale=scale
            )
        else:
            output = func(*args, **kwargs)
        with torch.no_grad():
            self._see(_call(q, k, scale, causal, bias), lse)
        return output


def _arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, float, bool, float | None, bool]:
    """Return the arguments of scaled_dot_product_attention in the order of its signature."""
    return query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa


def _is_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout: float,
    causal: bool,
    scale: float | None,
    gqa: bool,
) -> bool:
    """Return whether the fused CPU kernel would run and can stand in bit for bit."""
    if q.device.type != "cpu" or dropout > 0 or torch.is_autocast_enabled("cpu"):
        return False
    choice = torch._fused_sdp_choice(q, k, v, mask, dropout, causal, scale=scale, enable_gqa=gqa)
    return choice == _FLASH


def _as_bias(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return a mask as what is added to the logits; of a truth value, False hides the key."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -math.inf)


def _call(q: Tensor, k: Tensor, scale: float | None, causal: bool, bias: Tensor | None) -> AttentionCall:
    """Return the call as its statistics want it."""
    if bias is not None:
        bias = bias.detach().expand(*q.shape[:3], k.shape[2])
    return AttentionCall(
        q.detach(), k.detach(), q.shape[-1] ** -0.5 if scale is None else scale, causal, bias
    )
