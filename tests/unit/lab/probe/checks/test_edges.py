"""From runs to the table of edges, and from the table to what is said of a depth and a warmup."""

from pathlib import Path

import pytest

from stabilitykit.errors import ConfigError
from stabilitykit.lab.probe.checks.edges import (
    EdgeRow,
    EdgeTable,
    RunOutcome,
    edges,
    read_edges,
    write_edges,
)
from stabilitykit.lab.probe.checks.interpolation import DEPTH_POWER, Edge, edge_at


def runs(failed_of: dict[float, list[bool]], n_layers: int = 4, warmup: float = 0.0) -> list[RunOutcome]:
    """Return runs of one setting, some of which failed."""
    return [
        RunOutcome("post_norm", "none", warmup, n_layers, lr, seed, failed)
        for lr, seeds in failed_of.items()
        for seed, failed in enumerate(seeds)
    ]


def row(n_layers: int, holds: float | None, fails: float | None, warmup: float = 0.0) -> EdgeRow:
    return EdgeRow("post_norm", "none", warmup, n_layers, holds, fails, lowest=1e-3, runs=9)


def edge(rows: list[EdgeRow], n_layers: int, warmup: float = 0.0) -> Edge:
    return edge_at(rows, "post_norm", "none", n_layers, warmup)


def test_one_failing_run_ends_what_holds_and_half_of_them_begin_what_fails():
    rates = {
        1e-3: [False] * 3,
        2e-3: [False] * 3,
        4e-3: [True, False, False],
        8e-3: [True, True, False],
        16e-3: [True] * 3,
    }
    (found,) = edges(runs(rates))
    assert (found.holds, found.fails, found.lowest, found.runs) == (2e-3, 8e-3, 1e-3, 15)


def test_a_failing_rate_below_one_that_holds_is_no_edge_of_failing():
    (found,) = edges(runs({1e-3: [False], 2e-3: [True], 4e-3: [False], 8e-3: [True]}))
    assert (found.holds, found.fails) == (1e-3, 8e-3)


def test_a_side_that_was_not_seen_is_not_made_up():
    below, above = edges(runs({1e-3: [False]}, n_layers=4) + runs({1e-3: [True]}, n_layers=8))
    assert (below.n_layers, below.holds, below.fails) == (4, 1e-3, None)
    assert (above.n_layers, above.holds, above.fails) == (8, None, 1e-3)


def test_settings_do_not_mix():
    both = runs({1e-3: [False]}) + runs({1e-3: [True]}, warmup=0.1) + runs({1e-3: [True]}, n_layers=8)
    assert [(each.warmup, each.n_layers) for each in edges(both)] == [(0.0, 4), (0.0, 8), (0.1, 4)]


def test_a_table_is_read_as_it_was_written(tmp_path: Path):
    sizes = {"d_model": 48, "n_heads": 4, "seq_len": 32, "batch_size": 16, "steps": 240}
    table = EdgeTable(sizes, (row(4, 5.623e-3, None), row(8, None, 2e-3, warmup=0.1)))
    write_edges(tmp_path / "edges.yaml", table, "made\nby hand")
    assert (tmp_path / "edges.yaml").read_text().startswith("# made\n# by hand\n")
    assert read_edges(tmp_path / "edges.yaml") == table


def test_another_file_is_no_table(tmp_path: Path):
    (tmp_path / "other.yaml").write_text("rows: [{wiring: post_norm}]\nsizes: {}\n")
    with pytest.raises(ConfigError, match=r"other\.yaml: not a table of edges"):
        read_edges(tmp_path / "other.yaml")


def test_the_shipped_table_is_whole():
    table = read_edges()
    assert {row.wiring for row in table.rows} >= {"post_norm", "pre_norm", "double_norm"}
    assert set(table.sizes) == {"d_model", "n_heads", "seq_len", "batch_size", "steps"}
    for each in table.rows:
        assert each.holds is None or each.fails is None or each.holds < each.fails


def test_a_measured_depth_and_warmup_are_as_measured():
    found = edge([row(4, 4e-3, 8e-3), row(8, 1e-3, 2e-3)], 8)
    assert found == Edge(1e-3, 2e-3, (4, 8))


def test_between_depths_rates_lie_on_a_line_of_logarithms():
    # Half of the way from 4 to 16 on a logarithmic scale is 8.
    found = edge([row(4, 4e-3, 8e-3), row(16, 1e-3, 2e-3)], 8)
    assert found.holds == pytest.approx(2e-3, rel=1e-5)
    assert found.fails == pytest.approx(4e-3, rel=1e-5)


def test_between_warmups_rates_lie_on_a_line_too():
    found = edge([row(4, 4e-3, 8e-3, 0.0), row(4, 16e-3, 32e-3, 0.1)], 4, 0.05)
    assert found.holds == pytest.approx(8e-3, rel=1e-5)
    assert found.fails == pytest.approx(16e-3, rel=1e-5)


def test_a_little_deeper_than_measured_less_holds_and_the_same_fails():
    found = edge([row(4, 4e-3, 8e-3)], 6)
    assert found.holds == pytest.approx(4e-3 / 1.5**DEPTH_POWER, rel=1e-5)
    assert found.fails == pytest.approx(8e-3, rel=1e-5)


def test_a_little_shallower_than_measured_the_same_holds_and_less_fails():
    found = edge([row(6, 4e-3, 8e-3)], 4)
    assert found.holds == pytest.approx(4e-3, rel=1e-5)
    assert found.fails == pytest.approx(8e-3 * 1.5**DEPTH_POWER, rel=1e-5)


@pytest.mark.parametrize("n_layers", [2, 13])
def test_far_from_the_measured_depths_nothing_is_said(n_layers: int):
    found = edge([row(4, 4e-3, 8e-3), row(8, 1e-3, 2e-3)], n_layers)
    assert (found.holds, found.fails) == (None, None)
    assert found.depths == (4, 8)


def test_another_wiring_or_qk_norm_says_nothing():
    rows = [row(4, 4e-3, 8e-3)]
    assert edge_at(rows, "pre_norm", "none", 4, 0.0) == Edge(None, None, ())
    assert edge_at(rows, "post_norm", "head", 4, 0.0) == Edge(None, None, ())


def test_what_holds_without_warmup_holds_with_it_and_what_fails_with_it_fails_without():
    without, warmed = row(4, 4e-3, 8e-3, 0.0), row(4, 6e-3, 12e-3, 0.1)
    assert edge([without], 4, 0.1).fails is None
    assert edge([without], 4, 0.1).holds == pytest.approx(4e-3, rel=1e-5)
    assert edge([warmed], 4, 0.0).holds is None
    assert edge([warmed], 4, 0.0).fails == pytest.approx(12e-3, rel=1e-5)
    # A tenth of 250 steps is 25, of 256 too: that is the same warmup.
    assert edge([warmed], 4, 25 / 256).holds == pytest.approx(6e-3, rel=1e-5)


def test_a_depth_that_failed_wherever_it_was_tried_takes_nothing_from_shallower_ones():
    # Deeper models were only tried at high rates: where they begin to fail is known from the shallow one.
    found = edge([row(4, 4e-3, 8e-3), row(6, None, 90e-3)], 6)
    assert found.fails == pytest.approx(8e-3, rel=1e-5)
    assert found.holds == pytest.approx(4e-3 / 1.5**DEPTH_POWER, rel=1e-5)
