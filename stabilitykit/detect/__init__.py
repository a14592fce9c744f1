"""Detectors: step records in, findings out. One file a detector; torch is not needed."""

from collections.abc import Iterable

from stabilitykit.detect.activation_blow_up import ActivationBlowUp
from stabilitykit.detect.attention_logit_growth import AttentionLogitGrowth
from stabilitykit.detect.detector import Detector
from stabilitykit.detect.divergence import Divergence
from stabilitykit.detect.entropy_collapse import EntropyCollapse
from stabilitykit.detect.gradient_spike import GradientSpike
from stabilitykit.detect.knowledge import KNOWLEDGE, Knowledge
from stabilitykit.detect.loss_spike import LossSpike
from stabilitykit.detect.nonfinite import NonFinite
from stabilitykit.detect.norm_gain_drift import NormGainDrift
from stabilitykit.detect.output_logit_drift import OutputLogitDrift
from stabilitykit.detect.rank_collapse import RankCollapse
from stabilitykit.detect.stuck import Stuck
from stabilitykit.detect.update_spike import UpdateSpike
from stabilitykit.detect.vanishing_gradient import VanishingGradient
from stabilitykit.plugins import plugins

__all__ = ["DETECTORS_GROUP", "KNOWLEDGE", "Detector", "Knowledge", "all_detectors", "default_detectors"]


DETECTORS_GROUP = "stabilitykit.detectors"
"""Entry point group under which installed packages offer classes of detectors."""


def all_detectors(more: Iterable[Detector] = ()) -> tuple[Detector, ...]:
    """Return new built-in detectors, then ``more``, then one of each class that installed packages offer."""
    return (*default_detectors(), *more, *(kind() for kind in plugins(DETECTORS_GROUP)))


def default_detectors() -> tuple[Detector, ...]:
    """Return new detectors of every built-in kind, with their default limits."""
    return (
        NonFinite(),
        LossSpike(),
        Divergence(),
        Stuck(),
        VanishingGradient(),
        ActivationBlowUp(),
        GradientSpike(),
        AttentionLogitGrowth(),
        EntropyCollapse(),
        UpdateSpike(),
        OutputLogitDrift(),
        NormGainDrift(),
        RankCollapse(),
    )
