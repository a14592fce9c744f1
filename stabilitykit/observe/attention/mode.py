"""The mode that sees attention while a module runs."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from stabilitykit.observe.active import deactivate
from stabilitykit.observe.attention import flex
from stabilitykit.observe.attention.eager import (
    DIFFERENCES,
    PEAKS,
    PRODUCTS,
    SOFTMAXES,
    WrittenOut,
    softmax_arguments,
)
from stabilitykit.observe.attention.kernel import OnError, See, attend
from stabilitykit.observe.attention.multihead import number_of_heads, run
from stabilitykit.observe.attention.seen import Seen

_NOTED = frozenset((*PRODUCTS, *PEAKS, *DIFFERENCES))
_ATTENDING = (F.scaled_dot_product_attention, F.multi_head_attention_forward, flex.OPERATOR)
_SEEN = frozenset((*SOFTMAXES, *_NOTED, *_ATTENDING))


class AttentionMode(TorchFunctionMode):
    """Sees every call of attention while it is active, however it is written.

    Where several monitors watch a model, the innermost mode of one of them tells the others' what it sees.

    Args:
        see: Given each call.
        on_error: Told when a call could not be looked at; the model's own call runs all the same.
        owner: What the modes of one monitor share.
    """

    def __init__(self, see: See, on_error: OnError, owner: object) -> None:
        super().__init__()
        self._see = see
        self._on_error = on_error
        self._owner = owner
        self._others: list[AttentionMode] = []
        self._covers = 0
        self._written_out = WrittenOut()
        self._flexed: tuple[Any, ...] | None = None
        self._is_traced = torch.compiler.is_compiling()

    def open(self) -> None:
        """Begin to see."""
        # A mode that a graph is compiled under sees by itself: no kernel is called in another's place there.
        if not self._is_traced:
            self._others = self._modes_of_others()
            for other in self._others:
                other._covers += 1
        self.__enter__()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """See no more."""
        if torch.compiler.is_compiling():
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        else:
            deactivate(self)
        for other in self._others:
            other._covers -= 1

    def _modes_of_others(self) -> list["AttentionMode"]:
        """Return the innermost active mode of each other monitor."""
        stack = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        active = [mode for mode in stack if isinstance(mode, AttentionMode)]
        innermost = {id(mode._owner): mode for mode in active if mode._owner is not self._owner}
        return list(innermost.values())

    def see(self, seen: Seen) -> None:
        """Tell of a call."""
        self._see(seen)
        for other in self._others:
            other._see(seen)

    def on_error(self, error: BaseException) -> None:
        """Tell that a call could not be looked at."""
        self._on_error(error)
        for other in self._others:
            other._on_error(error)

    def finish(self) -> None:
        """Look at what can only be looked at afterwards; to be called when the mode is off.

        flex_attention compiles itself, and what a compiled function does must not depend on how often it was
        called: of several of its calls the last is kept.
        """
        kept, self._flexed = self._flexed, None
        if kept is None:
            return
        try:
            with torch.no_grad():
                seen = flex.look(kept)
            if seen is not None:
                self.see(seen)
        except Exception as error:  # Nothing in a monitor may end a training run.
            self.on_error(error)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _SEEN or self._covers:
            return func(*args, **kwargs)
        if not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None:
            if func in _ATTENDING:
                self.on_error(RuntimeError("attention inside a transform of torch.func is not read"))
            return func(*args, **kwargs)
        if func is flex.OPERATOR:
            output = func(*args, **kwargs)
            self._flexed = flex.flexed(args, output)
            return output
        # A function that is compiled for itself must not be compiled anew for each module it is called in.
        if torch.compiler.is_compiling() and not self._is_traced:
            return func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return self._attend(func, args, kwargs)
        if func is F.multi_head_attention_forward:
            return run(func, args, kwargs, _Multihead(self, number_of_heads(args, kwargs)))
        output = func(*args, **kwargs)
        try:
            with torch.no_grad():
                self._note(func, args, kwargs, output)
        except Exception as error:  # Nothing in a monitor may end a training run.
            self.on_error(error)
        return output

    def _attend(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return what the model's own call returns; where looking at it fails, that call alone."""
        try:
            output = attend(func, args, kwargs, self.see, self.on_error)
            if isinstance(output, Tensor):
                return output
        except Exception as error:  # The caller's own errors come again from the caller's own call.
            self.on_error(error)
        return func(*args, **kwargs)

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
            self.look(*softmax_arguments(args, kwargs))

    def look(self, x: Any, dim: int | None, heads: int | None = None) -> None:
        """Look at a softmax.

        Args:
            x: What it is taken of.
            dim: Over which dimension.
            heads: How many heads lie in the first of three dimensions; None where that is not known.
        """
        seen = self._written_out.softmax(x, dim, heads)
        if seen is not None:
            self.see(seen)


class _Multihead:
    """Looks at attention and softmax inside torch's own attention, whose number of heads is known."""

    def __init__(self, mode: AttentionMode, heads: int) -> None:
        self._mode = mode
        self._heads = heads

    def attention(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return attend(F.scaled_dot_product_attention, args, kwargs, self._mode.see, self._mode.on_error)

    def softmax(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        output = F.softmax(*args, **kwargs)
        try:
            with torch.no_grad():
                self._mode.look(*softmax_arguments(args, kwargs), self._heads)
        except Exception as error:  # Nothing in a monitor may end a training run.
            self._mode.on_error(error)
        return output
