"""The page on claims: its examples are read, and it leaves nothing out."""

import re
from pathlib import Path

import pytest
import yaml

from stabilitykit.lab.claims import ClaimSpec, check_claims
from stabilitykit.lab.claims.events import Crossing, IncidentStep
from stabilitykit.lab.claims.measures import RUN_MEASURES
from stabilitykit.lab.claims.readings import Reading
from stabilitykit.lab.claims.sets import RATE_MEASURES
from stabilitykit.lab.sweep.grid import SweepPlan

PAGE = (Path(__file__).parents[4] / "docs" / "claims.md").read_text(encoding="utf-8")
AXES = {
    "arch": ["pre_norm", "post_norm"],
    "schedule.warmup": [0, 24],
    "optimizer.lr": "1e-3:1e-1:3",
    "model.n_layers": [4, 8],
}


def test_every_example_is_read() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    claims = yaml.safe_load(block)["claims"]
    plan = SweepPlan(claims=tuple(claims)).with_axes(AXES)
    assert len(check_claims(plan)) == 6


@pytest.mark.parametrize(
    "word",
    [
        *(*RUN_MEASURES, *RATE_MEASURES),
        *(name.rstrip("_") for name in ClaimSpec.model_fields),
        *(name.rstrip("_") for model in (Reading, Crossing, IncidentStep) for name in model.model_fields),
    ],
)
def test_every_word_of_a_claim_stands_on_the_page(word: str) -> None:
    assert re.search(rf"`[^`\n]*\b{word}\b[^`\n]*`", PAGE)
