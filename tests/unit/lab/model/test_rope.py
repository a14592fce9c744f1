"""Stretched frequencies of rope against transformers' own functions, and the laws they should obey."""

import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from stabilitykit.lab.model import RescaleConfig, Transformer
from stabilitykit.lab.model.context import contexts, distinct_kinds
from stabilitykit.lab.model.positions import rotation
from stabilitykit.lab.model.rope import amplitude, frequencies

WIDTH, THETA = 64, 5e5
LIKE = torch.zeros((), dtype=torch.float64)
SHORT, LONG = tuple(1 + 0.01 * i for i in range(32)), tuple(1 + 0.5 * i for i in range(32))
THEIRS = {
    "factor": "factor",
    "original_len": "original_max_position_embeddings",
    "low_freq": "low_freq_factor",
    "high_freq": "high_freq_factor",
    "beta_slow": "beta_slow",
    "beta_fast": "beta_fast",
    "truncate": "truncate",
    "short": "short_factor",
    "long": "long_factor",
    "attention_factor": "attention_factor",
}
FIELDS: list[dict[str, Any]] = [
    {"kind": "linear", "factor": 8.0},
    {"kind": "dynamic", "factor": 3.0, "original_len": 2048},
    {"kind": "llama3", "factor": 8.0, "original_len": 8192, "low_freq": 1.0, "high_freq": 4.0},
    {"kind": "llama3", "factor": 32.0, "original_len": 512, "low_freq": 2.0, "high_freq": 9.0},
    {"kind": "yarn", "factor": 4.0, "original_len": 32_768},
    {"kind": "yarn", "factor": 32.0, "original_len": 4096, "truncate": False},
    {"kind": "yarn", "factor": 2.0, "original_len": 64, "beta_slow": 0.5, "beta_fast": 3.0},
    {"kind": "yarn", "factor": 8.0, "original_len": 8192, "attention_factor": 1.2079441541679836},
    {"kind": "longrope", "factor": 32.0, "original_len": 4096, "short": SHORT, "long": LONG},
    {
        "kind": "longrope",
        "factor": 1.0,
        "original_len": 4096,
        "short": SHORT,
        "long": LONG,
        "attention_factor": 1.1,
    },
]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)


@pytest.mark.parametrize("length", [10, 5000, 100_000])
@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: fields["kind"])
def test_frequencies_and_amplitude_are_those_of_transformers(fields: dict[str, Any], length: int) -> None:
    parameters = {THEIRS[name]: value for name, value in fields.items() if name != "kind"}
    parameters = {
        name: list(value) if isinstance(value, tuple) else value for name, value in parameters.items()
    }
    if fields["kind"] == "dynamic":
        del parameters["original_max_position_embeddings"]
    config = transformers.LlamaConfig(
        hidden_size=4 * WIDTH,
        num_attention_heads=4,
        max_position_embeddings=fields.get("original_len", 2048),
        rope_parameters={"rope_type": fields["kind"], "rope_theta": THETA, **parameters},
    )
    expected, factor = ROPE_INIT_FUNCTIONS[fields["kind"]](config, "cpu", seq_len=length)
    ours = RescaleConfig(**fields)
    got = frequencies(WIDTH, THETA, length, ours, LIKE)
    # Theirs are in float32, and yarn and dynamic there round several times.
    torch.testing.assert_close(got, expected.double(), rtol=2e-6, atol=0)
    assert amplitude(ours) == pytest.approx(factor, rel=1e-12)


def plain() -> torch.Tensor:
    return frequencies(WIDTH, THETA, 1, RescaleConfig(), LIKE)


@pytest.mark.parametrize("kind", ["llama3", "yarn"])
def test_slow_pairs_are_divided_and_fast_ones_kept(kind: str) -> None:
    fields = RescaleConfig(kind=kind, factor=8.0, original_len=8192)
    share = frequencies(WIDTH, THETA, 1, fields, LIKE) / plain()
    assert share[0].item() == pytest.approx(1.0)
    assert share[-1].item() == pytest.approx(1 / 8)
    assert (share.diff() <= 1e-12).all()
    assert ((share > 0.13) & (share < 0.99)).any()


def test_a_factor_of_one_changes_nothing() -> None:
    for fields in FIELDS:
        if fields["kind"] != "longrope":
            same = RescaleConfig(**{**fields, "factor": 1.0, "attention_factor": None})
            torch.testing.assert_close(frequencies(WIDTH, THETA, 1, same, LIKE), plain())
            assert amplitude(same) == 1


def test_dynamic_leaves_short_sequences_and_turns_slowly_in_long_ones() -> None:
    dynamic = RescaleConfig(kind="dynamic", factor=2.0, original_len=100)
    torch.testing.assert_close(frequencies(WIDTH, THETA, 100, dynamic, LIKE), plain())
    share = frequencies(WIDTH, THETA, 200, dynamic, LIKE) / plain()
    # At twice the length the base makes the slowest pair as slow as interpolation by 2·2 − 1.
    assert share[-1].item() == pytest.approx(1 / 3)
    assert share[0].item() == 1


def test_longrope_changes_its_divisors_behind_the_original_length() -> None:
    rescale = RescaleConfig(kind="longrope", factor=4.0, original_len=10, short=SHORT, long=LONG)
    for length, divisors in ((10, SHORT), (11, LONG)):
        expected = plain() / torch.tensor(divisors, dtype=torch.float64)
        torch.testing.assert_close(frequencies(WIDTH, THETA, length, rescale, LIKE), expected)


def test_the_amplitude_multiplies_cosine_and_sine() -> None:
    rescale = RescaleConfig(kind="yarn", factor=math.e, original_len=8192)
    turn = rotation(9, 8, 100.0, False, LIKE, rescale)
    square = turn.cos[:, :4].square() + turn.sin.square()
    torch.testing.assert_close(square, torch.full((9, 4), 1.21).double())


def test_sliding_layers_can_keep_their_frequencies(build: Callable[..., Transformer]) -> None:
    pattern = [{"span": "sliding", "window": 4}, {}]
    yarn = {"kind": "yarn", "factor": 4.0, "original_len": 8, "beta_fast": 2.0, "beta_slow": 0.5}
    shared = {}
    for local in (True, False):
        position = {"kind": "rope", "theta": 50.0, "rescale": yarn, "rescale_local": local}
        model = build(position=position, pattern=pattern)
        kinds = distinct_kinds(model.config)
        shared[local] = contexts(model.config, kinds, None, torch.zeros(1, 5, 16))
    sliding, full = 0, 1
    assert torch.equal(shared[False][full].rotation.cos, shared[True][full].rotation.cos)
    assert torch.equal(shared[True][sliding].rotation.cos, shared[True][full].rotation.cos)
    assert torch.equal(shared[False][sliding].rotation.cos, rotation(5, 4, 50.0, False, torch.zeros(())).cos)


def test_a_model_with_dynamic_rope_sees_its_length(build: Callable[..., Transformer]) -> None:
    dynamic = {"kind": "dynamic", "factor": 2.0, "original_len": 6}
    stretched = build(position={"kind": "rope", "theta": 50.0, "rescale": dynamic})
    plainly = build(position={"kind": "rope", "theta": 50.0})
    plainly.load_state_dict(stretched.state_dict())
    tokens = torch.arange(12).remainder(11).unsqueeze(0)
    torch.testing.assert_close(stretched(tokens[:, :6]), plainly(tokens[:, :6]))
    assert (stretched(tokens) - plainly(tokens)).abs().max() > 1e-3
