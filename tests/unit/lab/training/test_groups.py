"""What decays and what learns at a rate of its own, from the model's configuration alone."""

from typing import Any

import pytest
import torch

from stabilitykit.lab.model import Transformer, TransformerConfig, preset
from stabilitykit.lab.training import parameter_groups
from stabilitykit.lab.validation import validated

BLOCK = "blocks.0"
MATRICES = {
    *(f"{BLOCK}.attn.{each}_proj.weight" for each in "qkvo"),
    *(f"{BLOCK}.mlp.{each}_proj.weight" for each in ("gate", "up", "down")),
}
MUP = {
    "attention": {"logit_scale": "inv_head_dim"},
    "initialization": {"scheme": "mup", "mup_base_width": 16},
}


def one_block(**fields: Any) -> Transformer:
    sizes = {"d_model": 64, "n_layers": 1, "seq_len": 8}
    return Transformer(validated(TransformerConfig, {**sizes, **fields}))


def grouped(model: Transformer, lr: float = 0.01, decay: float = 0.1) -> list[tuple[float, float, set[str]]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, lr=lr, weight_decay=decay)
    seen = [names[id(parameter)] for group in groups for parameter in group["params"]]
    assert sorted(seen) == sorted(names.values())
    return [(g["lr"], g["weight_decay"], {names[id(p)] for p in g["params"]}) for g in groups]


def test_all_learn_at_one_rate_and_matrices_decay() -> None:
    model = one_block(head={"bias": True})
    (rate, decay, decaying), (other_rate, none, others) = grouped(model)
    assert (rate, decay, other_rate, none) == (0.01, 0.1, 0.01, 0.0)
    assert decaying == {*MATRICES, "head.linear.weight"}
    assert others == {
        "embed.token.weight",
        "embed.position.weight",
        f"{BLOCK}.attn_norm.weight",
        f"{BLOCK}.mlp_norm.weight",
        "final_norm.weight",
        "head.linear.bias",
    }


def test_under_mup_the_blocks_matrices_learn_at_the_rate_of_the_base_width_over_the_width() -> None:
    head, others, matrices = grouped(one_block(**MUP, feedforward={"bias": True}))
    assert matrices[:2] == pytest.approx((0.01 / 4, 0.1 * 4))
    assert matrices[2] == MATRICES
    assert head == (0.01, 0.1, {"head.linear.weight"})
    assert others[:2] == (0.01, 0.0)
    assert {"embed.token.weight", f"{BLOCK}.mlp.up_proj.bias", "final_norm.weight"} <= others[2]


def test_under_mup_a_step_decays_alike_at_every_width() -> None:
    for group in parameter_groups(one_block(**MUP), lr=0.01, weight_decay=0.1):
        assert group["lr"] * group["weight_decay"] in (0, pytest.approx(1e-3))


def test_at_mups_base_width_there_is_one_rate() -> None:
    at_base = {"attention": MUP["attention"], "initialization": {"scheme": "mup", "mup_base_width": 64}}
    assert [group[:2] for group in grouped(one_block(**at_base))] == [(0.01, 0.1), (0.01, 0.0)]


def test_a_tied_table_decays_at_the_base_rate_with_and_without_mup() -> None:
    for fields in ({}, MUP):
        rate, decay, names = grouped(one_block(**fields, head={"tied": True}))[0]
        assert (rate, decay) == (0.01, 0.1)
        assert "embed.token.weight" in names


def test_unit_weights_do_not_decay_and_ngpts_factors_learn_as_if_stored_small() -> None:
    model = Transformer(preset("ngpt", "tiny", d_model=64, n_layers=1))
    rates = {name: (rate, decay) for rate, decay, names in grouped(model) for name in names}
    assert {decay for _, decay in rates.values()} == {0.0}
    own = {
        f"{BLOCK}.attn.q_norm.weight": 8,
        f"{BLOCK}.attn.k_norm.weight": 8,
        f"{BLOCK}.attn_gate.weight": 0.4,
        f"{BLOCK}.mlp_gate.weight": 0.4,
        "head.gain": 8,
    }
    for name, (rate, _) in rates.items():
        assert rate == pytest.approx(0.01 * own.get(name, 1.0)), name


def test_adam_moves_a_factor_as_it_would_move_ngpts_stored_one() -> None:
    """Stored as start/scale times a parameter that begins at scale, as in nGPT's own code."""
    start, scale, gradients = 0.05, 64**-0.5, (1.0, -0.3, 0.7)
    ours = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    stored = torch.nn.Parameter(torch.tensor(scale, dtype=torch.float64))
    mine = torch.optim.AdamW([{"params": [ours], "lr": 0.01 * start / scale}], weight_decay=0, eps=1e-20)
    theirs = torch.optim.AdamW([{"params": [stored], "lr": 0.01}], weight_decay=0, eps=1e-20)
    for gradient in gradients:
        ours.grad = torch.tensor(gradient, dtype=torch.float64)
        stored.grad = torch.tensor(gradient * start / scale, dtype=torch.float64)
        mine.step()
        theirs.step()
    assert ours.item() == pytest.approx(stored.item() * start / scale, rel=1e-12)
    assert ours.item() != pytest.approx(start, rel=0.01)


def test_a_model_without_anything_that_does_not_decay_has_one_group() -> None:
    fields = {"head": {"tied": True}, "norm": {"gain": False}, "position": {"kind": "none"}}
    assert len(grouped(one_block(**fields))) == 1
