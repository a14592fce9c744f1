"""What a run takes of a machine, and what this machine has."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stabilitykit.lab.probe.spec import TrainerConfig

_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Needs:
    """What any one run of a sweep takes."""

    cpus: int = 1
    gpus: int = 0

    @classmethod
    def of(cls, trainers: Iterable[TrainerConfig]) -> "Needs":
        """Return what suffices for each of some runs.

        A run takes a CPU for each thread of each of its processes, and a GPU for each process where its
        accelerator is one by name: ``auto`` takes what it finds.
        """
        cpus = gpus = 0
        for trainer in trainers:
            cpus = max(cpus, trainer.threads * trainer.devices)
            gpus = max(gpus, trainer.devices if trainer.accelerator in ("gpu", "cuda") else 0)
        return cls(max(cpus, 1), gpus)

    def room(self, cpus: float, gpus: float) -> int:
        """Return how many runs fit on so many CPUs and GPUs at a time."""
        by_gpus = [int(gpus // self.gpus)] if self.gpus else []
        return min([int(cpus // self.cpus), *by_gpus])


def usable_cpus() -> int:
    """Return the number of CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_gpus() -> tuple[str, ...]:
    """Return the NVIDIA GPUs that this process may use, as CUDA names them. No torch."""
    if _GPUS in os.environ:
        names = [name.strip() for name in os.environ[_GPUS].split(",")]
        # CUDA takes what stands before the first one that there is not.
        return tuple(names[: names.index("-1")] if "-1" in names else filter(None, names))
    found = Path("/proc/driver/nvidia/gpus")
    return tuple(str(n) for n in range(len(list(found.iterdir())))) if found.is_dir() else ()


def share_of_gpus(worker: int, gpus: int) -> tuple[str, ...]:
    """Return the GPUs of a worker: so many, in turn, so that workers share none while there are enough.

    Args:
        worker: Its number, from 0.
        gpus: How many a run takes.
    """
    usable = usable_gpus()
    return tuple(usable[(worker * gpus + n) % len(usable)] for n in range(gpus)) if usable else ()
