"""Numbers of several ranks become one step's by the rule of each."""

import math
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import nn

from stabilitykit.observe.assembly import Assembly
from stabilitykit.observe.detail_tap import Detail, DetailPart
from stabilitykit.observe.gradients import read_gradient_norms
from stabilitykit.observe.merging import Merge
from stabilitykit.observe.optimizer_tap import OptimizerTap
from stabilitykit.observe.packing import PackedStep, StepNumbers, most_numbers, unpacked
from stabilitykit.observe.partials import PartialBuffer
from stabilitykit.observe.routers import RouterPart
from stabilitykit.observe.schema import HAS, PRODUCT, SQUARE, STEPS, UPDATE, Plan, Schema, StepPart
from stabilitykit.observe.sharding import Share
from stabilitykit.observe.site import Layout, Role, Site
from stabilitykit.observe.steppers import Stepper
from stabilitykit.observe.watched import Watched
from stabilitykit.stats import SamplePlan

LAYOUT = Layout(
    (Site("blocks.00.resid_pre", "blocks.0", Role.ACTIVATION),),
    MappingProxyType({"embed": ("e",), "blocks.00": ("b",), "head": ("h",)}),
    MappingProxyType({"final_norm": "h"}),
)


def parameters(sizes: Sequence[int] = (3, 4, 5)) -> list[nn.Parameter]:
    draws = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(size, generator=draws)) for size in sizes]


def watch(found: Sequence[nn.Parameter]) -> Watched:
    return Watched.of({group: [p] for group, p in zip(LAYOUT.groups, found, strict=True)})


WEIGHTS = parameters()
BARE = Schema(Plan.of(LAYOUT, watch(WEIGHTS), {"final_norm": WEIGHTS[2]}))
ROW = {"norm": 0.0, "low": math.inf, "high": -math.inf, "bound": -math.inf, "sum": 0.0, "count": 0.0}


def row(**fields: float) -> list[float]:
    """Return the partials of the one site."""
    return list({**ROW, **fields}.values())


def merge(schemas: Sequence[Schema], sent: Sequence[Sequence[float]]) -> tuple[Schema, StepNumbers]:
    """Merge rows, padded to the same length."""
    room = max(len(numbers) for numbers in sent)
    made = Merge(schemas)
    return made.schema, made(np.array([[*numbers, *[77.0] * (room - len(numbers))] for numbers in sent]))


def test_a_rows_partials_merge_by_their_columns() -> None:
    rows = [[6, *row(norm=3.0, low=-1.0, high=2.0)], [2, *row(norm=4.0, low=-5.0, high=1.0)]]
    schema, merged = merge([BARE, BARE], rows)
    assert merged.flat().tolist() == [8, 5.0, -5.0, 2.0, -math.inf, 0.0, 0.0]
    assert dict(Assembly().record(0, schema, merged).readings) == {
        "act/rms/blocks.00.resid_pre": pytest.approx(5 / math.sqrt(8), rel=1e-7),
        "act/max_abs/blocks.00.resid_pre": 5.0,
        "act/headroom": pytest.approx(65_504 / 5),
        "act/nonfinite/blocks.00.resid_pre": 0.0,
    }


@pytest.mark.parametrize("poisoned", [0, 1, 2])
def test_nan_is_kept_whichever_rank_has_it(poisoned: int) -> None:
    schema = replace(BARE, scalars=("train/loss",), has_gradients=True, shares=(Share.SHARD,) * 3)
    sent = np.ones((3, most_numbers(schema)))
    sent[poisoned, 4:] = math.nan
    sent[poisoned, 1:4] = 1.0
    merged = Merge([schema] * 3)(sent)
    assert merged.counts.tolist() == [3]
    assert np.isnan(merged.partials).all()
    assert np.isnan(merged.scalars).all()
    assert np.isnan(merged.gradients[SQUARE]).all()
    assert merged.gradients[HAS].tolist() == [1, 1, 1]


def test_gradients_of_shards_add_up_and_those_of_whole_parameters_are_taken_once() -> None:
    first = replace(BARE, has_gradients=True, shares=(Share.WHOLE, Share.SHARD, Share.SHARD))
    second = replace(first, shares=(Share.WHOLE, Share.SHARD, Share.COPY))
    # The parameters that had a gradient, then the partials, then the norms of those.
    rows = [[0, 1, 1, 1, *row(), 2.0, 3.0, 5.0], [0, 1, 1, 1, *row(), 9.0, 4.0, 9.0]]
    schema, merged = merge([first, second], rows)
    assert np.sqrt(merged.gradients[SQUARE]).tolist() == [2.0, 5.0, 5.0]
    assert Assembly().record(0, schema, merged).readings["grad/norm/blocks.00"] == 5.0
    rows[1] = [0, 1, 0, 1, *row(), 9.0, 9.0]
    assert np.sqrt(merge([first, second], rows)[1].gradients[SQUARE]).tolist() == [2.0, 3.0, 5.0]


def test_scalars_are_means_over_the_ranks_that_have_them_and_the_learning_rate_is_the_first_ones() -> None:
    schemas = [
        replace(BARE, floats=("optim/lr",), scalars=("train/loss",)),
        replace(BARE, floats=("train/loss", "optim/lr"), scalars=("train/extra",)),
    ]
    schema, merged = merge(schemas, [[0, 0.1, *row(), 2.0], [0, 4.0, 0.1, *row(), 5.0]])
    readings = Assembly().record(0, schema, merged).readings
    assert dict(readings) == {"train/loss": 3.0, "train/extra": 5.0, "optim/lr": pytest.approx(0.1)}


def test_details_are_those_of_the_first_rank_that_has_them() -> None:
    part = DetailPart("blocks.00.mlp_hidden", 1, 8)
    schema, merged = merge([BARE, replace(BARE, details=(part,))], [[0, *row()], [0, 5, *row(), 0.25]])
    assert Assembly().record(0, schema, merged).readings["act/silent_units/blocks.00.mlp_hidden"] == 0.25


def test_what_routers_chose_adds_up_over_ranks() -> None:
    part = RouterPart("blocks.00", 5, 1)
    ranks = [replace(BARE, details=(part,)), replace(BARE, details=(part,)), BARE]
    numbers = [[0, 4, *row(), 2.0, 1.0, 4.0, 0.0, 0.0], [0, 12, *row(), 6.0, 0.0, 3.0, 1.0, 8.0], [0, *row()]]
    schema, merged = merge(ranks, numbers)
    readings = Assembly().record(0, schema, merged).readings
    assert dict(readings) == pytest.approx(
        {
            "moe/router_entropy/blocks.00": 0.5 / np.log(3),
            "moe/max_share/blocks.00": 0.5,
            "moe/min_share/blocks.00": 1 / 16,
            "moe/dropped/blocks.00": 1 / 16,
        }
    )


def test_sizes_of_shards_add_up_and_a_parameter_is_whole_where_all_its_shards_are() -> None:
    def held(sizes: tuple[int, ...], strides: tuple[int, ...], *shares: Share) -> Schema:
        return replace(BARE, steps=(StepPart(0, (0, 1, 2), SamplePlan(sizes, strides)),), shares=shares)

    merged = Merge(
        [
            held((7, 50, 60), (1, 1, 1), Share.WHOLE, Share.SHARD, Share.SHARD),
            held((7, 40, 60), (1, 5, 5), Share.WHOLE, Share.SHARD, Share.COPY),
        ]
    )
    (part,) = merged.schema.steps
    assert part.sample.sizes == (7, 90, 60)
    assert part.sample.whole.tolist() == [True, False, True]
    alone = Merge([merged.schema, BARE]).schema
    assert alone.steps[0].sample.whole.tolist() == [True, False, False], "no step on the other rank"


def stepped(found: list[nn.Parameter], shares: tuple[Share, ...]) -> tuple[PackedStep, OptimizerTap]:
    """Take two steps of Adam and pack the second."""
    watched = watch(found)
    plan = Plan.of(LAYOUT, watched, {"final_norm": found[2]})
    optimizer = torch.optim.Adam(found, lr=0.1, betas=(0.8, 0.9))
    tap = OptimizerTap(Stepper(optimizer), watched)
    tap.armed = True
    for scale in (1.0, -3.0):
        for p in found:
            p.grad = scale * p.detach() ** 3
        gradients = read_gradient_norms(watched)
        tap.before_step()
        optimizer.step()
        tap.after_step()
    assert tap.step is not None
    detail = Detail(DetailPart("blocks.00.mlp_hidden", 1, 8), torch.tensor([0.5]), 6)
    buffer = PartialBuffer(1, torch.device("cpu"))
    packed = PackedStep.of(plan, shares, buffer, {}, {}, gradients, [tap.step], True, True, [detail])
    return packed, tap


def test_a_step_on_two_shards_reads_as_the_same_step_on_the_whole() -> None:
    whole = parameters()
    # The last parameter is held by both; of the second the other rank holds nothing.
    cuts = [[whole[0][:1], whole[1], whole[2]], [whole[0][1:], whole[1][:0], whole[2]]]
    halves = [[nn.Parameter(p.detach().clone()) for p in cut] for cut in cuts]
    alone, _ = stepped(whole, ())
    readings = []
    shares = (Share.SHARD, Share.SHARD, Share.WHOLE)
    ranks = [stepped(half, shares)[0] for half in halves]
    for steps in ([alone], ranks):
        rows = [np.concatenate([step.host, step.vector.double().numpy()]).tolist() for step in steps]
        assert max(map(len, rows)) <= max(most_numbers(step.schema) for step in steps)
        schema, merged = merge([step.schema for step in steps], rows)
        readings.append(dict(Assembly().record(1, schema, merged).readings))
    assert readings[1] == pytest.approx(readings[0], rel=1e-5)
    families = ("optim/rms_t/embed", "optim/staleness/head", "grad/cosine/blocks.00", "optim/clip_factor")
    assert all(tag in readings[0] for tag in families)
    assert readings[1]["optim/clip_factor"] == pytest.approx(1.0)
    assert merged.steps[0][STEPS].tolist() == [2.0, 2.0, 2.0]
    assert merged.steps[0][PRODUCT].max() < 0 < merged.steps[0][UPDATE].min()


def test_numbers_are_cut_as_they_were_joined() -> None:
    packed, _ = stepped(parameters(), ())
    numbers = unpacked(packed.schema, np.concatenate([packed.host, packed.vector.double().numpy()]))
    assert len(numbers.flat()) == sum(math.prod(shape) for shape in packed.schema.shapes)
    again = StepNumbers.cut(packed.schema, numbers.flat())
    assert again.flat().tolist() == numbers.flat().tolist()
    assert again.steps[0].shape == numbers.steps[0].shape
