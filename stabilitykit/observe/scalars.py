"""What training says of itself, such as its loss: one number a name, of whatever type it comes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stabilitykit.stats import local


def scalar(value: Any, device: torch.device) -> Tensor | float:
    """Return one number: a tensor without shape on a device, or a number of the host.

    Args:
        value: A tensor of one real number, or what Python takes for a real number.
        device: Where the readings of a step wait.

    Raises:
        TypeError: It is something else.
        ValueError: It is no number.
    """
    if isinstance(value, Tensor):
        return _of_tensor(value.detach(), device)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        raise TypeError(f"got {type(value).__name__}")
    return float(value)


def _of_tensor(value: Tensor, device: torch.device) -> Tensor | float:
    value = local(value)
    is_plain = value.layout is torch.strided and not value.is_complex() and not value.is_quantized
    if value.numel() != 1 or not is_plain or torch._C._functorch.is_functorch_wrapped_tensor(value):
        raise TypeError(f"got a tensor of the shape {tuple(value.shape)} and the type {value.dtype}")
    if value.dim():
        value = value.reshape(())
    if value.device == device:
        return value
    if value.device.type == "meta":
        raise TypeError("got a tensor without data")
    # A number of the host costs no wait; one of another device is copied behind the work there.
    return value.item() if value.device.type == "cpu" else value.to(device, non_blocking=True)


def mean(values: Sequence[Tensor | float]) -> Tensor | float:
    """Return the mean of the numbers of a step's microbatches; on the device where one of them is there."""
    device = next((value.device for value in values if isinstance(value, Tensor)), None)
    if device is None:
        return sum(float(value) for value in values) / len(values)
    if len(values) == 1 and isinstance(values[0], Tensor):
        return values[0]
    return torch.stack([torch.as_tensor(value, device=device).float() for value in values]).mean()
