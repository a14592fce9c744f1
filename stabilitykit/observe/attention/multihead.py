"""torch's own ``multi_head_attention_forward``, whose inside no mode sees.

While a mode handles a function it is off, and switching it on again recurses for ever. So the function's own
code runs with other globals, in which attention and softmax are told to whoever looks; nothing that other
code could see is changed.
"""

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Protocol

import torch.nn.functional as F


class Inside(Protocol):
    """Whoever looks at attention and softmax inside the function."""

    def attention(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return what ``scaled_dot_product_attention`` returns."""

    def softmax(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return what ``softmax`` returns."""


_looking: list[Inside] = []


def run(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], inside: Inside) -> Any:
    """Return what ``multi_head_attention_forward`` returns.

    Args:
        func: The function.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        inside: Told of attention and softmax inside it.
    """
    if _COPY is None or func is not _ORIGINAL:
        return func(*args, **kwargs)
    _looking.append(inside)
    try:
        return _COPY(*args, **kwargs)
    finally:
        _looking.pop()


def number_of_heads(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Return the number of heads in the arguments of ``multi_head_attention_forward``."""
    heads: int = args[4] if len(args) > 4 else kwargs["num_heads"]
    return heads


def _attention(*args: Any, **kwargs: Any) -> Any:
    return _looking[-1].attention(args, kwargs)


def _softmax(*args: Any, **kwargs: Any) -> Any:
    return _looking[-1].softmax(args, kwargs)


def _copied(func: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the function with other globals, or None where it is not written in Python."""
    if not isinstance(func, FunctionType):
        return None
    inside = {"scaled_dot_product_attention": _attention, "softmax": _softmax}
    names = {**func.__globals__, **inside}
    # With a name, torch.compile would look the globals up in the module of that name.
    del names["__name__"]
    copy = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


_ORIGINAL = F.multi_head_attention_forward
_COPY = _copied(_ORIGINAL)
