"""The configurable transformer. Names are loaded when first used: configuration alone needs no torch."""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.model.cache import KVCache
    from stabilitykit.model.config import (
        ARCHS,
        WIRINGS,
        AttentionConfig,
        EmbeddingConfig,
        FeedForwardConfig,
        HeadConfig,
        InitConfig,
        LayerKind,
        LayerOverride,
        NormConfig,
        PositionConfig,
        RescaleConfig,
        ResidualConfig,
        TransformerConfig,
        arch_config,
        validated,
    )
    from stabilitykit.model.huggingface import from_hf
    from stabilitykit.model.initialization import initialize
    from stabilitykit.model.presets import PRESETS, preset
    from stabilitykit.model.transformer import Transformer
    from stabilitykit.model.unit_weights import normalise_weights

__all__ = [
    "ARCHS",
    "PRESETS",
    "WIRINGS",
    "AttentionConfig",
    "EmbeddingConfig",
    "FeedForwardConfig",
    "HeadConfig",
    "InitConfig",
    "KVCache",
    "LayerKind",
    "LayerOverride",
    "NormConfig",
    "PositionConfig",
    "RescaleConfig",
    "ResidualConfig",
    "Transformer",
    "TransformerConfig",
    "arch_config",
    "from_hf",
    "initialize",
    "normalise_weights",
    "preset",
    "validated",
]

_ELSEWHERE = {
    "KVCache": "stabilitykit.model.cache",
    "Transformer": "stabilitykit.model.transformer",
    "PRESETS": "stabilitykit.model.presets",
    "from_hf": "stabilitykit.model.huggingface",
    "initialize": "stabilitykit.model.initialization",
    "normalise_weights": "stabilitykit.model.unit_weights",
    "preset": "stabilitykit.model.presets",
}


__getattr__ = lazy(__name__, {name: _ELSEWHERE.get(name, "stabilitykit.model.config") for name in __all__})


def __dir__() -> list[str]:
    return sorted(__all__)
