"""Predictions against what torch counts: products to the last FLOP, parameters exactly, memory nearly."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from unit.lab.cost.counting import count
from unit.lab.model.test_any_configuration import LENGTH, accepted, configurations

from stabilitykit.lab.cost import Workload, predict
from stabilitykit.lab.model import TransformerConfig
from stabilitykit.lab.model.presets import PRESETS, preset

QUICK = ("t5", "olmo2", "gpt_oss")


def agrees(config: TransformerConfig, length: int, memory: bool = False) -> None:
    """Compare a training step's prediction with what torch counts of it."""
    counted, prediction = count(config, 2, length), predict(config, Workload(batch=2, length=length))
    products = [each for each in prediction.operations if each.op_class == "contraction"]
    forward = sum(each.forward.dense_flops for each in products)
    backward = sum(each.backward.dense_flops for each in products)
    # The promise is 1 %; there is no reason for any difference.
    assert (forward, backward) == (counted.forward, counted.backward)
    assert prediction.parameters == counted.parameters
    if memory:
        assert prediction.memory.activations == pytest.approx(counted.saved, rel=0.1)


def eagerly(config: TransformerConfig) -> TransformerConfig:
    """Return the configuration with attention matrix by matrix, as the meta device runs it in any case."""
    section = config.attention.model_copy(update={"implementation": "eager"})
    return config.model_copy(update={"attention": section})


@pytest.mark.parametrize("name", QUICK)
def test_a_small_presets_step_is_as_counted(name):
    agrees(eagerly(preset(name, "tiny")), 32, memory=True)


@pytest.mark.parametrize("kind", ["sliding", "chunked"])
def test_windows_that_run_block_by_block_are_as_counted(kind):
    pattern = [{"span": kind, "window": 64}, {}]
    agrees(TransformerConfig(n_layers=2, seq_len=256, pattern=pattern), 256)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_step_is_as_counted(name):
    """At the published widths, over one period of its layers."""
    layers = len(preset(name).pattern)
    agrees(preset(name, "release", n_layers=layers), min(PRESETS[name].release.seq_len, 512))
    agrees(eagerly(preset(name, "small", n_layers=layers)), 256, memory=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_cost_and_layers_grow_together(name):
    """So what holds of one period of layers holds of all."""
    period = len(preset(name).pattern)
    depths = [4 * period, 8 * period, 12 * period]
    found = [predict(preset(name, "tiny", n_layers=n), Workload(length=32)) for n in depths]
    flops = [each.total.flops for each in found]
    if PRESETS[name].first_quarter is None and name != "lns":
        assert flops[2] - flops[1] == flops[1] - flops[0]
    assert flops[0] < flops[1] < flops[2]


@settings(max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck))
@given(fields=configurations)
def check_one(fields: dict[str, Any]) -> None:
    config = accepted(fields)
    if config is not None:
        agrees(eagerly(config), LENGTH, memory=True)


@pytest.mark.slow
def test_any_configurations_step_is_as_counted() -> None:
    check_one()
