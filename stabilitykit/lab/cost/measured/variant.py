"""A model of our own as it is timed."""

from typing import NamedTuple

from stabilitykit.lab.cost.measured.norm_kernels import NormKernels
from stabilitykit.lab.model.config import TransformerConfig


class Variant(NamedTuple):
    """One side of a comparison."""

    label: str
    config: TransformerConfig
    norms: NormKernels = "model"
    """By which kernels norms run."""
    watched: bool = False
    """Whether a monitor watches the training."""
