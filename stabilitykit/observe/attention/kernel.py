"""Scaled dot-product attention: the kernel that runs anyway, in the form that returns its log-sum-exp."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stabilitykit.observe.attention.seen import Seen
from stabilitykit.stats import MIN_VISIBLE_KEYS, AttentionCall, norm_level

_FLASH = 1
"""What ``torch._fused_sdp_choice`` returns where the fused kernel would run."""

See = Callable[[Seen], None]
OnError = Callable[[BaseException], None]


class Arguments(NamedTuple):
    """The arguments of scaled_dot_product_attention in the order and with the defaults of its signature."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    def as_under_autocast(self) -> "Arguments":
        """Return them in the type that autocast would run them in."""
        kind = self.query.device.type
        if not torch.is_autocast_enabled(kind):
            return self
        dtype = torch.get_autocast_dtype(kind)
        return self._replace(
            query=_cast(self.query, dtype),
            key=_cast(self.key, dtype),
            value=_cast(self.value, dtype),
            attn_mask=None if self.attn_mask is None else _cast(self.attn_mask, dtype),
        )


def attend(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], see: See, on_error: OnError
) -> Any:
    """Return what ``scaled_dot_product_attention`` returns, and let the call be seen.

    Where the fused CPU kernel would be chosen, the same kernel is called in the form that also returns its
    log-sum-exp: output and gradients are bit-equal. Everywhere else the caller's own call runs untouched
    and one sequence is looked at beside it.

    Args:
        func: The function.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        see: Given the call.
        on_error: Told when the call could not be looked at.
    """
    given, output = None, None
    try:
        given = _readable(args, kwargs)
        if given is not None and _is_fused(given):
            output, lse = _kernel(given)
            see(_whole(given, lse))
    except Exception as error:  # Nothing in a monitor may end a training run.
        given = None
        on_error(error)
    if output is not None:
        return output
    output = func(*args, **kwargs)
    if given is not None:
        try:
            with torch.no_grad():
                see(_again(given) if _is_fused_when_compiled(given) else _beside(_four_dimensional(given)))
        except Exception as error:
            on_error(error)
    return output


def _readable(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments | None:
    """Return the arguments where there is something to see: plain tensors, and keys enough."""
    given = Arguments(*args, **kwargs)
    q, k, v = given.query, given.key, given.value
    if any(type(x) not in (Tensor, torch.nn.Parameter) or x.is_nested for x in (q, k, v)):
        return None
    visible = min(q.shape[-2], k.shape[-2]) if given.is_causal else k.shape[-2]
    if not q.numel() or visible < MIN_VISIBLE_KEYS:
        return None
    return given.as_under_autocast()


def _is_fused(given: Arguments) -> bool:
    """Return whether the fused CPU kernel would run and can stand in bit for bit."""
    # The choice cannot be traced: in a compiled graph the caller's own call stays.
    if given.query.device.type != "cpu" or given.dropout_p > 0 or torch.compiler.is_compiling():
        return False
    q, k, v, mask, dropout, causal, scale, gqa = given
    if q.dim() != 4:
        return False
    choice = torch._fused_sdp_choice(q, k, v, mask, dropout, causal, scale=scale, enable_gqa=gqa)
    return choice == _FLASH


def _is_fused_when_compiled(given: Arguments) -> bool:
    """Return whether this is a compiled graph in which the fused CPU kernel will most likely stand."""
    q, _, v, mask, dropout = given[:5]
    return (
        torch.compiler.is_compiling()
        and q.device.type == "cpu"
        and q.dim() == 4
        and dropout == 0
        and q.shape[-1] == v.shape[-1]
        and (mask is None or (mask.dim() != 3 and not mask.requires_grad))
    )


def _again(given: Arguments) -> Seen:
    """Return the call by calling the kernel again: the compiler finds the same call there and drops one."""
    return _whole(given, _kernel(given)[1])


def _kernel(given: Arguments) -> tuple[Tensor, Tensor]:
    """Return the output and the log-sum-exp of the fused CPU kernel, without dropout."""
    q, k, v, mask, _, causal, scale, _ = given
    found: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, causal, attn_mask=_as_bias(mask, q.dtype), scale=scale
    )
    return found


def _whole(given: Arguments, lse: Tensor) -> Seen:
    """Return a call of which every row's log-sum-exp is known."""
    q, k, mask = given.query.detach(), given.key.detach(), given.attn_mask
    bias = None if mask is None else _as_bias(mask.detach(), q.dtype)
    return Seen(_call(q, k, given, lse.detach(), bias, None), complete=True, queries=q.shape[-2])


def _beside(given: Arguments) -> Seen:
    """Return what is looked at beside a call that gives no log-sum-exp: one sequence, by the fused kernel.

    Of several sequences it is the one whose norms allow the largest logit; the next one's bound is kept.
    """
    q, k, mask = given.query.detach(), given.key.detach(), given.attn_mask
    mask = None if mask is None else mask.detach()
    scale = _scale(given)
    elsewhere = None
    complete = q.shape[0] == 1
    if not complete:
        floating = mask if mask is not None and mask.is_floating_point() else None
        best = norm_level(q, k, scale, floating).amax((1, 2)).topk(2)
        sequence, elsewhere = best.indices[:1], best.values[1:]
        q, k = q.index_select(0, sequence), k.index_select(0, sequence)
        if mask is not None and mask.dim() == 4 and mask.shape[0] > 1:
            mask = mask.index_select(0, sequence)
    bias = None if mask is None else _as_bias(mask, q.dtype)
    if q.device.type != "cpu":
        call = _call(q, k, given, norm_level(q, k, scale, bias), bias, elsewhere)
        return Seen(call, complete=False, queries=q.shape[-2])
    # The log-sum-exp does not depend on the values, and the kernel wants them as wide as the keys.
    q, k = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k))
    _, lse = _kernel(Arguments(q, k, k, bias, 0.0, given.is_causal, given.scale))
    return Seen(_call(q, k, given, lse, bias, elsewhere), complete, q.shape[-2])


def _call(
    q: Tensor, k: Tensor, given: Arguments, level: Tensor, bias: Tensor | None, elsewhere: Tensor | None
) -> AttentionCall:
    if bias is not None:
        bias = bias.expand(*q.shape[:3], k.shape[2])
    return AttentionCall(q, k, _scale(given), given.is_causal, level, bias, elsewhere=elsewhere)


def _scale(given: Arguments) -> float:
    return given.query.shape[-1] ** -0.5 if given.scale is None else given.scale


def _four_dimensional(given: Arguments) -> Arguments:
    """Return the arguments as batch × heads × rows × width.

    Of three dimensions the first is taken for heads; of more than four, all in front are sequences.
    """
    q, k, v, mask = given[:4]
    if q.dim() == 3:
        mask = mask[None] if mask is not None and mask.dim() == 3 else mask
        return Arguments(q[None], k[None], v[None], mask, *given[4:])
    if q.dim() > 4:
        if mask is not None and mask.dim() > 2:
            mask = mask.expand(*q.shape[:-1], k.shape[-2]).flatten(0, -4)
        return Arguments(q.flatten(0, -4), k.flatten(0, -4), v.flatten(0, -4), mask, *given[4:])
    if mask is not None and mask.dim() == 3:
        mask = mask[None]
    return given._replace(attn_mask=mask)


def _as_bias(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return a mask as what is added to the logits; of a truth value, False hides the key."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -math.inf)


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor as autocast does: float64 and truth values stay as they are."""
    return x.to(dtype) if x.is_floating_point() and x.dtype != torch.float64 else x
