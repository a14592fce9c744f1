"""Every wiring and every knob on it against its formula, with attention and feed-forward as given."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from stabilitykit.lab.model import Transformer, arch_config
from stabilitykit.lab.model.block import Block
from stabilitykit.lab.model.wirings import WIRINGS

LAYERS = 2
Function = Callable[[Tensor], Tensor]


def line() -> Float[Tensor, "1 12 16"]:
    return torch.randn(1, 12, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def norm(block: Block, name: str) -> Function:
    weight = block.get_submodule(name).weight
    return lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def sublayer(block: Block, name: str, x: Tensor, wiring: str) -> Tensor:
    """The papers' formulas, one by one."""
    f = block.get_submodule(name)
    first = norm(block, f"{name}_norm") if wiring != "no_norm" else None
    match wiring:
        case "post_norm":
            return first(x + f(x))
        case "pre_norm":
            return x + f(first(x))
        case "double_norm":
            return x + norm(block, f"{name}_out_norm")(f(first(x)))
        case "out_norm":
            return x + first(f(x))
        case "line_norm":
            return first(x) + f(first(x))
        case "no_norm":
            return x + f(x)
        case "deepnorm":
            return first((2 * LAYERS) ** 0.25 * x + f(x))
        case _:
            alpha = block.get_submodule(f"{name}_gate").weight
            return norm(block, f"{name}_line_out_norm")(x + alpha * (first(f(x)) - x))


@pytest.mark.parametrize("wiring", WIRINGS)
def test_every_wiring_equals_its_formula(build: Callable[..., Transformer], wiring: str) -> None:
    block = build(wiring=wiring, n_layers=LAYERS).blocks[1]
    expected = sublayer(block, "mlp", sublayer(block, "attn", line(), wiring), wiring)
    torch.testing.assert_close(block(line()), expected)


def parallel(block: Block, x: Tensor, wiring: str) -> Tensor:
    match wiring:
        case "post_norm":
            return norm(block, "mlp_norm")(x + block.attn(x) + block.mlp(x))
        case "pre_norm":
            return x + block.attn(norm(block, "attn_norm")(x)) + block.mlp(norm(block, "mlp_norm")(x))
        case "double_norm":
            attn = norm(block, "attn_out_norm")(block.attn(norm(block, "attn_norm")(x)))
            return x + attn + norm(block, "mlp_out_norm")(block.mlp(norm(block, "mlp_norm")(x)))
        case "out_norm":
            return x + norm(block, "attn_norm")(block.attn(x)) + norm(block, "mlp_norm")(block.mlp(x))
        case "line_norm":
            line = norm(block, "attn_norm")(x)
            return line + block.attn(line) + block.mlp(line)
        case "no_norm":
            return x + block.attn(x) + block.mlp(x)
        case _:
            return norm(block, "mlp_norm")((2 * LAYERS) ** 0.25 * x + block.attn(x) + block.mlp(x))


@pytest.mark.parametrize("wiring", [name for name in WIRINGS if name != "lerp"])
def test_parallel_branches_read_the_same_line(build: Callable[..., Transformer], wiring: str) -> None:
    block = build(wiring=wiring, order="parallel", n_layers=LAYERS).blocks[0]
    torch.testing.assert_close(block(line()), parallel(block, line(), wiring))
    assert "resid_mid" not in dict(block.named_children())


def test_parallel_branches_share_a_norm(build: Callable[..., Transformer]) -> None:
    block = build(order="parallel", shared_norm=True).blocks[0]
    read = norm(block, "attn_norm")(line())
    torch.testing.assert_close(block(line()), line() + block.attn(read) + block.mlp(read))
    assert [name for name, _ in block.named_parameters() if "norm" in name] == ["attn_norm.weight"]


def knobs(block: Block, x: Tensor, layer: int, residual: Mapping[str, Any]) -> Tensor:
    for name in ("attn", "mlp"):
        read = norm(block, f"{name}_norm")(x)
        if residual.get("depth_scale"):
            read = read / (layer + 1) ** 0.5
        branch = block.get_submodule(name)(read) * residual.get("branch_scale", 1.0)
        branch = branch / LAYERS ** residual.get("branch_depth_exponent", 0)
        if "gate" in residual:
            branch = branch * block.get_submodule(f"{name}_gate").weight
        x = residual.get("skip_scale", 1.0) * x + branch
        if residual.get("gpas"):
            x = x * (1 - F.silu(block.get_submodule(f"{name}_gpas").weight))
    return x


RESIDUALS: list[dict[str, Any]] = [
    {"branch_scale": 0.22},
    {"skip_scale": 0.5, "branch_scale": -2.0},
    {"gate": "scalar", "gate_init": 0.3},
    {"gate": "vector", "gate_init": 1e-2, "branch_scale": 2.0},
    {"depth_scale": "inv_sqrt_layer"},
    {"gpas": True},
    {"branch_depth_exponent": 1},
    {"branch_depth_exponent": 0.5, "branch_scale": 3.0},
]


@pytest.mark.parametrize("residual", RESIDUALS, ids=str)
def test_every_knob_equals_its_formula(build: Callable[..., Transformer], residual: dict[str, Any]) -> None:
    model = build(residual=residual)
    for layer, block in enumerate(model.blocks):
        torch.testing.assert_close(block(line()), knobs(block, line(), layer, residual))


def test_each_sublayer_can_join_the_line_in_its_own_way(build: Callable[..., Transformer]) -> None:
    block = build(
        residual={"branch_scale": 3.0},
        attention={"residual": {"skip_scale": 0.5, "gate": "scalar", "gpas": True}},
    ).blocks[0]
    names = [name for name, _ in block.named_children()]
    assert {"attn_gate", "attn_gpas"} <= set(names)
    assert not {"mlp_gate", "mlp_gpas"} & set(names)
    x = 0.5 * line() + block.attn_gate.weight * block.attn(norm(block, "attn_norm")(line()))
    x = x * (1 - F.silu(block.attn_gpas.weight))
    torch.testing.assert_close(block(line()), x + 3 * block.mlp(norm(block, "mlp_norm")(x)))


def test_each_part_can_have_its_own_norm(config_of: Callable[..., Any]) -> None:
    """As DyT has it at 7 B: another α before attention than elsewhere (2503.10622, section 6)."""
    dyt = {"kind": "dyt", "bias": True}
    model = Transformer(
        config_of(
            norm={**dyt, "alpha0": 0.2},
            attention={
                "norm": {**dyt, "alpha0": 0.8},
                "out_norm": True,
                "qk_norm": "head",
                "qk_norm_config": {"gain_offset": 1},
            },
            feedforward={"norm": {"kind": "layernorm"}, "mid_norm": True},
            embedding={"norm": True, "norm_config": {"kind": "l2"}},
            final_norm_config={"eps": 1e-3},
        )
    )
    norms = {name: m for name, m in model.named_modules() if name.rpartition(".")[2].endswith("norm")}
    told = {
        name.removeprefix("blocks.0."): (type(m).__name__, getattr(m, "alpha0", m.eps))
        for name, m in norms.items()
        if not name.startswith("blocks.1.")
    }
    assert told == {
        "embed.norm": ("L2Norm", 1e-5),
        "attn_norm": ("DyT", 0.8),
        "attn.out_norm": ("DyT", 0.8),
        "attn.q_norm": ("RMSNorm", 1e-5),
        "attn.k_norm": ("RMSNorm", 1e-5),
        "mlp_norm": ("LayerNorm", 1e-5),
        "mlp.mid_norm": ("LayerNorm", 1e-5),
        "final_norm": ("RMSNorm", 1e-3),
    }
    assert norms["blocks.0.attn.q_norm"].offset == 1
    elsewhere = Transformer(config_of(norm={**dyt, "alpha0": 0.2})).blocks[0]
    assert (elsewhere.attn_norm.alpha0, elsewhere.mlp_norm.alpha0) == (0.2, 0.2)


def test_gpas_leaves_the_lines_gradient_alone(build: Callable[..., Transformer]) -> None:
    gpas = build(residual={"gpas": True}).blocks[0].attn_gpas
    x = line().requires_grad_()
    gpas(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))
    torch.testing.assert_close(gpas.weight.grad, _slope(gpas.weight) * -x.sum())


def _slope(g: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(g.detach())
    return sigmoid * (1 + g.detach() * (1 - sigmoid))


def test_gates_start_where_they_are_told(config_of: Callable[..., Any]) -> None:
    for residual, start, shape in (
        ({"gate": "scalar"}, 0.0, ()),
        ({"gate": "vector", "gate_init": 0.1}, 0.1, (16,)),
    ):
        gate = Transformer(config_of(residual=residual)).blocks[1].mlp_gate.weight
        assert gate.shape == shape
        assert torch.equal(gate, torch.full(shape, start))
    lerp = Transformer(config_of(wiring="lerp")).blocks[0].attn_gate.weight
    assert torch.equal(lerp, torch.full((16,), 1 / 2))


def test_a_closed_gate_leaves_the_line_as_it_is(config_of: Callable[..., Any]) -> None:
    block = Transformer(config_of(**arch_config("no_norm"))).blocks[0]
    assert torch.equal(block(line().float()), line().float())


def test_sublayers_can_have_their_own_wiring(build: Callable[..., Transformer]) -> None:
    model = build(attention={"wiring": "no_norm"}, feedforward={"wiring": "line_norm"})
    for block in model.blocks:
        expected = sublayer(block, "mlp", sublayer(block, "attn", line(), "no_norm"), "line_norm")
        torch.testing.assert_close(block(line()), expected)


def test_layers_can_have_their_own_wiring(build: Callable[..., Transformer]) -> None:
    model = build(
        n_layers=3, overrides=[{"layers": [0, 1], "wiring": "post_norm"}], attention={"wiring": "out_norm"}
    )
    wirings = [("post_norm", "post_norm"), ("post_norm", "post_norm"), ("out_norm", "pre_norm")]
    for block, (attn, mlp) in zip(model.blocks, wirings, strict=True):
        torch.testing.assert_close(
            block(line()), sublayer(block, "mlp", sublayer(block, "attn", line(), attn), mlp)
        )
    assert model.final_norm is not None


def test_the_lerp_line_stays_on_its_sphere(
    build: Callable[..., Transformer], tokens: Int[Tensor, "batch seq"]
) -> None:
    model = build(**arch_config("lerp"))
    lines: list[Tensor] = []
    for name, module in model.named_modules():
        if name.endswith(("resid_pre", "resid_mid", "resid_post")):
            module.register_forward_hook(lambda _m, _i, out: lines.append(out))
    model(tokens)
    assert len(lines) == 6
    for each in lines:
        torch.testing.assert_close(each.square().mean(-1), torch.ones(2, 12).double(), rtol=1e-4, atol=0)


def test_branches_drop_out_in_training_only(build: Callable[..., Transformer]) -> None:
    block, plain = (build(residual={"dropout": p}).blocks[0] for p in (0.5, 0.0))
    assert torch.equal(block(line()), plain(line()))
    block.train()
    assert not torch.allclose(block(line()), plain(line()))


@pytest.mark.parametrize("order", ["serial", "parallel"])
def test_the_marks_see_what_is_added(build: Callable[..., Transformer], order: str) -> None:
    block = build(order=order, residual={"gate": "scalar", "gate_init": 0.4}).blocks[0]
    seen: dict[str, Tensor] = {}
    for name, module in block.named_children():
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    out = block(line())
    torch.testing.assert_close(out, line() + seen["attn_out"] + seen["mlp_out"])
    assert list(seen) == [name for name, _ in block.named_children()]
