"""The configurable transformer. Names are loaded when first used: configuration alone needs no torch."""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.lab.model.cache import KVCache
    from stabilitykit.lab.model.config import TransformerConfig
    from stabilitykit.lab.model.huggingface import from_hf
    from stabilitykit.lab.model.initialization import initialize
    from stabilitykit.lab.model.presets import PRESETS, preset
    from stabilitykit.lab.model.sections import (
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
    )
    from stabilitykit.lab.model.transformer import Transformer
    from stabilitykit.lab.model.unit_weights import normalise_weights
    from stabilitykit.lab.model.wirings import ARCHS, WIRINGS, arch_config

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
]

_MODULES = {
    "cache": ("KVCache",),
    "config": ("TransformerConfig",),
    "huggingface": ("from_hf",),
    "initialization": ("initialize",),
    "presets": ("PRESETS", "preset"),
    "sections": (
        "AttentionConfig",
        "EmbeddingConfig",
        "FeedForwardConfig",
        "HeadConfig",
        "InitConfig",
        "LayerKind",
        "LayerOverride",
        "NormConfig",
        "PositionConfig",
        "RescaleConfig",
        "ResidualConfig",
    ),
    "transformer": ("Transformer",),
    "unit_weights": ("normalise_weights",),
    "wirings": ("ARCHS", "WIRINGS", "arch_config"),
}

__getattr__ = lazy(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
