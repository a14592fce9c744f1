"""Numbers that training gives of a batch."""

import contextlib
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_WORDS_BESIDE_LOSS = {"", "step", "total", "train", "training"}


def is_name_of_loss(name: str) -> bool:
    """Return whether a logged number is, by its name, the loss that is trained on: ``loss``, ``train/loss``.

    Args:
        name: Of the number.
    """
    return set(re.split(r"[^a-z]+", name.lower())) - _WORDS_BESIDE_LOSS == {"loss"}


def scalar(value: Any) -> Tensor | float | None:
    """Return a number, of a tensor the tensor without its graph; None of anything else.

    Args:
        value: Whatever training gave.
    """
    if isinstance(value, Tensor):
        return (
            None if value.numel() != 1 or value.is_complex() or value.is_meta else value.detach().reshape(())
        )
    if isinstance(value, int | float):
        with contextlib.suppress(OverflowError):
            return float(value)
    return None


def scalars(outputs: Any) -> dict[str, Tensor | float]:
    """Return the numbers that a training step gave, by their names; one that stands alone is its loss.

    Args:
        outputs: What the step returned.
    """
    named = outputs if isinstance(outputs, Mapping) else {"loss": outputs}
    found = {}
    for name, value in named.items():
        number = scalar(value)
        if number is not None:
            found[str(name)] = number
    return found
