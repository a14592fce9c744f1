"""Known architectures as fields of the configuration, never as behaviour by name. No torch."""

from stabilitykit.lab.model.presets.classic import CLASSIC
from stabilitykit.lab.model.presets.columns import columns
from stabilitykit.lab.model.presets.entry import Preset
from stabilitykit.lab.model.presets.further import FURTHER
from stabilitykit.lab.model.presets.modern import MODERN
from stabilitykit.lab.model.presets.research import RESEARCH
from stabilitykit.lab.model.presets.sizing import (
    PRESETS,
    SCALES,
    arch_fields,
    arch_names,
    preset,
    preset_fields,
)

__all__ = [
    "CLASSIC",
    "FURTHER",
    "MODERN",
    "PRESETS",
    "RESEARCH",
    "SCALES",
    "Preset",
    "arch_fields",
    "arch_names",
    "columns",
    "preset",
    "preset_fields",
]
