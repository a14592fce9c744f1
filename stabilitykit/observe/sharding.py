"""Parameters and activations that are spread over processes, and models inside a wrapper for that.

A ``DTensor`` is known by its methods, so that nothing is imported where there is none.
"""

from collections.abc import Sequence
from enum import IntEnum

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Share(IntEnum):
    """What a process holds of a parameter."""

    WHOLE = 0
    """All of it, as every other process does."""
    SHARD = 1
    """A shard, of which this is the first copy."""
    COPY = 2
    """A shard that another process holds as well, and counts for."""


def shares(parameters: Sequence[Tensor]) -> tuple[Share, ...]:
    """Return what this process holds of some parameters."""
    return tuple(_share(parameter) for parameter in parameters)


def _share(parameter: Tensor) -> Share:
    if not is_spread(parameter):
        return Share.WHOLE
    return Share.SHARD if holds_first_copy(parameter) else Share.COPY


def is_spread(parameter: Tensor) -> bool:
    """Return whether a parameter is a ``DTensor``."""
    return hasattr(parameter, "to_local")


def holds_first_copy(parameter: Tensor) -> bool:
    """Return whether this process holds the first copy of its shard of a ``DTensor``.

    Over all processes, every element of the whole tensor is in exactly one first copy. Processes that lie
    along an axis over which the tensor is not split hold copies of one another, and so do meshes that do not
    hold the first process.

    Args:
        parameter: A ``DTensor``.
    """
    mesh = parameter.device_mesh  # type: ignore[attr-defined]
    place = mesh.get_coordinate()
    if place is None or 0 not in mesh.mesh.flatten().tolist():
        return False
    placements = parameter.placements  # type: ignore[attr-defined]
    return all(at == 0 or way.is_shard() for at, way in zip(place, placements, strict=True))


def has_flat_shards(model: nn.Module) -> bool:
    """Return whether a part of the model is spread by the older ``FullyShardedDataParallel``.

    Its shards are plain tensors, which show neither what they are a part of nor where copies of them are.
    """
    return any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules())


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside ``DistributedDataParallel``, or the model itself."""
    while isinstance(model, DistributedDataParallel):
        model = model.module
    return model
