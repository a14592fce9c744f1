"""What can be asked for: by options, by a recipe, and of models of transformers."""

import pytest

from stabilitykit.errors import ConfigError
from stabilitykit.lab.cost.request import CostRequest
from stabilitykit.lab.validation import validated


def test_the_mode_is_that_of_what_is_compared():
    assert CostRequest().does == "train"
    assert CostRequest(compare="kv_heads").does == "decode"
    assert CostRequest(compare="kv_heads", cache=32).length == 32
    assert CostRequest(compare="gpt2", mode="prefill", seq=16).length == 16


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"batch": 0}, "cost.batch: got 0; must be at least 1"),
        ({"batch": True}, "cost.batch: got True; must not be a truth value"),
        ({"dtype": "int8"}, "cost.dtype: got 'int8'; accepted: float32, bfloat16, float16"),
        ({"sequence": 5}, "cost.sequence: not a known field; did you mean 'seq'"),
        ({"compare": "kv_heads", "seq": 5}, "cost.--seq: got 5; not in --mode decode"),
        ({"hf": "x", "arch": "pre_norm"}, "cost.--arch: got pre_norm; not with --hf"),
        ({"hf": "x", "set": {"model.n_layers": "2"}}, "cost.--set: got ['model.n_layers=2']; not with --hf"),
        ({"hf": "x", "optimizer": "muon"}, "cost.--optimizer: got 'muon'; accepted with --hf: adamw, sgd"),
    ],
)
def test_what_does_not_go_together_is_one_line(fields, line):
    with pytest.raises(ConfigError) as refused:
        validated(CostRequest, fields, "cost")
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
