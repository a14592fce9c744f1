"""torch's own ``multi_head_attention_forward``, whose inside no mode sees."""

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any


def with_inside(
    func: Callable[..., Any], attention: Callable[..., Any], softmax: Callable[..., Any]
) -> Callable[..., Any] | None:
    """Return the same function, but with its calls of attention and softmax going elsewhere.

    While a mode handles a function it is off, and switching it on again recurses for ever. So the function's
    own code runs with other globals; nothing that other code could see is changed.

    Args:
        func: ``torch.nn.functional.multi_head_attention_forward``.
        attention: Called in place of ``scaled_dot_product_attention``.
        softmax: Called in place of ``softmax``.

    Returns:
        The function, or None where ``func`` is not written in Python.
    """
    if not isinstance(func, FunctionType):
        return None
    inside = {"scaled_dot_product_attention": attention, "softmax": softmax}
    copy = FunctionType(
        func.__code__, {**func.__globals__, **inside}, func.__name__, func.__defaults__, func.__closure__
    )
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


def number_of_heads(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Return the number of heads in the arguments of ``multi_head_attention_forward``."""
    heads: int = args[4] if len(args) > 4 else kwargs["num_heads"]
    return heads
