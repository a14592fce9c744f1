"""Turn the tensors of a transformers model into ours: names, fused projections, transposed matrices."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model.config import TransformerConfig

Tensors = Mapping[str, Tensor]

_LAYER = re.compile(r"blocks\.(\d+)\.")
_PROJECTION = re.compile(r"(?P<attention>.+\.attn)\.(?P<part>[qkv])_proj")


@dataclass(frozen=True, slots=True)
class Taken:
    """One of our tensors that is a part, or another order, of theirs."""

    path: str
    """Their tensor, ``{i}`` for the layer's number; those of all ``{h}`` are stacked."""
    take: Callable[[Tensor, TransformerConfig], Tensor] = lambda tensor, _config: tensor
    """From theirs to ours."""


@dataclass(frozen=True, slots=True)
class Names:
    """Where a family keeps what our modules hold."""

    modules: Mapping[str, tuple[str, ...]]
    """Our module's path to theirs, ``{i}`` for the layer's number; of several, the first that exists."""
    fused: Literal["none", "stacked", "grouped", "sharded"] = "none"
    """How ``attn.qkv`` holds queries, keys and values: all queries first; by groups of heads that share keys
    and values, each queries, then key, then value; or in four shards of queries, then values, then keys."""
    transposed: bool = False
    """Whether matrices in blocks are stored (in, out)."""
    position_offset: int = 0
    """Rows in front of the first position's."""
    taken: Mapping[str, Taken] = field(default_factory=dict)
    """Our tensors, ``{i}`` for the layer's number, that are found in a way of their own."""
    unused: tuple[str, ...] = ()
    """Ends of names of theirs that have no place here because they change nothing."""


def translated(theirs: Tensors, ours: Tensors, names: Names, config: TransformerConfig) -> dict[str, Tensor]:
    """Return a transformers model's tensors under our names and in our shapes.

    Only names, order and axes change, so gradients go the same way as weights.

    Args:
        theirs: Weights, or gradients, by their parameter's name.
        ours: The tensors of our model, by name, which say what is wanted.
        names: Where the family keeps it.
        config: Our model's configuration.

    Raises:
        ConfigError: A tensor is missing, left over or of another shape.
    """
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    for name, like in ours.items():
        taken = names.taken.get(_LAYER.sub("blocks.{i}.", name))
        if taken is not None:
            sources = _taken_from(name, taken, theirs)
            parts = [theirs[each] for each in sources]
            tensor = taken.take(torch.stack(parts) if "{h}" in taken.path else parts[0], config)
        else:
            sources = [_source(name, theirs, names)]
            tensor = _in_our_order(name, theirs[sources[0]], names, config)
        used.update(sources)
        source = sources[0]
        if tensor.shape != like.shape:
            got, wanted = tuple(tensor.shape), tuple(like.shape)
            raise ConfigError(f"huggingface.{source}: got the shape {got}; must be {wanted} as {name}")
        found[name] = tensor
    if left := sorted(each for each in set(theirs) - used if not each.endswith(names.unused)):
        raise ConfigError(f"huggingface.{left[0]}: has no place in the model (nor {len(left) - 1} more)")
    return found


def _taken_from(name: str, taken: Taken, theirs: Tensors) -> list[str]:
    layer = _LAYER.match(name)
    path = taken.path.replace("{i}", layer[1]) if layer else taken.path
    several = (path.replace("{h}", str(h)) for h in itertools.count())
    found = [*itertools.takewhile(theirs.__contains__, several)] if "{h}" in path else [path]
    if not found or found[0] not in theirs:
        raise ConfigError(f"huggingface: {name} is missing; looked for {path}")
    return found


def _source(name: str, theirs: Tensors, names: Names) -> str:
    module, _, kind = name.rpartition(".")
    candidates = [f"{path}.{kind}" for path in _paths(module, names)]
    for candidate in candidates:
        if candidate in theirs:
            return candidate
    raise ConfigError(f"huggingface: {name} is missing; looked for {', '.join(candidates) or 'nothing'}")


def _paths(module: str, names: Names) -> Iterator[str]:
    layer = _LAYER.match(module)
    template = _LAYER.sub("blocks.{i}.", module)
    if names.fused != "none":
        template = _PROJECTION.sub(r"\g<attention>.qkv", template)
    for path in names.modules.get(template, ()):
        yield path.replace("{i}", layer[1]) if layer else path


def _in_our_order(
    name: str, tensor: Shaped[Tensor, "..."], names: Names, config: TransformerConfig
) -> Shaped[Tensor, "..."]:
    if names.transposed and name.startswith("blocks.") and tensor.dim() == 2:
        tensor = tensor.T
    if name == "embed.position.weight":
        return tensor[names.position_offset :]
    projection = _PROJECTION.match(name)
    if projection and names.fused == "stacked":
        return _stacked(tensor, projection["part"], config)
    if projection and names.fused == "grouped":
        return _grouped(tensor, projection["part"], config)
    if projection and names.fused == "sharded":
        shards = tensor.reshape(4, 3, -1, *tensor.shape[1:])
        return shards[:, "qvk".index(projection["part"])].flatten(0, 1)
    return tensor


def _stacked(
    tensor: Shaped[Tensor, "rows ..."], part: str, config: TransformerConfig
) -> Shaped[Tensor, "some ..."]:
    queries, keys = config.attention.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    return torch.split(tensor, [queries, keys, keys])["qkv".index(part)]


def _grouped(
    tensor: Shaped[Tensor, "rows ..."], part: str, config: TransformerConfig
) -> Shaped[Tensor, "some ..."]:
    sharing = config.attention.n_heads // config.n_kv_heads
    groups = tensor.reshape(config.n_kv_heads, sharing + 2, config.head_dim, *tensor.shape[1:])
    places = {"q": slice(0, sharing), "k": slice(sharing, sharing + 1), "v": slice(sharing + 1, sharing + 2)}
    return groups[:, places[part]].flatten(0, 2)
