"""Any configuration is refused in words, or gives finite losses and gradients, and as much behind a cache."""

from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Int
from torch import Tensor

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model import KVCache, Transformer, TransformerConfig
from stabilitykit.lab.model.initialization import SCHEMES
from stabilitykit.lab.model.norms import NORMS
from stabilitykit.lab.model.sections import Activation, RescaleKind
from stabilitykit.lab.model.wirings import WIRINGS
from stabilitykit.lab.nested import merged
from stabilitykit.lab.validation import validated

some = st.sampled_from
maybe = st.booleans()
VOCAB, LENGTH = 7, 6


def section(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


norms = section(
    kind=some(list(NORMS)),
    eps=some([1e-6, 1e-2]),
    gain=maybe,
    gain_offset=some([0.0, 1.0]),
    bias=maybe,
    alpha0=some([0.5, 2.0]),
)
# Each kind gets what it needs, and sometimes something more or less.
needed = {
    "none": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0, "original_len": 3},
    "llama3": {"factor": 4.0, "original_len": 8},
    "yarn": {"factor": 4.0, "original_len": 100},
    "longrope": {"factor": 2.0, "original_len": 4, "short": [1.0, 1.2], "long": [2.0, 5.0]},
}
more = section(
    factor=some([1.0, 8.0]),
    original_len=some([None, 2, 50]),
    low_freq=some([1.0, 5.0]),
    high_freq=some([4.0, 2.0]),
    beta_slow=some([1.0, 0.5]),
    beta_fast=some([32.0, 2.0]),
    truncate=maybe,
    short=some([None, [1.0, 1.5]]),
    long=some([None, [1.0, 3.0]]),
    attention_factor=some([None, 1.3]),
)
few = st.one_of(st.just({}), st.just({}), more)
rescales = st.builds(
    lambda kind, rest: {"kind": kind, **needed[kind], **rest}, some(get_args(RescaleKind)), few
)
residuals = section(
    skip_scale=some([1.0, 0.7]),
    branch_scale=some([1.0, 0.2]),
    branch_depth_exponent=some([0.0, 1.0]),
    gate=some(["none", "scalar", "vector"]),
    gate_init=some([None, 0.1]),
    gpas=maybe,
    depth_scale=some(["none", "inv_sqrt_layer"]),
    dropout=some([0.0, 0.3]),
)
positions = section(
    kind=some(["learned", "sine", "none", "rope", "alibi", "t5_bias"]),
    theta=some([1e4, 10.0]),
    theta_local=some([None, 100.0]),
    rotary_fraction=some([1.0, 0.5, 0.3]),
    layout=some(["half", "interleaved"]),
    sine_layout=some(["interleaved", "half"]),
    sine_closed=maybe,
    sine_start=some([0, 2]),
    buckets=some([32, 4]),
    max_distance=some([128, 5]),
)
ropes = st.builds(
    lambda fields, rescale: {**fields, "kind": "rope", "rescale": rescale},
    section(
        theta=some([1e4, 10.0]), layout=some(["half", "interleaved"]), rescale_local=some([True, True, False])
    ),
    rescales,
)
attentions = section(
    n_heads=some([1, 2, 3, 4]),
    n_kv_heads=some([None, 1, 2]),
    head_dim=some([None, 2, 5]),
    wiring=some([None, *WIRINGS]),
    norm=st.none() | norms,
    residual=st.none() | residuals,
    logit_scale=some(["rsqrt_head_dim", "inv_head_dim", "sqrt_head_dim", "none", 0.2]),
    qk_norm=some(["none", "head", "full"]),
    qk_norm_at=some(["pre_rope", "post_rope"]),
    qk_norm_config=st.none() | norms,
    qk_gain_per_head=maybe,
    v_norm=maybe,
    softcap=some([None, 3.0]),
    clip_qkv=some([None, 1.0]),
    sinks=some(["none", "learned", "zero"]),
    temperature_floor=some([None, 2]),
    temperature_start=some([1, 1, 0]),
    temperature_layers=some(["no_position", "all"]),
    qkv_bias=maybe,
    out_bias=maybe,
    out_norm=maybe,
    head_scale=maybe,
    dropout=some([0.0, 0.3]),
    implementation=some(["auto", "eager"]),
)
feedforwards = section(
    activation=some(get_args(Activation)),
    alpha=some([1.0, 1.0, 1.702]),
    up_offset=some([0.0, 0.0, 1.0]),
    gated=maybe,
    d_ff=some([None, 5]),
    ratio=some([None, 0.5, 2.5]),
    multiple_of=some([1, 8]),
    bias=maybe,
    mid_norm=maybe,
    clamp=some([None, 1.0]),
    dropout=some([0.0, 0.3]),
    wiring=some([None, *WIRINGS]),
    norm=st.none() | norms,
    residual=st.none() | residuals,
    pre_scale=some([1.0, "sqrt_d"]),
    pre_gain=maybe,
)
heads = section(
    tied=maybe,
    bias=maybe,
    scale=some([1.0, "rsqrt_d"]),
    gain=maybe,
    softcap=some([None, 5.0]),
    z_loss=some([0.0, 1e-4]),
)
initializations = section(
    scheme=some(list(SCHEMES)), zero_branch_out=maybe, zero_head=maybe, mup_base_width=some([None, 4])
)
kinds = section(
    span=some(["full", "sliding", "chunked"]), window=some([None, 1, 3, 9]), position=maybe, qk_norm=maybe
)
configurations = section(
    wiring=some(list(WIRINGS)),
    order=some(["serial", "parallel"]),
    shared_norm=maybe,
    final_norm=some(["auto", True, False]),
    norm=norms,
    position=positions | ropes,
    attention=attentions,
    feedforward=feedforwards,
    residual=residuals,
    final_norm_config=st.none() | norms,
    embedding=section(
        scale=some([1.0, "sqrt_d"]), norm=maybe, norm_config=st.none() | norms, dropout=some([0.0, 0.3])
    ),
    head=heads,
    initialization=initializations,
    unit_weights=maybe,
    pattern=st.lists(kinds, max_size=3),
    overrides=st.lists(section(layers=st.lists(some([0, 1, 2]), max_size=2), wiring=some(list(WIRINGS)))),
)
MUP = {"initialization": {"scheme": "mup", "mup_base_width": 4}, "attention": {"logit_scale": "inv_head_dim"}}
outcomes = {"refused": 0, "built": 0, "mup": 0, "unit_weights": 0}


def without(fields: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the fields without the one at a path, or without the innermost given section above it."""
    name, _, below = path.partition(".")
    inner = fields.get(name)
    rest = {key: value for key, value in fields.items() if key != name}
    if isinstance(inner, dict) and below.partition(".")[0] in inner:
        rest[name] = without(inner, below)
    return rest


def accepted(fields: dict[str, Any]) -> TransformerConfig | None:
    """Return the configuration without what is refused, one blamed field after the other."""
    sizes = {"vocab_size": VOCAB, "d_model": 12, "n_layers": 2, "seq_len": LENGTH}
    while True:
        try:
            return validated(TransformerConfig, {**sizes, **fields})
        except ConfigError as error:
            outcomes["refused"] += 1
            fewer = without(fields, str(error).removeprefix("model.").partition(":")[0])
            if fewer == fields:
                return None
            fields = fewer


@settings(max_examples=150, derandomize=True)
@given(fields=configurations, over=some([{}, {}, {}, MUP]))
def check_one(fields: dict[str, Any], over: dict[str, Any]) -> None:
    config = accepted(merged(fields, over))
    if config is None:
        return
    outcomes["built"] += 1
    outcomes["mup"] += config.initialization.scheme == "mup"
    outcomes["unit_weights"] += config.unit_weights
    model = Transformer(config, seed=0)
    tokens = torch.randint(VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    logits = model(tokens)
    assert logits.shape == (2, LENGTH, VOCAB)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    assert loss.isfinite()
    for name, weight in model.named_parameters():
        # The layers that would use the table may lie beyond the last one.
        assert weight.grad is not None or name == "logit_bias.weight", name
        assert weight.grad is None or weight.grad.isfinite().all(), name
    check_generating(model.double().eval(), tokens)


@torch.no_grad()
def check_generating(model: Transformer, tokens: Int[Tensor, "batch seq"]) -> None:
    """Compare a prompt and two tokens one at a time with the whole at once."""
    cache = KVCache(model.config, 2, dtype=torch.float64)
    parts = [tokens[:, : LENGTH - 2], tokens[:, LENGTH - 2 : LENGTH - 1], tokens[:, LENGTH - 1 :]]
    got = torch.cat([model(part, cache) for part in parts], 1)
    torch.testing.assert_close(got, model(tokens), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_any_configuration_is_refused_or_trains() -> None:
    check_one()
    assert outcomes["built"] > 100, outcomes
    assert min(outcomes.values()) > 5, outcomes


@settings(max_examples=80, derandomize=True)
@given(rope=ropes, pattern=some([[{}], [{"span": "sliding", "window": 3}, {}]]))
def check_rope(rope: dict[str, Any], pattern: list[dict[str, Any]]) -> None:
    fields = {"position": rope, "pattern": pattern, "attention": {"head_dim": 4}}
    check_one.hypothesis.inner_test(fields, {})


@pytest.mark.slow
def test_any_rope_is_refused_or_trains() -> None:
    before = dict(outcomes)
    check_rope()
    assert all(outcomes[each] - before[each] > 15 for each in ("built", "refused")), (before, outcomes)
