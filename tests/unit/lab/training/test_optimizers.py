"""Every optimizer against torch's own, and what the module makes of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from stabilitykit import watch
from stabilitykit.errors import ConfigError
from stabilitykit.lab.model import Transformer, TransformerConfig, preset
from stabilitykit.lab.probe import build_spec
from stabilitykit.lab.training import OptimizerConfig, ScheduleConfig, TextDataModule, TransformerModule
from stabilitykit.lab.training.groups import block_matrices
from stabilitykit.lab.training.optimizers import JoinedOptimizer, build_optimizer
from stabilitykit.lab.validation import validated

Make = Callable[..., tuple[TransformerModule, TextDataModule]]
MakeTrainer = Callable[..., Trainer]
SMALL = TransformerConfig(d_model=16, n_layers=2, seq_len=8)


def with_gradients(config: TransformerConfig = SMALL, seed: int = 0) -> Transformer:
    model = Transformer(config, seed=1)
    add_gradients(model, seed)
    return model


def add_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = dict(other.named_parameters())
    return all(torch.equal(parameter, theirs[name]) for name, parameter in one.named_parameters())


def split(model: Transformer) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The blocks' matrices, and what does not decay."""
    matrices = [m.weight for m in model.blocks.modules() if isinstance(m, nn.Linear)]
    chosen = {id(each) for each in (*matrices, model.head.linear.weight)}
    return matrices, [each for each in model.parameters() if id(each) not in chosen]


def test_sgd_is_torchs() -> None:
    ours, theirs = with_gradients(), with_gradients()
    matrices, others = split(theirs)
    groups = [{"params": [*matrices, theirs.head.linear.weight]}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.SGD(groups, lr=0.02, momentum=0.9, weight_decay=0.1)
    optimizer = build_optimizer(ours, OptimizerConfig(kind="sgd", lr=0.02))
    for seed in range(3):
        for model, each in ((ours, optimizer), (theirs, reference)):
            add_gradients(model, seed)
            each.step()
    assert same(ours, theirs)


def references(model: Transformer) -> list[torch.optim.Optimizer]:
    matrices, others = split(model)
    rest = [
        {"params": [model.head.linear.weight], "weight_decay": 0.1},
        {"params": others, "weight_decay": 0},
    ]
    return [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, momentum=0.8, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=0.02, betas=(0.9, 0.95), eps=1e-8),
    ]


MUON = OptimizerConfig(kind="muon", lr=0.02, momentum=0.8)


def test_muon_takes_the_blocks_matrices_and_adamw_the_rest() -> None:
    ours, theirs = with_gradients(), with_gradients()
    optimizer, expected = build_optimizer(ours, MUON), references(theirs)
    for seed in range(3):
        add_gradients(ours, seed)
        add_gradients(theirs, seed)
        optimizer.step()
        for each in expected:
            each.step()
    assert same(ours, theirs)


def test_muon_goes_on_from_its_state() -> None:
    whole, broken = with_gradients(), with_gradients()
    optimizer, first = build_optimizer(whole, MUON), build_optimizer(broken, MUON)
    for each in (optimizer, first):
        each.step()
    second = build_optimizer(broken, MUON)
    second.load_state_dict(first.state_dict())
    for model, each in ((whole, optimizer), (broken, second)):
        add_gradients(model, 5)
        each.step()
    assert same(whole, broken)


def test_a_schedule_moves_both_parts_of_muon() -> None:
    optimizer = build_optimizer(with_gradients(), MUON)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    assert isinstance(optimizer, JoinedOptimizer)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.01] * 3
    assert {group["lr"] for each in optimizer._optimizers for group in each.param_groups} == {0.01}


def test_a_closure_gives_muons_step_its_loss() -> None:
    model = with_gradients()
    loss = build_optimizer(model, MUON).step(
        lambda: model(torch.zeros(1, 8, dtype=torch.long)).square().mean()
    )
    assert loss is not None
    assert loss.requires_grad


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
def test_every_optimizer_learns_under_the_trainer_and_the_monitor(
    parts: Make, trainer: MakeTrainer, kind: str
) -> None:
    module, data = parts(total_steps=40)
    module.optimizer_config = OptimizerConfig(kind=kind, lr=0.1 if kind == "sgd" else 3e-3)
    before = module.training_step(data.batch(0), 0)["loss"].item()
    trainer(max_steps=40).fit(module, data)
    assert module.training_step(data.batch(0), 0)["loss"].item() < before - 0.3
    optimizer = build_optimizer(module.model, module.optimizer_config)
    with watch(module.model, optimizer) as monitor:
        for step in range(2):
            loss = module.training_step(data.batch(step), step)["loss"]
            loss.backward()
            optimizer.step()
            monitor.step(loss)
        readings = monitor.latest().readings
    assert readings["optim/lr"] == pytest.approx(module.optimizer_config.lr)
    assert readings["optim/update_ratio/blocks.00"] > 0


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        (
            {
                "attention": {"logit_scale": "inv_head_dim"},
                "initialization": {"scheme": "mup", "mup_base_width": 16},
            },
            "muon",
            r"optimizer\.kind: got muon; model\.initialization\.scheme mup needs adamw",
        ),
        ({"unit_weights": True}, "sgd", r"optimizer\.kind: got sgd; model\.unit_weights needs adamw or muon"),
    ],
    ids=["mup", "unit_weights"],
)
def test_an_optimizer_the_models_rates_are_not_for_is_refused(
    fields: dict[str, Any], kind: str, message: str
) -> None:
    config = validated(TransformerConfig, fields)
    with pytest.raises(ConfigError, match=f"^{message}$"):
        TransformerModule(config, OptimizerConfig(kind=kind), ScheduleConfig(), 4, 0)
    with pytest.raises(ConfigError, match=f"^{message}$"):
        build_optimizer(Transformer(config), OptimizerConfig(kind=kind))


def test_a_probe_refuses_such_an_optimizer_before_it_starts() -> None:
    with pytest.raises(ConfigError, match=r"^optimizer\.kind: got sgd"):
        build_spec("ngpt", overrides=["optimizer.kind=sgd"])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_unit_weights_are_of_unit_length_after_training(
    parts: Make, trainer: MakeTrainer, accumulate: int
) -> None:
    _, data = parts()
    config = preset("ngpt", "tiny", seq_len=8)
    module = TransformerModule(config, OptimizerConfig(lr=1e-2), ScheduleConfig(warmup=0), 6, 0)
    start = module.model.blocks[0].mlp.down_proj.weight.detach().clone()
    trainer(accumulate_grad_batches=accumulate).fit(module, data)
    down, head = module.model.blocks[0].mlp.down_proj.weight, module.model.head.linear.weight
    assert not torch.allclose(down, start, atol=1e-3)
    torch.testing.assert_close(down.norm(dim=0), torch.ones(down.shape[1]))
    torch.testing.assert_close(head.norm(dim=1), torch.ones(256))


def test_blocks_matrices_are_seven_a_block() -> None:
    assert len(block_matrices(Transformer(SMALL))) == 2 * 7
