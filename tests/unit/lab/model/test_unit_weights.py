"""nGPT's weights have length 1 along the model's width, and its parts equal the paper's formulas."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from stabilitykit.lab.model import Transformer, normalise_weights, preset


def lengths(model: Transformer) -> dict[str, Tensor]:
    """Lengths of every matrix's vectors along d_model: columns of what is added to the line, else rows."""
    along = {"o_proj": 0, "down_proj": 0}
    return {
        name: module.weight.detach().norm(dim=along.get(name.rpartition(".")[2], 1))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding)
    }


def all_one(model: Transformer) -> bool:
    return all(torch.allclose(each, torch.ones_like(each)) for each in lengths(model).values())


@pytest.mark.parametrize("tied", [False, True])
def test_weights_start_at_length_one_and_come_back_to_it(
    config_of: Callable[..., object], tied: bool
) -> None:
    model = Transformer(config_of(unit_weights=True, head={"tied": tied}), seed=1)
    assert len(lengths(model)) == 2 * 7 + 2
    assert all_one(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    gain = model.blocks[0].attn_norm.weight.clone()
    normalise_weights(model)
    assert all_one(model)
    assert torch.equal(model.blocks[0].attn_norm.weight, gain)


def test_without_the_field_weights_keep_the_length_of_their_draw(config_of: Callable[..., object]) -> None:
    assert not all_one(Transformer(config_of(), seed=1))


def test_unit_weights_keep_the_directions_of_the_draw(config_of: Callable[..., object]) -> None:
    unit, plain = (Transformer(config_of(unit_weights=each), seed=1) for each in (True, False))
    row = plain.blocks[0].attn.q_proj.weight[3]
    torch.testing.assert_close(unit.blocks[0].attn.q_proj.weight[3], row / row.norm())
    column = plain.blocks[1].mlp.down_proj.weight[:, 5]
    torch.testing.assert_close(unit.blocks[1].mlp.down_proj.weight[:, 5], column / column.norm())


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def test_a_block_of_ngpt_equals_the_papers_formulas() -> None:
    """Equations 10, 11, 15, 16, 18 and 20 to 21 of 2410.01131, with s_u scaled by √d_model as well."""
    model = Transformer(preset("ngpt", "tiny"), seed=1).double()
    block = model.blocks[0]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in block.named_parameters():
            if "_proj" not in name:
                weight.add_(0.3 * torch.rand(weight.shape, generator=generator, dtype=torch.float64))
    h = unit(torch.randn(1, 5, 32, generator=generator, dtype=torch.float64))
    attn, mlp = block.attn, block.mlp

    def heads(proj: nn.Linear, gain: Tensor | None) -> Tensor:
        split = proj(h).view(1, 5, 4, 8).transpose(1, 2)
        return split if gain is None else unit(split) * gain[:, None]

    q, k = heads(attn.q_proj, attn.q_norm.weight), heads(attn.k_proj, attn.k_norm.weight)
    logits = (q @ k.mT * 8**0.5).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    gathered = (logits.softmax(-1) @ heads(attn.v_proj, None)).transpose(1, 2).flatten(2)
    middle = unit(h + block.attn_gate.weight * (unit(attn.o_proj(gathered)) - h))
    u, v = (
        32**0.5 * gain * proj(middle)
        for gain, proj in ((mlp.up_gain, mlp.up_proj), (mlp.gate_gain, mlp.gate_proj))
    )
    expected = unit(middle + block.mlp_gate.weight * (unit(mlp.down_proj(u * F.silu(v))) - middle))
    torch.testing.assert_close(block(h), expected)


def test_the_line_of_ngpt_stays_on_the_unit_sphere() -> None:
    model = Transformer(preset("ngpt", "tiny"), seed=1)
    lines: list[Tensor] = []
    for name, module in model.named_modules():
        if name.endswith(("resid_pre", "resid_mid", "resid_post")):
            module.register_forward_hook(lambda _m, _i, out: lines.append(out))
    tokens: Int[Tensor, "batch seq"] = torch.arange(32)[None]
    logits = model(tokens)
    assert len(lines) == 6
    for each in lines:
        torch.testing.assert_close(each.norm(dim=-1), torch.ones(1, 32))
    # s_z starts at 1, so that a logit is a cosine.
    assert logits.abs().max() <= 1


def test_ngpt_starts_its_factors_where_the_paper_does() -> None:
    model = Transformer(preset("ngpt", "tiny"), seed=1)
    starts = {
        name.removeprefix("blocks.0."): set(weight.flatten().tolist())
        for name, weight in model.named_parameters()
        if "_proj" not in name and not name.startswith(("blocks.1", "embed", "head.linear"))
    }
    alpha = pytest.approx([0.05])
    assert {name: sorted(values) for name, values in starts.items()} == {
        "attn.q_norm.weight": [1.0],
        "attn.k_norm.weight": [1.0],
        "attn_gate.weight": alpha,
        "mlp.gate_gain": [1.0],
        "mlp.up_gain": [1.0],
        "mlp_gate.weight": alpha,
        "head.gain": [1.0],
    }
