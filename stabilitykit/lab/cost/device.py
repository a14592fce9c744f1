"""The device that models are measured on: the first GPU where there is one, else the processor."""

import torch


def measuring_device() -> torch.device:
    """Return the device."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait_for_device() -> None:
    """Wait until the device has done what it was given; the processor always has."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
