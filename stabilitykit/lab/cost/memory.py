"""What must be in memory at once, and whether a machine has it."""

import os
from dataclasses import asdict, dataclass, fields

import torch

from stabilitykit.errors import DataError
from stabilitykit.lab.cost.device import measuring_device


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by what they hold."""

    weights: int
    gradients: int = 0
    optimizer: int = 0
    """What the optimizer keeps between steps."""
    activations: int = 0
    """What forward keeps for backward."""
    kv_cache: int = 0
    """Keys and values of the tokens that later ones still see."""
    working: int = 0
    """What the largest single operation reads and writes beside weights and their gradients."""

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def total(self) -> int:
        """All of it; more is never needed at once."""
        return sum(asdict(self).values())


def memory_available() -> int | None:
    """Return the bytes that a new program could have where models are measured; None where nobody tells."""
    if measuring_device().type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123  # not a file of anyone's
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return None


def require_memory(
    needed: Memory,
    available: int | None,
    advice: str = "a smaller --scale or --batch, or --predict, which runs nothing",
) -> None:
    """Refuse to begin what does not fit; to be called before anything is allocated.

    Args:
        needed: The prediction.
        available: Bytes that there are; None where nobody knows, which refuses nothing.
        advice: What to try instead.

    Raises:
        DataError: It does not fit.
    """
    if available is not None and needed.total > available:
        parts = [f"{name} {gib(size)}" for name, size in asdict(needed).items() if size]
        told = f"needs {gib(needed.total)} ({', '.join(parts)}), and {gib(available)} are available"
        raise DataError(f"memory: {told}; try {advice}")


def gib(size: int) -> str:
    """Return bytes in GiB, or MiB below one."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
