"""What all layers of a kind share in one forward: mask, rotation, temperature."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from stabilitykit.lab.model.cache import KVCache, LayerCache
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.positions import Rotation, distances, rotation
from stabilitykit.lab.model.sections import LayerKind
from stabilitykit.lab.model.windows import band, by_blocks


class Context(NamedTuple):
    """What a layer's attention needs to know beside the stream; without any of it, it is plainly causal."""

    mask: Bool[Tensor, "*blocks queries keys"] | Float[Tensor, "heads queries keys"] | None = None
    """True where a key is visible, or what is added to the logits; None for plainly causal."""
    rotation: Rotation | None = None
    """The turn of queries and keys."""
    temperature: Float[Tensor, "seq"] | None = None
    """Factor on every query."""
    window: int | None = None
    """Tokens of a block where attention runs block by block; the mask is then a block's."""
    one_query: bool = False
    """Whether one new token a sequence sees all keys; the mask then has the query heads of each key head as
    its rows."""
    cache: LayerCache | None = None
    """Where the layer's keys and values go, and those before them are."""


def distinct_kinds(config: TransformerConfig) -> tuple[LayerKind, ...]:
    """Return the different kinds of layers in a model's pattern, in order of their first."""
    return tuple(dict.fromkeys(config.pattern))


def contexts(
    config: TransformerConfig,
    kinds: tuple[LayerKind, ...],
    logit_bias: nn.Module | None,
    line: Float[Tensor, "batch seq d_model"],
    cache: KVCache | None = None,
) -> list[Context]:
    """Return the context of every kind of layer, made once for all layers of that kind.

    Args:
        config: The model's configuration.
        kinds: The different kinds in its pattern, told apart beforehand: torch.compile cannot compare them.
        logit_bias: The model's bias on attention logits, if it has one.
        line: The embedded tokens, for length, device and type.
        cache: What was there before them.
    """
    if cache is not None and cache.length:
        return [_behind(config, kind, logit_bias, line, cache) for kind in kinds]
    length, whole = line.shape[1], None if cache is None else cache.capacity
    bias = None if logit_bias is None else logit_bias(distances(length), line)
    shared = []
    for kind in kinds:
        own = bias if kind.position else None
        window = kind.window if own is None and by_blocks(config.attention, kind, length) else None
        mask = _mask(kind, own, length, line.device) if window is None else _block_mask(kind, length, line)
        turn, temperature = _rotation(config, kind, line, 0, whole), _temperature(config, kind, line, 0)
        shared.append(Context(mask, turn, temperature, window))
    return shared


def _behind(
    config: TransformerConfig,
    kind: LayerKind,
    logit_bias: nn.Module | None,
    line: Float[Tensor, "batch 1 d_model"],
    cache: KVCache,
) -> Context:
    """Return the context of one new token behind a cache."""
    mask = None
    if logit_bias is not None and kind.position:
        bias = logit_bias(cache.distances(kind), line)
        mask = bias.reshape(config.n_kv_heads, -1, bias.shape[-1])
    turn = _rotation(config, kind, line, cache.length, cache.capacity)
    return Context(mask, turn, _temperature(config, kind, line, cache.length), one_query=True)


def visible(kind: LayerKind, length: int, device: torch.device | None = None) -> Bool[Tensor, "seq seq"]:
    """Return which key, by column, each query, by row, sees in a layer of that kind."""
    query = torch.arange(length, device=device)[:, None]
    key = torch.arange(length, device=device)[None, :]
    seen = key <= query
    if kind.span == "sliding" and kind.window is not None:
        seen = seen & (key > query - kind.window)
    if kind.span == "chunked" and kind.window is not None:
        seen = seen & (key // kind.window == query // kind.window)
    return seen


def _mask(
    kind: LayerKind, bias: Float[Tensor, "heads seq seq"] | None, length: int, device: torch.device
) -> Bool[Tensor, "seq seq"] | Float[Tensor, "heads seq seq"] | None:
    if bias is not None:
        return bias.masked_fill(~visible(kind, length, device), float("-inf"))
    # Plain causality has a faster kernel than any mask.
    plain = kind.window is None or length <= kind.window
    return None if plain else visible(kind, length, device)


def _block_mask(
    kind: LayerKind, length: int, line: Float[Tensor, "batch seq d_model"]
) -> Bool[Tensor, "blocks 1 queries keys"] | None:
    if kind.span == "chunked" or kind.window is None:
        return None
    return band(length, kind.window, line.device)


def _rotation(
    config: TransformerConfig,
    kind: LayerKind,
    line: Float[Tensor, "batch seq d_model"],
    start: int,
    whole: int | None,
) -> Rotation | None:
    position = config.position
    if position.kind != "rope" or not kind.position:
        return None
    theta = position.theta
    if kind.span == "sliding" and position.theta_local is not None:
        theta = position.theta_local
    interleaved, rescale = position.layout == "interleaved", config.rescale_of(kind)
    return rotation(line.shape[1], config.rotary_dim, theta, interleaved, line, rescale, start, whole)


def _temperature(
    config: TransformerConfig, kind: LayerKind, line: Float[Tensor, "batch seq d_model"], before: int
) -> Float[Tensor, "seq"] | None:
    section = config.attention
    floor, scale, start = section.temperature_floor, section.temperature_scale, section.temperature_start
    if floor is None or (kind.position and section.temperature_layers == "no_position"):
        return None
    first = start + before
    position = torch.arange(first, first + line.shape[1], device=line.device, dtype=torch.float32)
    return (1 + scale * torch.log(torch.floor(position / floor) + 1)).to(line.dtype)
