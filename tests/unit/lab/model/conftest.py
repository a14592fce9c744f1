"""Small models with weights that hide nothing, and tokens."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from jaxtyping import Int
from torch import Tensor

from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.lab.validation import validated

Build = Callable[..., Transformer]
SIZES = {"vocab_size": 11, "d_model": 16, "n_layers": 2, "seq_len": 12}


@pytest.fixture
def config_of() -> Callable[..., TransformerConfig]:
    """Return a configuration of small sizes; keywords replace or, as mappings, extend its sections."""

    def make(**fields: Any) -> TransformerConfig:
        attention = {"n_heads": 4, **fields.pop("attention", {})}
        feedforward = {**({} if "ratio" in fields.get("feedforward", {}) else {"d_ff": 24})}
        feedforward |= fields.pop("feedforward", {})
        return validated(
            TransformerConfig, {**SIZES, "attention": attention, "feedforward": feedforward, **fields}
        )

    return make


@pytest.fixture
def build(config_of: Callable[..., TransformerConfig]) -> Build:
    """Return a model in float64 with every vector away from its start and embeddings of size 1."""

    def make(**fields: Any) -> Transformer:
        model = Transformer(config_of(**fields), seed=1).double().eval()
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.dim() < 2 or "norm" in name or name.startswith("logit_bias"):
                    weight.add_(torch.rand(weight.shape, generator=generator, dtype=torch.float64) - 0.3)
                if name.startswith("embed") and weight.dim() == 2:
                    weight.mul_(50)
        return model

    return make


@pytest.fixture
def tokens() -> Int[Tensor, "batch seq"]:
    """Return two sequences of the longest length."""
    return torch.randint(
        SIZES["vocab_size"], (2, SIZES["seq_len"]), generator=torch.Generator().manual_seed(3)
    )
