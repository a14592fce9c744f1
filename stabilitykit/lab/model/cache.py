"""Keys and values of the tokens so far, kept for generating: a new token makes only its own."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.sections import LayerKind


class KVCache:
    """Keys and values of every layer, in buffers that are allocated once.

    A layer with a window has as many slots as its window has tokens, and position ``p`` goes to slot
    ``p mod slots``: in place of the one that just left a sliding window, or of one of the chunk before. What
    the newest token sees is then always the first slots, and nothing is ever moved. No gradient passes.

    Rope's rescalings that depend on the sequence's length (dynamic, longrope) take ``capacity`` for it, so
    that keys of one cache are turned alike. What the model gives is then what it gives for these tokens in a
    sequence of that length.
    """

    def __init__(
        self,
        config: TransformerConfig,
        batch: int = 1,
        capacity: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """Allocate the buffers.

        Args:
            config: The model's configuration.
            batch: Sequences, from 1.
            capacity: Tokens of a sequence, from 1 to ``seq_len``; when left out, ``seq_len``.
            dtype: The type in which the model computes keys; torch's default when left out.
            device: Where the model is; torch's default when left out.

        Raises:
            ConfigError: A size is below 1, or capacity above ``seq_len``.
        """
        self.batch, self.capacity = batch, config.seq_len if capacity is None else capacity
        for name, size in (("batch", self.batch), ("capacity", self.capacity)):
            if size < 1:
                raise ConfigError(f"cache.{name}: got {size}; must be at least 1")
        if self.capacity > config.seq_len:
            raise ConfigError(f"cache.capacity: got {self.capacity}; at most model.seq_len {config.seq_len}")
        self.length = 0
        """Tokens of a sequence that it holds or has held; at 0 it is empty."""
        self._kinds = [config.layer_kind(layer) for layer in range(config.n_layers)]
        self._buffers = []
        for kind in self._kinds:
            shape = (batch, config.n_kv_heads, self.slots(kind), config.head_dim)
            keys, values = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
            self._buffers.append((keys, values))

    def slots(self, kind: LayerKind) -> int:
        """Return how many tokens a layer of that kind has room for."""
        return min(kind.window or self.capacity, self.capacity)

    def layer(self, layer: int) -> "LayerCache":
        """Return the part of the layer of that number, from 0."""
        return LayerCache(*self._buffers[layer], self.length, self._kinds[layer])

    def distances(self, kind: LayerKind) -> Int[Tensor, "1 keys"]:
        """Return how many tokens before the next one each key that it sees stands, in the order of slots."""
        seen = torch.arange(cached_tokens(kind, self.length + 1))
        return ((self.length - seen) % self.slots(kind)).unsqueeze(0)

    def check(self, tokens: Int[Tensor, "batch seq"]) -> None:
        """Refuse tokens that cannot go behind those it holds.

        Args:
            tokens: What the model is given.

        Raises:
            ConfigError: It is for another number of sequences, has no room, or several go behind others.
        """
        batch, new = tokens.shape
        if batch != self.batch:
            raise ConfigError(f"cache.batch: got {batch} sequences; the cache is for {self.batch}")
        if self.length + new > self.capacity:
            raise ConfigError(
                f"cache.capacity: got a sequence of {self.length + new} tokens; at most {self.capacity}"
            )
        if self.length and new != 1:
            # Those of a window would overwrite keys that the first of them still sees.
            raise ConfigError(f"tokens: got {new} a sequence behind {self.length} in the cache; accepted: 1")


class LayerCache(NamedTuple):
    """One layer's buffers, and how many tokens went into them so far."""

    keys: Float[Tensor, "batch kv_heads slots head_dim"]
    values: Float[Tensor, "batch kv_heads slots head_dim"]
    length: int
    kind: LayerKind

    def extended(
        self, k: Float[Tensor, "batch kv_heads new head_dim"], v: Float[Tensor, "batch kv_heads new head_dim"]
    ) -> tuple[Float[Tensor, "batch kv_heads keys head_dim"], Float[Tensor, "batch kv_heads keys head_dim"]]:
        """Write new keys and values into the buffers; return those that the new tokens may see.

        Args:
            k: Keys of the new tokens: of one, or of any number where there were none before.
            v: Their values.

        Raises:
            ConfigError: They are of another type than the buffers.
        """
        if k.dtype != self.keys.dtype:
            raise ConfigError(f"cache.dtype: got {self.keys.dtype}; the model's keys are {k.dtype}")
        for buffer, new in ((self.keys, k.detach()), (self.values, v.detach())):
            _write(buffer, new, self.length)
        if not self.length:
            return k, v
        seen = cached_tokens(self.kind, self.length + 1)
        return self.keys[:, :, :seen], self.values[:, :, :seen]


def cached_tokens(kind: LayerKind, length: int) -> int:
    """Return the keys that a layer still needs of a sequence, and that its last token sees.

    Args:
        kind: The layer's kind.
        length: Tokens so far.
    """
    if kind.window is None:
        return length
    return (length - 1) % kind.window + 1 if kind.span == "chunked" else min(length, kind.window)


def _write(
    buffer: Float[Tensor, "batch kv_heads slots head_dim"],
    new: Float[Tensor, "batch kv_heads new head_dim"],
    before: int,
) -> None:
    """Write the newest that there is room for, each to its position modulo the number of slots."""
    slots, count = buffer.shape[2], new.shape[2]
    if count < slots:
        first = before % slots
        buffer[:, :, first : first + count] = new
    else:
        buffer.copy_(new[:, :, count - slots :].roll((before + count) % slots, 2))
