"""The configurable transformer. Names are loaded when first used: configuration alone needs no torch."""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.lab.model.cache import KVCache
    from stabilitykit.lab.model.config import (
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
    from stabilitykit.lab.model.huggingface import from_hf
    from stabilitykit.lab.model.initialization import initialize
    from stabilitykit.lab.model.presets import PRESETS, preset
    from stabilitykit.lab.model.transformer import Transformer
    from stabilitykit.lab.model.unit_weights import normalise_weights

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
    "KVCache": "stabilitykit.lab.model.cache",
    "Transformer": "stabilitykit.lab.model.transformer",
    "PRESETS": "stabilitykit.lab.model.presets",
    "from_hf": "stabilitykit.lab.model.huggingface",
    "initialize": "stabilitykit.lab.model.initialization",
    "normalise_weights": "stabilitykit.lab.model.unit_weights",
    "preset": "stabilitykit.lab.model.presets",
}


__getattr__ = lazy(
    __name__, {name: _ELSEWHERE.get(name, "stabilitykit.lab.model.config") for name in __all__}
)


def __dir__() -> list[str]:
    return sorted(__all__)
