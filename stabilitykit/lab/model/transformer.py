"""The configurable decoder-only transformer."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stabilitykit.lab.model.block import Block
from stabilitykit.lab.model.cache import KVCache
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.context import contexts, distinct_kinds
from stabilitykit.lab.model.embedding import Embedding, Head
from stabilitykit.lab.model.initialization import initialize
from stabilitykit.lab.model.norms import build_norm
from stabilitykit.lab.model.positions import build_logit_bias


class Transformer(nn.Module):
    """A decoder-only transformer, built and initialised from its configuration and a seed.

    Submodules are ``embed``, ``logit_bias`` (where positions enter the logits), ``blocks``, ``final_norm``
    (where the last sublayer leaves the stream un-normalised) and ``head``.
    """

    def __init__(self, config: TransformerConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self._kinds = distinct_kinds(config)
        self._kind_of = [self._kinds.index(config.layer_kind(layer)) for layer in range(config.n_layers)]
        # Without storage: torch's layers would draw weights here that initialize draws anew.
        device = torch.get_default_device()
        with torch.device("meta"):
            self.embed = Embedding(config)
            self.logit_bias = build_logit_bias(config)
            self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
            norm = config.norm_of("final")
            self.final_norm = build_norm(norm, config.d_model) if config.has_final_norm else None
            self.head = Head(config)
        self.to_empty(device=device)
        if config.head.tied:
            self.head.linear.weight = self.embed.token.weight
        initialize(self, config, seed)

    def forward(
        self, tokens: Int[Tensor, "batch seq"], cache: KVCache | None = None
    ) -> Float[Tensor, "batch seq vocab"]:
        """Return the logits of every next token.

        Args:
            tokens: Token indices below ``vocab_size``, at most ``seq_len`` of them.
            cache: Keys and values of the tokens before them, to which theirs are added; behind others only
                one a sequence.

        Raises:
            ConfigError: The sequence is longer than ``seq_len``, or the cache does not fit.
        """
        if cache is not None:
            cache.check(tokens)
        x = self.embed(tokens, 0 if cache is None else cache.length)
        shared = contexts(self.config, self._kinds, self.logit_bias, x, cache)
        for layer, (kind, block) in enumerate(zip(self._kind_of, self.blocks, strict=True)):
            own = shared[kind]
            x = block(x, own if cache is None else own._replace(cache=cache.layer(layer)))
        if cache is not None:
            cache.length += tokens.shape[1]
        if self.final_norm is not None:
            x = self.final_norm(x)
        logits: Tensor = self.head(x)
        return logits
