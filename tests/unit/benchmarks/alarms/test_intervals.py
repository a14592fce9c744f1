"""Intervals over families, and p values of many signals."""

import numpy as np
import pytest
from unit.benchmarks.alarms.made import label, labels, steps

from benchmarks.alarms.intervals import Resamples, holm, one_sided, percentiles, rate, share
from benchmarks.alarms.labels import Kind
from benchmarks.alarms.scoring import Scorer


def families(n, runs=4, arch="pre_norm"):
    return [
        label(f"{arch}{k}-{r}", Kind.STUCK, 100, arch=arch, family=(arch, k), setting=(arch, k, r))
        for k in range(n)
        for r in range(runs)
    ]


def test_families_are_drawn_whole_and_within_their_placement():
    found = labels(*families(6), *families(8, arch="post_norm"))
    resamples = Resamples.of(found, draws=500)
    assert resamples.weights.shape == (500, 14)
    assert resamples.by_setting == ()
    for arch, n in (("pre_norm", 6), ("post_norm", 8)):
        places = sorted({resamples.cluster[name] for name in found if name.startswith(arch)})
        assert len(places) == n
        assert (resamples.weights[:, places].sum(axis=1) == n).all()
    assert resamples.weights.mean(axis=0) == pytest.approx(1, abs=0.2)


def test_settings_stand_in_for_few_families():
    resamples = Resamples.of(labels(*families(2)))
    assert resamples.by_setting == ("pre_norm",)
    assert resamples.weights.shape[1] == 8


def test_resamples_do_not_hang_on_the_order_of_the_runs():
    each = families(6)
    first, second = Resamples.of(labels(*each)), Resamples.of(labels(*each[::-1]))
    assert first.cluster == second.cluster
    assert np.array_equal(first.weights, second.weights)


def test_runs_that_go_together_widen_the_interval():
    found = labels(*families(10))
    # Half of the families are warned of in all runs, or half of the runs in all families.
    whole = {n: steps(50) if each.family[1] < 5 else steps() for n, each in found.items()}
    mixed = {n: steps(50) if each.setting[2] < 2 else steps() for n, each in found.items()}
    scorer = Scorer(found)
    wide, narrow = (scorer.score(each).headline for each in (whole, mixed))
    assert wide.value == narrow.value == 0.5
    assert narrow.high - narrow.low == pytest.approx(0, abs=1e-9)
    # Ten coins: 0.5 -+ 1.96 x 0.158.
    assert wide.high - wide.low == pytest.approx(0.62, abs=0.1)


def test_few_events_and_extreme_shares_have_wilsons_interval():
    draws = np.linspace(0.4, 0.6, 2001)
    assert share(9, 10, draws).low == pytest.approx(0.596, abs=1e-3)
    assert share(100, 100, draws).low == pytest.approx(0.963, abs=1e-3)
    assert share(50, 100, draws).low == pytest.approx(0.405)


def test_rates_are_in_a_thousand_steps_and_none_has_an_upper_end():
    assert rate(0, 20_000, np.zeros(10)).high == pytest.approx(0.15)
    found = rate(3, 6000, np.linspace(0.2, 0.8, 2001))
    assert (found.value, found.low) == (0.5, pytest.approx(0.215))
    assert rate(0, 0, np.zeros(10)).value is None


def test_resamples_without_the_figure_are_left_out():
    assert percentiles(1.0, np.array([np.nan, 1.0, 1.0]), 2).low == 1.0
    assert percentiles(np.nan, np.ones(3), 0).value is None


def test_a_p_value_is_never_zero():
    assert one_sided(np.ones(1999)) == 1 / 2000
    assert one_sided(-np.ones(1999)) == 1
    assert one_sided(np.zeros(9)) == 1


def test_holm_by_hand():
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
