"""The mode that sees attention while a module runs."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from stabilitykit.observe.attention.eager import (
    DIFFERENCES,
    PEAKS,
    PRODUCTS,
    SOFTMAXES,
    WrittenOut,
    softmax_arguments,
)
from stabilitykit.observe.attention.kernel import OnError, See, attend
from stabilitykit.observe.attention.multihead import number_of_heads, with_inside

_NOTED = frozenset((*PRODUCTS, *PEAKS, *DIFFERENCES))
_SEEN = frozenset((*SOFTMAXES, *_NOTED, F.scaled_dot_product_attention, F.multi_head_attention_forward))


class AttentionMode(TorchFunctionMode):
    """Sees every call of attention while it is active, however it is written.

    Args:
        see: Given each call.
        on_error: Told when a call could not be looked at; the model's own call runs all the same.
    """

    def __init__(self, see: See, on_error: OnError) -> None:
        super().__init__()
        self._see = see
        self._on_error = on_error
        self._written_out = WrittenOut()
        self._is_traced = torch.compiler.is_compiling()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _SEEN:
            return func(*args, **kwargs)
        # A function that is compiled for itself must not be compiled anew for each module it is called in.
        if torch.compiler.is_compiling() and not self._is_traced:
            return func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return attend(func, args, kwargs, self._see, self._on_error)
        if func is F.multi_head_attention_forward:
            return self._multihead(func, args, kwargs)
        output = func(*args, **kwargs)
        try:
            with torch.no_grad():
                self._note(func, args, kwargs, output)
        except Exception as error:  # Nothing in a monitor may end a training run.
            self._on_error(error)
        return output

    def _note(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        if func in PRODUCTS:
            self._written_out.product((*args, *kwargs.values()), output)
        elif func in PEAKS:
            self._written_out.peak(output)
        elif func in DIFFERENCES:
            self._written_out.difference(args, output)
        else:
            self._look(*softmax_arguments(args, kwargs))

    def _look(self, x: Any, dim: int | None, heads: int | None = None) -> None:
        seen = self._written_out.softmax(x, dim, heads)
        if seen is not None:
            self._see(seen)

    def _multihead(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        heads = number_of_heads(args, kwargs)

        def attention(*args: Any, **kwargs: Any) -> Any:
            return attend(F.scaled_dot_product_attention, args, kwargs, self._see, self._on_error)

        run = with_inside(func, attention, partial(self._softmax, heads))
        return (run or func)(*args, **kwargs)

    def _softmax(self, heads: int, *args: Any, **kwargs: Any) -> Any:
        output = F.softmax(*args, **kwargs)
        try:
            with torch.no_grad():
                self._look(*softmax_arguments(args, kwargs), heads)
        except Exception as error:  # Nothing in a monitor may end a training run.
            self._on_error(error)
        return output
