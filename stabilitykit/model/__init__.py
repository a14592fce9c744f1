"""The configurable transformer. Names are loaded when first used: configuration alone needs no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        ResidualConfig,
        TransformerConfig,
        arch_config,
        validated,
    )
    from stabilitykit.model.huggingface import from_hf
    from stabilitykit.model.initialization import initialize
    from stabilitykit.model.presets import PRESETS, preset
    from stabilitykit.model.transformer import Transformer

__all__ = [
    "ARCHS",
    "PRESETS",
    "WIRINGS",
    "AttentionConfig",
    "EmbeddingConfig",
    "FeedForwardConfig",
    "HeadConfig",
    "InitConfig",
    "LayerKind",
    "LayerOverride",
    "NormConfig",
    "PositionConfig",
    "ResidualConfig",
    "Transformer",
    "TransformerConfig",
    "arch_config",
    "from_hf",
    "initialize",
    "preset",
    "validated",
]

_ELSEWHERE = {
    "Transformer": "stabilitykit.model.transformer",
    "PRESETS": "stabilitykit.model.presets",
    "from_hf": "stabilitykit.model.huggingface",
    "initialize": "stabilitykit.model.initialization",
    "preset": "stabilitykit.model.presets",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "stabilitykit.model.config")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
