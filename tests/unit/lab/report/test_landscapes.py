"""What a sweep's pictures are drawn from: settings, what failed where, what left its band first."""

from pathlib import Path

import pytest

from stabilitykit.lab.report.landscape import Ending, FailureOrder, Landscape, LandscapeRow, Setting
from stabilitykit.lab.report.landscapes import failure_order, landscape
from stabilitykit.lab.sweep.compare import Results
from stabilitykit.lab.sweep.grid import open_sweep


@pytest.fixture(scope="module")
def shown(sweep):
    return landscape(sweep, Results(sweep))


def test_rows_are_architectures_and_warmups_and_columns_learning_rates(shown):
    assert shown.x_name == "optimizer.lr"
    assert shown.x_values == (0.001, 0.01, 0.1)
    assert [row.names for row in shown.rows] == [
        ("post_norm", "0"),
        ("post_norm", "10"),
        ("pre_norm", "0"),
        ("pre_norm", "10"),
    ]
    assert shown.is_log
    assert shown.unigram == 3.2


def test_a_cell_says_how_many_seeds_failed_without_colour(shown):
    signs = [[setting.glyph for setting in row.settings] for row in shown.rows]
    assert signs == [["○", "✕", "✕"], ["○", "○", "1"], ["○", "○", "○"], ["○", "○", "○"]]
    assert shown.rows[0].settings[1].words == "2 of 2 failed (stuck)"
    assert shown.rows[1].settings[2].telling.seed == 0


def test_each_row_is_told_in_a_sentence(shown):
    assert [shown.told(row) for row in shown.rows] == [
        "fails from 0.01 on, holds up to 0.001",
        "fails from 0.1 on, holds up to 0.01",
        "no run failed, up to 0.1",
        "no run failed, up to 0.1",
    ]


def test_what_left_its_band_first_is_counted_by_architecture(sweep):
    order = failure_order(sweep, Results(sweep))
    assert order.groups == ("post_norm", "pre_norm")
    assert order.failing == (5, 0)
    assert order.rows == (("vanishing_gradient@blocks.01", (5, 0)),)


@pytest.mark.parametrize(
    ("x_values", "failed", "told"),
    [
        ((0, 10, 100), (2, 2, 0), "fails up to 10, holds from 100 on"),
        ((0, 10, 100), (0, 1, 0), "fails at 1 of 3: 10"),
        ((0, 10, 100), (2, 2, 2), "every run failed"),
        ((0, 10, 100), (2, 1, 2), "some seeds failed everywhere"),
        (("post_norm", "pre_norm"), (2, 0), "fails at 1 of 2: post_norm"),
        (("post_norm", "pre_norm"), (0, 0), "no run failed"),
        ((True, False), (0, 2), "fails at 1 of 2: false"),
        ((0.003,), (0,), "no run failed"),
    ],
)
def test_a_sentence_fits_its_axis(x_values, failed, told):
    def ending(seed: int, bad: bool) -> Ending:
        return Ending(seed, "stuck" if bad else "stable", 3.0, 3.0, "run", bad)

    settings = tuple(
        Setting(x, 2, tuple(ending(seed, seed < bad) for seed in range(2)))
        for x, bad in zip(x_values, failed, strict=True)
    )
    row = LandscapeRow((), settings)
    assert Landscape("x", x_values, (), (row,)).told(row) == told


def test_rare_ones_are_added_up():
    firsts = [("a", ["common"])] * 3 + [("a", [f"rare@{n}"]) for n in range(4)]
    order = FailureOrder.of(firsts, ["a", "b"], most=3)
    assert order.rows == (("common", (3, 0)), ("rare@0", (1, 0)), ("rare@1", (1, 0)), ("2 others", (2, 0)))


def test_a_sweep_that_is_not_done_and_one_of_labels_are_shown_too(tmp_path: Path, write_sweep):
    labels = {"norm": {"rms": {"model.norm.kind": "rmsnorm"}, "layer": {"model.norm.kind": "layernorm"}}}
    file = write_sweep(tmp_path, labels, seeds=2, done=lambda values, seed: seed == 0, claims=())
    sweep = open_sweep(file)
    shown = landscape(sweep, Results(sweep))
    assert shown.x_values == ("rms", "layer")
    assert not shown.is_numeric
    assert shown.positions == [0, 1]
    assert [row.names for row in shown.rows] == [()]
    assert shown.rows[0].settings[0].words == "none of 1 failed, 1 not done"


def test_an_axis_with_zero_beside_values_of_several_sizes_is_evenly_spaced(tmp_path: Path, write_sweep):
    file = write_sweep(tmp_path, {"schedule.warmup": [0, 1, 10]}, seeds=1, claims=())
    sweep = open_sweep(file)
    shown = landscape(sweep, Results(sweep))
    assert shown.x_name == "schedule.warmup"
    assert shown.positions == [0, 1, 2]


def test_a_sweep_of_which_nothing_is_done_says_so(tmp_path: Path, write_sweep):
    sweep = open_sweep(write_sweep(tmp_path, done=lambda *_: False))
    shown = landscape(sweep, Results(sweep))
    assert {shown.told(row) for row in shown.rows} == {"nothing is done yet"}
    assert shown.loss_range == (0.0, 1.0)
