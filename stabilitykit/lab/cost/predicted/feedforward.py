"""The feed-forward sublayer's operations."""

from collections.abc import Iterator
from typing import NamedTuple

from stabilitykit.lab.cost.operation import Operation
from stabilitykit.lab.cost.predicted.traffic import Case, dropout, factor, linear, norm, pointwise
from stabilitykit.lab.model.sections import Activation, FeedForwardConfig


class _Cost(NamedTuple):
    """An activation's operations an element; exponentials, roots, tanh and erf are one each."""

    forward: int
    backward: int
    """With the product with the output's gradient."""
    keeps_input: int
    """Tensors kept beside its result."""
    keeps_result: bool
    """Whether its own backward needs the result."""


# σ(x) is 1/(1 + e^−x): 4.
_ACTIVATIONS: dict[Activation, _Cost] = {
    "silu": _Cost(5, 9, 1, False),
    "relu": _Cost(1, 1, 0, True),
    "relu2": _Cost(2, 3, 1, False),
    "leaky_relu": _Cost(2, 2, 1, False),
    "gelu": _Cost(5, 9, 1, False),
    "gelu_tanh": _Cost(9, 16, 1, False),
    "elu": _Cost(3, 4, 1, False),
    "selu": _Cost(4, 5, 1, False),
    "xielu": _Cost(10, 12, 5, False),
    "mish": _Cost(4, 10, 1, False),
    "tanh": _Cost(1, 3, 0, True),
    "softplus": _Cost(3, 4, 1, False),
    "identity": _Cost(0, 0, 0, False),
    "sigmoid": _Cost(4, 3, 0, True),
}


def feedforward(case: Case, keeps_input: bool = True) -> Iterator[Operation]:
    """Yield what one feed-forward sublayer does, in data order.

    Args:
        case: Model and workload.
        keeps_input: Whether what it reads is kept by it, rather than by an operation before it.
    """
    config, section = case.config, case.config.feedforward
    d, f, n = config.d_model, config.d_ff, case.tokens * config.d_ff
    for i, name in enumerate(("gate", "up") if section.gated else ("up",)):
        yield from linear(case, f"mlp.{name}_proj", d, f, section.bias, keeps_input and i == 0)
        yield from _scaled(case, name, n)
    yield from _activation(case, n)
    if section.gated:
        if section.up_offset:
            yield pointwise(case, "mlp.up_offset", n, back=(0, 0, 0))
        yield pointwise(case, "mlp.product", n, reads=2, back=(2, 3, 2), keeps=2)
    # Of a plain sublayer's activation and its last projection one keeps the tensor between for both.
    shared = not section.gated and _kept_result(section)
    if section.mid_norm:
        yield norm(case, "mlp.mid_norm", case.tokens, f, config.norm_of("mlp"), keeps=not shared)
        shared = False
    yield from dropout(case, "mlp.hidden_dropout", n, section.dropout)
    if section.dropout and case.workload.mode == "train":
        shared = False
    yield from linear(case, "mlp.down_proj", f, d, section.bias, keeps=not shared)


def _scaled(case: Case, name: str, n: int) -> Iterator[Operation]:
    section = case.config.feedforward
    if section.pre_scale != 1:
        yield pointwise(case, "mlp.pre_scale", n)
    if section.pre_gain:
        yield factor(case, f"mlp.{name}_gain", n, case.config.d_ff)
    if section.clamp is not None:
        yield pointwise(case, "mlp.clamp", n, flops=2, back=(1, 2, 1), keeps=1)


def _activation(case: Case, n: int) -> Iterator[Operation]:
    section = case.config.feedforward
    if section.activation == "identity":
        return
    cost = _ACTIVATIONS[section.activation]
    if section.activation == "silu" and section.alpha != 1:
        # x·σ(αx) written out: one product more, and both factors are kept.
        cost = _Cost(6, 10, 2, False)
    # In a gated sublayer the product keeps the result anyway.
    result = int(_kept_result(section) and not section.gated)
    back = (cost.backward, 2, 1)
    yield pointwise(case, "mlp.activation", n, flops=cost.forward, back=back, keeps=cost.keeps_input + result)


def _kept_result(section: FeedForwardConfig) -> bool:
    return _ACTIVATIONS[section.activation].keeps_result
