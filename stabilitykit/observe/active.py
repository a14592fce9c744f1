"""Modes of torch functions that are opened in one hook and closed in another."""

from torch._C import _len_torch_function_stack
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode


def deactivate(mode: TorchFunctionMode) -> None:
    """Take a mode off, wherever it is: others may have been opened since, and an interrupt leaves all open.

    Args:
        mode: The mode; nothing happens if it is not active.
    """
    above = []
    while _len_torch_function_stack():
        top = _pop_mode()  # type: ignore[no-untyped-call]
        if top is mode:
            break
        above.append(top)
    for each in reversed(above):
        _push_mode(each)  # type: ignore[no-untyped-call]
