"""Peers' rules written anew, against their own code or numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.spike import SpikeDetection, TrainingSpikeException

from benchmarks.detection import peer_deviations, peer_ratios
from benchmarks.detection.baselines import BASELINES, incidents
from benchmarks.detection.cases import FAMILIES, generate
from benchmarks.detection.families import MODULES
from benchmarks.detection.log import Log


class _OneProcess:
    """As much of a Fabric as Lightning's detector asks for."""

    global_rank = 1

    def __init__(self) -> None:
        self.strategy = self
        self.root_device = torch.device("cpu")

    def barrier(self) -> None:
        pass

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        return decision


def lightnings_own(loss: np.ndarray) -> list[bool]:
    """Return the batches at which Lightning's class raises; after each the run goes on."""
    detection, fabric, raised = SpikeDetection(exclude_batches_path="none.json"), _OneProcess(), []
    for place, value in enumerate(loss.tolist()):
        try:
            detection.on_train_batch_end(fabric, torch.tensor(value), None, place)
            raised.append(False)
        except TrainingSpikeException:
            raised.append(True)
    return raised


@pytest.mark.parametrize("name", ["spikes near zero", "divergence to NaN", "NaN once, then a spike"])
def test_lightnings_rule_is_lightnings(name):
    made = generate(name, seed=1)
    loss = made.log.loss[made.events[0].first - 60 :][:120]
    flags = peer_ratios.lightning(loss).tolist()
    assert any(flags)
    assert flags == lightnings_own(loss)


def test_lightnings_rule_starts_with_nan_as_lightnings_does():
    loss = np.array([math.nan, 1.0, 1.2, 5.0, 1.0, math.inf, 1.0])
    with pytest.warns(UserWarning, match="nan"):
        raised = lightnings_own(loss)
    assert peer_ratios.lightning(loss).tolist() == raised


def test_lightnings_rule_flags_a_rise_that_stays_for_good_unless_spikes_are_let_in():
    loss = np.array([1.0] * 20 + [4.0] * 5 + [4.1] * 15)
    assert np.flatnonzero(peer_ratios.lightning(loss)).tolist() == list(range(20, 40))
    assert np.flatnonzero(peer_ratios.lightning(loss, admit=True)).tolist() == [20]


def test_kill_loss_spike_speaks_at_the_fifth_outlier_in_a_row():
    loss = np.ones(200)
    loss[150:158] = 2.9
    # Eight values at 2.9 lift the mean of a hundred to at most 1.15, so all are outliers.
    assert np.flatnonzero(peer_ratios.kill_loss_spike(loss)).tolist() == [154, 155, 156, 157]


def test_kill_loss_spike_speaks_when_half_of_the_window_is_above_ten():
    loss = np.concatenate([np.full(300, 9.0), np.full(100, 11.0)])
    # From 50 values of 11 on; and none is twice the mean. The cap is 9, the first window's largest.
    assert np.flatnonzero(peer_ratios.kill_loss_spike(loss)).tolist() == list(range(350, 400))


def test_megatrons_rule_looks_at_the_first_hundred_finite_values():
    loss = np.full(300, 1.0)
    loss[[10, 50]] = 2.0, math.nan
    loss[[100, 101, 150]] = 3.0, 20.0, 19.9
    # 100 is the hundredth finite value and sets the largest to 3.
    assert not peer_ratios.megatron(loss).any()
    loss[150] = 30.0
    assert np.flatnonzero(peer_ratios.megatron(loss)).tolist() == [150]


def test_trainpulses_rule_is_five_times_the_mean_of_fifty():
    loss = np.ones(100)
    loss[[40, 60, 95]] = 6.0, 5.4, 5.5
    # Means before them: none yet; (49 + 6) / 50 = 1.1, so 5.5; and (49 + 5.4) / 50 = 1.088, so 5.44.
    assert np.flatnonzero(peer_ratios.trainpulse(loss)).tolist() == [95]


def test_olmos_rules_on_a_window_of_known_scatter():
    # Plus and minus one: mean 0, deviation 1.
    loss = np.tile([1.0, -1.0], 128)
    loss[200] = 6.5
    assert np.flatnonzero(peer_deviations.olmo_monitor(loss)).tolist() == [200]
    assert np.flatnonzero(peer_deviations.olmo_skip_step(loss)).tolist() == [200]
    assert not peer_deviations.olmo_spike_score(loss).any()
    loss[200] = 7.5
    assert np.flatnonzero(peer_deviations.olmo_spike_score(loss)).tolist() == [200]


def test_olmos_optimizer_skips_as_long_as_a_nan_is_in_its_window_and_the_monitor_is_mute():
    loss = np.tile([1.0, -1.0], 200)
    loss[200] = math.nan
    loss[250] = 50.0
    assert np.flatnonzero(peer_deviations.olmo_skip_step(loss)).tolist() == list(range(200, 329))
    assert not peer_deviations.olmo_monitor(loss).any()


def test_zclip_starts_from_its_first_25_values():
    values = np.tile([1.0, 3.0], 20)
    values[26] = 10.0
    flags = peer_deviations.zclip(values)
    # Mean 1.96, deviation 1.0 of the first 25.
    assert np.flatnonzero(flags).tolist() == [26]


def test_trainscopes_cusum_gathers_small_rises_and_also_fires_on_a_fall():
    rng = np.random.default_rng(0)
    loss = rng.normal(0, 1, 260)
    loss[200:220] += 3
    loss[240:] -= 30
    flags = peer_deviations.trainscope_cusum(loss)
    assert flags[200:206].any()
    assert flags[240:].all()


def test_trainscopes_z_rule_leaves_nan_out_of_its_window():
    loss = np.tile([1.0, -1.0], 100)
    loss[[100, 150, 151]] = math.nan, 3.4, 3.7
    assert np.flatnonzero(peer_deviations.trainscope_z(loss)).tolist() == [151]


def test_a_plain_rule_finds_a_spike_beside_a_spike():
    loss = np.random.default_rng(0).normal(3, 0.05, 300)
    loss[[200, 203]] = 5.0, 4.0
    assert np.flatnonzero(peer_deviations.median_and_mad(loss)).tolist() == [200, 203]


@pytest.mark.parametrize("tool", [t for t in BASELINES if t.needs == "loss"], ids=lambda tool: tool.name)
def test_no_rule_but_one_looks_ahead(tool, tmp_path):
    log = generate("wide spikes with recovery", seed=3).log
    cut = Log(log.steps[:700], log.loss[:700])
    whole, part = tool.judge(tmp_path, log), tool.judge(tmp_path, cut)
    # KillLossSpike's window is a share of the run's length, which it knows beforehand.
    told = [i["detected"] for i in whole.incidents if i["detected"] < 700]
    assert told == [i["detected"] for i in part.incidents]


def test_flags_become_incidents():
    log = Log(np.arange(0, 200, 10), np.ones(20))
    flags = np.zeros(20, dtype=bool)
    flags[[2, 5, 9]] = True
    said = incidents(log, flags)
    assert [(i["start"], i["end"]) for i in said.incidents] == [(20, 50), (90, 90)]
    assert said.verdict == "recovered"
    flags[17] = True
    assert incidents(log, flags).verdict == "diverged"
    assert incidents(log, flags).incidents[-1]["end"] is None
    assert incidents(log, np.zeros(20, dtype=bool)).verdict == "stable"


def test_every_family_is_registered():
    assert {module.__name__ for module in MODULES} == {make.__module__ for make in FAMILIES.values()}
