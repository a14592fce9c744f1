"""From what was asked for to workers."""

from collections.abc import Iterable
from importlib.util import find_spec

from stabilitykit.errors import ConfigError, MissingExtraError
from stabilitykit.lab.probe.spec import TrainerConfig
from stabilitykit.lab.sweep.backends.config import BackendConfig
from stabilitykit.lab.sweep.backends.local import LocalPool
from stabilitykit.lab.sweep.backends.needs import Needs, usable_cpus, usable_gpus
from stabilitykit.lab.sweep.backends.pool import Pool


def make_pool(config: BackendConfig, trainers: Iterable[TrainerConfig]) -> Pool:
    """Return the workers of a sweep; whoever asked for them closes them.

    Args:
        config: Where it shall run.
        trainers: How its runs train: a worker must have room for any of them.

    Raises:
        ConfigError: There is no room for a run, no cluster at the address, or no Slurm.
        MissingExtraError: The backend's package is not installed.
    """
    found = Needs.of(trainers)
    needs = Needs(config.cpus or found.cpus, found.gpus if config.gpus is None else config.gpus)
    if config.kind == "local":
        return LocalPool(config.workers or _local_workers(needs), needs.gpus)
    if config.kind == "ray":
        _require("ray", "ray")
        from stabilitykit.lab.sweep.backends.ray_pool import RayPool

        return RayPool(needs, config.workers, config.address)
    _require("submitit", "slurm")
    from stabilitykit.lab.sweep.backends.slurm_pool import SlurmPool

    return SlurmPool(needs, config)


def _local_workers(needs: Needs) -> int:
    gpus = len(usable_gpus())
    if needs.gpus > gpus:
        raise ConfigError(f"backend.gpus: a run takes {needs.gpus} GPUs; this machine has {gpus}")
    # A run with more threads than there are cores is slow, but not wrong.
    return max(1, needs.room(usable_cpus(), gpus))


def _require(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise MissingExtraError(
            f"backend: {extra} needs the package {package}: pip install 'stabilitykit[{extra}]'"
        )
