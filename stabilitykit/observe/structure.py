"""The calls that a model would make if its modules ran in the order in which they are registered.

For models whose forward pass cannot be looked at, such as compiled ones.
"""

import re

from torch import nn
from torch._dynamo.eval_frame import OptimizedModule

from stabilitykit.observe.call import Call


def is_compiled(model: nn.Module) -> bool:
    """Return whether a model or a part of it runs through ``torch.compile``."""
    return any(
        isinstance(module, OptimizedModule)
        or module._compiled_call_impl is not None
        # What `model.forward = torch.compile(model.forward)` leaves.
        or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
        for module in model.modules()
    )


_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)


def assumed_calls(model: nn.Module) -> list[Call]:
    """Return one call for every module that is no mere list, as if run in registration order.

    Shapes are unknown. Attention is where the innermost module with parameters is called so.

    Args:
        model: The model.
    """
    calls: list[Call] = []
    _visit(model, "", None, calls)
    for call in calls:
        inner = (other for other in calls[call.number + 1 : call.end] if _is_attention(other.module))
        if _is_attention(call.module) and next(inner, None) is None:
            call.attends_from = call.number + 1
    return calls


def _visit(module: nn.Module, path: str, parent: int | None, calls: list[Call]) -> None:
    number = parent
    # A list is never called, and torch.compile's wrapper shows the module it wraps.
    if not isinstance(module, nn.ModuleList | nn.ModuleDict):
        number = len(calls)
        calls.append(Call(number, path, module, parent))
    for name, child in module.named_children():
        _visit(child, f"{path}.{name}" if path else name, number, calls)
    if number is not None and number != parent:
        calls[number].end = len(calls)


def _is_attention(module: nn.Module) -> bool:
    has_weights = next(module.parameters(), None) is not None
    return has_weights and bool(_ATTENTION.search(type(module).__name__)) and any(module.children())
