"""What a recipe claims of costs, and whether a machine bears it out."""

from stabilitykit.lab.claims.costs.judging import CostClaimResult, check_cost_claims, judge_costs
from stabilitykit.lab.claims.costs.recipe import CostClaim, CostRecipe, read_cost_recipe

__all__ = [
    "CostClaim",
    "CostClaimResult",
    "CostRecipe",
    "check_cost_claims",
    "judge_costs",
    "read_cost_recipe",
]
