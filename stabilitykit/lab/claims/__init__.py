"""What recipes claim of their sweeps, and whether the sweeps bear it out. No torch."""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.lab.claims.band import ClaimOutcome
    from stabilitykit.lab.claims.claim import Claim, ClaimSpec, check_claims, fitting_claims
    from stabilitykit.lab.claims.document import comparison_json
    from stabilitykit.lab.claims.judging import ClaimResult, judge
    from stabilitykit.lab.claims.sweeping import sweep

__all__ = [
    "Claim",
    "ClaimOutcome",
    "ClaimResult",
    "ClaimSpec",
    "check_claims",
    "comparison_json",
    "fitting_claims",
    "judge",
    "sweep",
]

_MODULES = {
    "band": ("ClaimOutcome",),
    "claim": ("Claim", "ClaimSpec", "check_claims", "fitting_claims"),
    "document": ("comparison_json",),
    "judging": ("ClaimResult", "judge"),
    "sweeping": ("sweep",),
}

__getattr__ = lazy(__name__, _MODULES)
