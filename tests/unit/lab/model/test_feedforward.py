"""The feed-forward sublayer, activation by activation, gated and not."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.lab.model.activations import ACTIVATIONS, XIELU
from stabilitykit.lab.validation import validated


def by_hand(name: str, x: float) -> float:
    match name:
        case "silu":
            return x / (1 + math.exp(-x))
        case "relu":
            return max(x, 0)
        case "relu2":
            return max(x, 0) ** 2
        case "gelu":
            return x * (1 + math.erf(x / math.sqrt(2))) / 2
        case "gelu_tanh":
            return x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        case "elu":
            return x if x > 0 else math.exp(x) - 1
        case "selu":
            scaled = x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1)
            return 1.0507009873554805 * scaled
        case "identity":
            return x
        case "leaky_relu":
            return x if x > 0 else 0.01 * x
        case "mish":
            return x * math.tanh(math.log1p(math.exp(x)))
        case "tanh":
            return math.tanh(x)
        case "softplus":
            return math.log1p(math.exp(x))
        case _:
            return 1 / (1 + math.exp(-x))


def line() -> Float[Tensor, "1 3 16"]:
    return torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_equals_its_formula(name: str) -> None:
    points = torch.linspace(-4, 4, 33, dtype=torch.float64)
    expected = [by_hand(name, x) for x in points.tolist()]
    assert ACTIVATIONS[name](points).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("extra", [{}, {"bias": True}, {"mid_norm": True}, {"clamp": 0.3}], ids=str)
@pytest.mark.parametrize("gated", [True, False])
def test_equals_the_formula_written_out(
    build: Callable[..., Transformer], name: str, extra: dict[str, Any], gated: bool
) -> None:
    mlp = build(feedforward={"activation": name, "gated": gated, **extra}).blocks[0].mlp
    up = mlp.up_proj(line())
    if "clamp" in extra:
        up = torch.where(up > 0.3, 0.3, torch.where(up < -0.3, -0.3, up))
    if gated:
        gate = mlp.gate_proj(line())
        gate = torch.where(gate > 0.3, 0.3, gate) if "clamp" in extra else gate
        hidden = ACTIVATIONS[name](gate) * up
    else:
        assert mlp.gate_proj is None
        hidden = ACTIVATIONS[name](up)
    if "mid_norm" in extra:
        hidden = hidden / (hidden.square().mean(-1, keepdim=True) + 1e-5) ** 0.5 * mlp.mid_norm.weight
    torch.testing.assert_close(mlp(line()), mlp.down_proj(hidden))


@pytest.mark.parametrize("gated", [True, False])
def test_pre_activations_are_scaled_then_clamped(build: Callable[..., Transformer], gated: bool) -> None:
    fields = {"gated": gated, "pre_scale": "sqrt_d", "pre_gain": True, "clamp": 2.0}
    mlp = build(feedforward=fields).blocks[0].mlp
    assert not torch.equal(mlp.up_gain, torch.ones_like(mlp.up_gain))
    up = (4 * mlp.up_gain * mlp.up_proj(line())).clamp(-2, 2)
    if gated:
        hidden = ACTIVATIONS["silu"]((4 * mlp.gate_gain * mlp.gate_proj(line())).clamp(max=2)) * up
    else:
        assert mlp.gate_gain is None
        hidden = ACTIVATIONS["silu"](up)
    torch.testing.assert_close(mlp(line()), mlp.down_proj(hidden))


def test_dropout_acts_in_training_only(build: Callable[..., Transformer]) -> None:
    mlp, plain = (build(feedforward={"dropout": p}).blocks[0].mlp for p in (0.5, 0.0))
    assert torch.equal(mlp(line()), plain(line()))
    mlp.train()
    assert not torch.allclose(mlp(line()), plain(line()))


@pytest.mark.parametrize(
    ("fields", "d_ff"),
    [
        ({}, 176),
        ({"gated": False}, 256),
        ({"ratio": 3.5, "multiple_of": 1}, 224),
        ({"ratio": 8 / 3, "multiple_of": 256}, 256),
        ({"ratio": 2.6667, "multiple_of": 1}, 171),
        ({"ratio": 4, "multiple_of": 100}, 300),
        ({"d_ff": 5, "multiple_of": 8}, 5),
    ],
    ids=str,
)
def test_hidden_width(fields: dict[str, Any], d_ff: int) -> None:
    config = validated(TransformerConfig, {"d_model": 64, "feedforward": fields})
    assert config.d_ff == d_ff
    assert config.resolved().d_ff == d_ff
    assert validated(TransformerConfig, config.resolved().model_dump(mode="json")) == config.resolved()


def test_alpha_makes_silu_the_quick_form_of_gelu(build: Callable[..., Transformer]) -> None:
    mlp = build(feedforward={"activation": "silu", "alpha": 1.702, "gated": False}).blocks[0].mlp
    up = mlp.up_proj(line())
    torch.testing.assert_close(mlp(line()), mlp.down_proj(up / (1 + torch.exp(-1.702 * up))))


def test_an_offset_is_added_behind_the_clamp(build: Callable[..., Transformer]) -> None:
    mlp = build(feedforward={"activation": "relu", "up_offset": 1.0, "clamp": 0.3}).blocks[0].mlp
    gate, up = mlp.gate_proj(line()).clamp(0, 0.3), mlp.up_proj(line()).clamp(-0.3, 0.3)
    torch.testing.assert_close(mlp(line()), mlp.down_proj(gate * (up + 1)))


def test_xielu_equals_its_formula_and_learns(build: Callable[..., Transformer]) -> None:
    act = XIELU().double()
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    expected = [0.8 * v * v + v / 2 if v > 0 else 0.8 * (math.expm1(v) - v) + v / 2 for v in x.tolist()]
    # Its parameters were drawn in float32.
    assert act(x).tolist() == pytest.approx(expected, abs=1e-5)
    mlp = build(feedforward={"activation": "xielu", "gated": False}).blocks[0].mlp
    mlp(line()).square().sum().backward()
    assert mlp.activation.alpha_p.grad.abs().item() > 0
    assert mlp.activation.alpha_n.grad.abs().item() > 0


def test_xielu_of_large_inputs_has_finite_gradients() -> None:
    x = torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4], requires_grad=True)
    XIELU()(x).sum().backward()
    assert x.grad.isfinite().all()


def test_xielu_starts_anew_with_the_model(build: Callable[..., Transformer]) -> None:
    config = build(feedforward={"activation": "xielu"}).config
    act = Transformer(config).blocks[0].mlp.activation
    assert torch.nn.functional.softplus(act.alpha_p).item() == pytest.approx(0.8)
    assert torch.nn.functional.softplus(act.alpha_n).item() == pytest.approx(0.3)
