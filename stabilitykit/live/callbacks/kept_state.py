"""The monitor's state in a file of its own, for trainers whose checkpoints have no room for it."""

import io
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from stabilitykit.guard import described, say


def keep_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state so that it is there as a whole or not at all; a disk that refuses is said.

    Args:
        path: The file; one that exists is replaced.
        state: Numbers, texts, lists, mappings and tensors.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    # Nobody else's: what stands there already, such as a link, is not written through.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with suppress(FileNotFoundError):
            part.unlink()
        with part.open("xb") as file:
            file.write(buffer.getvalue())
        part.replace(path)
    except OSError as error:
        say(f"{path}: the monitor's state is not kept: {described(error)}")
        with suppress(OSError):
            part.unlink()


def kept_state(path: Path) -> dict[str, Any] | None:
    """Return the state that was written to a file; None where there is none that can be read, which is said.

    Args:
        path: The file.
    """
    if not path.is_file():
        return None
    try:
        found = torch.load(path, weights_only=True)
        if not isinstance(found, dict):
            raise TypeError(f"holds {type(found).__name__}")
    except Exception as error:  # A cut or foreign file fails in many ways.
        why = described(error)
        say(f"{path}: the monitor's state cannot be read ({why[:120]}); it begins anew")
        return None
    return found
