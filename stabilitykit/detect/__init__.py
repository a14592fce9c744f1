"""Detectors: step records in, findings out. One file a detector; torch is not needed."""

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

__all__ = ["KNOWLEDGE", "Detector", "Knowledge", "default_detectors"]


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
