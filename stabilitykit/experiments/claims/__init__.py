"""What recipes claim of their sweeps, and whether the sweeps bear it out. No torch."""

from stabilitykit.experiments.claims.band import ClaimOutcome
from stabilitykit.experiments.claims.claim import Claim, ClaimSpec, check_claims, fitting_claims
from stabilitykit.experiments.claims.judging import ClaimResult, judge

__all__ = ["Claim", "ClaimOutcome", "ClaimResult", "ClaimSpec", "check_claims", "fitting_claims", "judge"]
