"""Parameters and activations that are spread over processes, and models inside a wrapper for that.

A ``DTensor`` is known by its methods, so that nothing is imported where there is none.
"""

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def local(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor: its shard of a ``DTensor``, else the tensor itself.

    A shard may be smaller than others, or empty. No process is asked for anything.
    """
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


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
