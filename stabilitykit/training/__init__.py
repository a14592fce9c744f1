"""Training of the transformer on text. Names are loaded when first used: configuration needs no torch."""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.training.config import (
        DataConfig,
        FaultConfig,
        OptimizerConfig,
        ScheduleConfig,
        SyntheticConfig,
    )
    from stabilitykit.training.coordinates import coordinate_check, width_exponent
    from stabilitykit.training.corpus import Corpus, build_corpus, load_corpus, read_corpus, synthetic_corpus
    from stabilitykit.training.data import TextDataModule
    from stabilitykit.training.faults import FaultInjection
    from stabilitykit.training.groups import parameter_groups
    from stabilitykit.training.loss import LossParts, cross_entropy_with_z_loss
    from stabilitykit.training.module import TransformerModule
    from stabilitykit.training.schedules import lr_factor, resolve_schedule, resolve_warmup
    from stabilitykit.training.text import Split

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

_ROOMS = {
    "Corpus": "stabilitykit.training.corpus",
    "DataConfig": "stabilitykit.training.config",
    "FaultConfig": "stabilitykit.training.config",
    "FaultInjection": "stabilitykit.training.faults",
    "LossParts": "stabilitykit.training.loss",
    "OptimizerConfig": "stabilitykit.training.config",
    "ScheduleConfig": "stabilitykit.training.config",
    "Split": "stabilitykit.training.text",
    "SyntheticConfig": "stabilitykit.training.config",
    "TextDataModule": "stabilitykit.training.data",
    "TransformerModule": "stabilitykit.training.module",
    "build_corpus": "stabilitykit.training.corpus",
    "coordinate_check": "stabilitykit.training.coordinates",
    "cross_entropy_with_z_loss": "stabilitykit.training.loss",
    "load_corpus": "stabilitykit.training.corpus",
    "lr_factor": "stabilitykit.training.schedules",
    "parameter_groups": "stabilitykit.training.groups",
    "read_corpus": "stabilitykit.training.corpus",
    "resolve_schedule": "stabilitykit.training.schedules",
    "resolve_warmup": "stabilitykit.training.schedules",
    "synthetic_corpus": "stabilitykit.training.corpus",
    "width_exponent": "stabilitykit.training.coordinates",
}


__getattr__ = lazy(__name__, _ROOMS)


def __dir__() -> list[str]:
    return sorted(__all__)
