"""Numbers of several ranks become one step's by the rule of each."""

import math
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from stabilitykit.observe.assembly import Assembly
from stabilitykit.observe.merging import Merge
from stabilitykit.observe.schema import Part, Plan, Schema
from stabilitykit.observe.site import Layout, Role, Site

LAYOUT = Layout(
    (Site("blocks.00.resid_pre", "blocks.0", Role.ACTIVATION),),
    MappingProxyType({"embed": ("e",), "blocks.00": ("b",), "head": ("h",)}),
    MappingProxyType({"final_norm": "n"}),
)
BARE = Schema(Plan.of(LAYOUT))
ROW = {"norm": 0.0, "low": math.inf, "high": -math.inf, "bound": -math.inf, "sum": 0.0, "count": 0.0}


def row(**fields: float) -> list[float]:
    """Return the partials of the one site."""
    return list({**ROW, **fields}.values())


def test_a_rows_partials_merge_by_their_columns() -> None:
    merge = Merge([BARE, BARE])
    merged = merge(
        np.array([[6, *row(norm=3.0, low=-1.0, high=2.0)], [2, *row(norm=4.0, low=-5.0, high=1.0)]])
    )
    assert merged.tolist() == [8, 5.0, -5.0, 2.0, -math.inf, 0.0, 0.0]
    record = Assembly().record(0, merge.schema, merged)
    assert dict(record.readings) == {
        "act/rms/blocks.00.resid_pre": pytest.approx(5 / math.sqrt(8), rel=1e-7),
        "act/max_abs/blocks.00.resid_pre": 5.0,
        "act/nonfinite/blocks.00.resid_pre": 0.0,
    }


@pytest.mark.parametrize("poisoned", [0, 1, 2])
def test_nan_is_kept_whichever_rank_has_it(poisoned: int) -> None:
    schema = replace(BARE, scalars=("train/loss",), parts=(Part("gradients", ("embed",), (2,)),))
    sent = np.ones((3, schema.size))
    sent[poisoned, 1:] = math.nan
    merged = Merge([schema] * 3)(sent)
    assert merged[0] == 3
    assert np.isnan(merged[1:]).all()


def test_groups_of_different_ranks_stand_in_forward_order_with_their_elements_added() -> None:
    schemas = [
        replace(BARE, parts=(Part("gradients", ("head", "blocks.00"), (2, 3)),)),
        replace(BARE, parts=(Part("gradients", ("embed", "blocks.00"), (7, 4)),)),
    ]
    merge = Merge(schemas)
    assert merge.schema.parts == (Part("gradients", ("embed", "blocks.00", "head"), (7, 7, 2)),)
    merged = merge(np.array([[1, *row(), 1.0, 3.0], [1, *row(), 2.0, 4.0]]))
    assert merged[-3:].tolist() == [2.0, 5.0, 1.0]


def test_scalars_are_means_over_the_ranks_that_have_them_and_the_learning_rate_is_the_first_ones() -> None:
    schemas = [
        replace(BARE, floats=("optim/lr",), scalars=("train/loss",)),
        replace(BARE, floats=("train/loss", "optim/lr"), scalars=("train/extra",)),
    ]
    merge = Merge(schemas)
    merged = merge(np.array([[0, 0.1, *row(), 2.0, 99.0], [0, 4.0, 0.1, *row(), 5.0]]))
    readings = Assembly().record(0, merge.schema, merged).readings
    assert dict(readings) == {"train/loss": 3.0, "train/extra": 5.0, "optim/lr": pytest.approx(0.1)}


def test_squares_of_scaled_gradients_add_up_and_their_correction_is_taken_once() -> None:
    part = Part("scaled_gradients", ("embed",), (4,))
    merge = Merge([replace(BARE, parts=(part,), corrected=True), BARE])
    merged = merge(np.array([[0, *row(), 8.0, 0.5], [0, *row(), 77.0, 77.0]]))
    assert merged[-2:].tolist() == [8.0, 0.5]
