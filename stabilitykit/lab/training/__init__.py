"""Training of the transformer on text. Names are loaded when first used: configuration needs no torch."""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.lab.training.config import (
        DataConfig,
        FaultConfig,
        OptimizerConfig,
        ScheduleConfig,
        SyntheticConfig,
    )
    from stabilitykit.lab.training.coordinates import coordinate_check, width_exponent
    from stabilitykit.lab.training.corpus import (
        Corpus,
        build_corpus,
        load_corpus,
        read_corpus,
        synthetic_corpus,
    )
    from stabilitykit.lab.training.data import TextDataModule
    from stabilitykit.lab.training.faults import FaultInjection
    from stabilitykit.lab.training.groups import parameter_groups
    from stabilitykit.lab.training.loss import LossParts, cross_entropy_with_z_loss
    from stabilitykit.lab.training.module import TransformerModule
    from stabilitykit.lab.training.schedules import lr_factor, resolve_schedule, resolve_warmup
    from stabilitykit.lab.training.text import Split

__all__ = [
    "Corpus",
    "DataConfig",
    "FaultConfig",
    "FaultInjection",
    "LossParts",
    "OptimizerConfig",
    "ScheduleConfig",
    "Split",
    "SyntheticConfig",
    "TextDataModule",
    "TransformerModule",
    "build_corpus",
    "coordinate_check",
    "cross_entropy_with_z_loss",
    "load_corpus",
    "lr_factor",
    "parameter_groups",
    "read_corpus",
    "resolve_schedule",
    "resolve_warmup",
    "synthetic_corpus",
    "width_exponent",
]

_MODULES = {
    "config": ("DataConfig", "FaultConfig", "OptimizerConfig", "ScheduleConfig", "SyntheticConfig"),
    "coordinates": ("coordinate_check", "width_exponent"),
    "corpus": ("Corpus", "build_corpus", "load_corpus", "read_corpus", "synthetic_corpus"),
    "data": ("TextDataModule",),
    "faults": ("FaultInjection",),
    "groups": ("parameter_groups",),
    "loss": ("LossParts", "cross_entropy_with_z_loss"),
    "module": ("TransformerModule",),
    "schedules": ("lr_factor", "resolve_schedule", "resolve_warmup"),
    "text": ("Split",),
}


__getattr__ = lazy(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
