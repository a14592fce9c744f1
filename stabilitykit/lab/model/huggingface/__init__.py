"""Models of Hugging Face's transformers, read into the configurable one. transformers is not imported."""

from stabilitykit.lab.model.huggingface.families import FAMILIES
from stabilitykit.lab.model.huggingface.loading import config_from_hf, from_hf
from stabilitykit.lab.model.huggingface.weights import translated

__all__ = ["FAMILIES", "config_from_hf", "from_hf", "translated"]
