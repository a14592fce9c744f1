"""What a training step returns, what decays, and how the learning rate moves."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model import HeadConfig, TransformerConfig
from stabilitykit.lab.training import (
    DataConfig,
    OptimizerConfig,
    ScheduleConfig,
    SyntheticConfig,
    TextDataModule,
    TransformerModule,
)
from stabilitykit.lab.validation import validated

Make = Callable[..., tuple[TransformerModule, TextDataModule]]
MakeTrainer = Callable[..., Trainer]


def bare(total_steps: int = 4, z_loss: float = 0.0, **options: object) -> TransformerModule:
    config = TransformerConfig(d_model=16, n_layers=1, seq_len=8, head=HeadConfig(z_loss=z_loss))
    return TransformerModule(config, OptimizerConfig(), ScheduleConfig(), total_steps, 0, **options)


def test_a_step_returns_the_loss_and_the_unigrams_on_the_same_targets(parts: Make) -> None:
    module, data = parts()
    batch = data.batch(0)
    step = module.training_step(batch, 0)
    assert set(step) == {"loss", "unigram_cross_entropy"}
    log_p = module(batch[:, :-1]).log_softmax(-1)
    picked = [log_p[i, j, batch[i, j + 1]] for i in range(len(batch)) for j in range(batch.shape[1] - 1)]
    assert step["loss"].item() == pytest.approx(-torch.stack(picked).mean().item(), rel=1e-5)
    expected = -np.log(data.corpus.unigram[batch[:, 1:].numpy()]).mean()
    assert step["unigram_cross_entropy"].item() == pytest.approx(expected, rel=1e-5)
    assert not step["unigram_cross_entropy"].requires_grad


def test_without_a_unigram_there_is_only_the_loss() -> None:
    assert set(bare().training_step(torch.randint(256, (2, 9)), 0)) == {"loss"}


def test_without_z_loss_the_loss_is_torchs_own_to_the_bit() -> None:
    module, batch = bare(), torch.randint(256, (2, 9))
    expected = F.cross_entropy(module(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
    assert torch.equal(module.training_step(batch, 0)["loss"], expected)


def test_with_z_loss_the_step_carries_the_losss_parts() -> None:
    batch = torch.randint(256, (2, 9))
    step = bare(z_loss=0.01).training_step(batch, 0)
    assert set(step) == {"loss", "cross_entropy", "z_loss"}
    assert step["cross_entropy"].item() == pytest.approx(bare().training_step(batch, 0)["loss"].item())
    log_z = bare()(batch[:, :-1]).logsumexp(-1)
    assert step["z_loss"].item() == pytest.approx(0.01 * log_z.square().mean().item(), rel=1e-5)
    assert step["loss"].item() == pytest.approx(step["cross_entropy"].item() + step["z_loss"].item())


@pytest.mark.slow
def test_z_loss_pulls_log_z_towards_zero() -> None:
    def log_z_after(z_loss: float) -> float:
        module = bare(z_loss=z_loss)
        batch = torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(0))
        optimizer = module.configure_optimizers()["optimizer"]
        for _ in range(100):
            optimizer.zero_grad()
            module.training_step(batch, 0)["loss"].backward()
            optimizer.step()
        return float(module(batch[:, :-1]).detach().logsumexp(-1).abs().mean())

    assert log_z_after(1.0) < 0.7 * log_z_after(0.0)


def test_validation_scores_the_cross_entropy_alone(parts: Make, trainer: MakeTrainer) -> None:
    _, data = parts()
    scores = [
        trainer(limit_val_batches=1.0).validate(bare(z_loss=z_loss), data, verbose=False)
        for z_loss in (0.0, 0.1)
    ]
    assert scores[0] == scores[1]


def test_the_unigram_is_in_no_checkpoint(parts: Make) -> None:
    assert [name for name in parts()[0].state_dict() if not name.startswith("model.")] == []


def test_a_vocabulary_smaller_than_the_datas_is_refused() -> None:
    config = TransformerConfig(vocab_size=100)
    with pytest.raises(
        ConfigError, match=r"^model\.vocab_size: got 100; must be at least 256, the data's tok"
    ):
        TransformerModule(config, OptimizerConfig(), ScheduleConfig(), 4, 0, np.full(256, 1 / 256))


def test_too_long_a_warmup_is_refused_at_once() -> None:
    config = TransformerConfig(d_model=16, n_layers=1)
    with pytest.raises(ConfigError, match=r"^schedule\.warmup: got 9"):
        TransformerModule(config, OptimizerConfig(), ScheduleConfig(warmup=9), 8, 0)


def test_only_matrices_decay() -> None:
    module = bare()
    optimizer = module.configure_optimizers()["optimizer"]
    names = {id(weight): name for name, weight in module.named_parameters()}
    decaying, others = ({names[id(w)] for w in group["params"]} for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    block = "model.blocks.0"
    assert others == {
        "model.embed.token.weight",
        "model.embed.position.weight",
        f"{block}.attn_norm.weight",
        f"{block}.mlp_norm.weight",
        "model.final_norm.weight",
    }
    assert decaying == set(names.values()) - others
    assert "model.head.linear.weight" in decaying


def test_a_tied_table_is_in_one_group_and_decays() -> None:
    config = TransformerConfig(d_model=16, n_layers=1, seq_len=8, head=HeadConfig(tied=True))
    module = TransformerModule(config, OptimizerConfig(), ScheduleConfig(), 4, 0)
    decaying, others = (group["params"] for group in module.configure_optimizers()["optimizer"].param_groups)
    assert [
        any(weight is module.model.embed.token.weight for weight in group) for group in (decaying, others)
    ] == [
        True,
        False,
    ]
    assert len(decaying) + len(others) == len(list(module.parameters()))


class Rates(Callback):
    """Keeps the learning rate every optimizer step is taken with."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])


def test_wsd_moves_every_groups_rate_by_the_same_factor() -> None:
    fields = {
        "d_model": 32,
        "n_layers": 1,
        "seq_len": 8,
        "attention": {"logit_scale": "inv_head_dim"},
        "initialization": {"scheme": "mup", "mup_base_width": 16},
    }
    schedule = ScheduleConfig(kind="wsd", warmup=2, decay_steps=2, decay_shape="linear", final_ratio=0.0)
    module = TransformerModule(
        validated(TransformerConfig, fields), OptimizerConfig(lr=0.1), schedule, total_steps=8, seed=0
    )
    configured = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(8):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    base = [0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.0]
    assert [each[0] for each in rates] == pytest.approx(base)
    for first, others, matrices in rates:
        assert (others, matrices) == pytest.approx((first, first / 2))


def test_a_tied_table_shrinks_by_its_decay_where_no_gradient_pulls() -> None:
    """A step of decay alone: gradients are 0, and so are Adam's moments."""
    config = TransformerConfig(d_model=16, n_layers=1, seq_len=8, head=HeadConfig(tied=True))
    module = TransformerModule(
        config, OptimizerConfig(lr=0.1, weight_decay=0.5), ScheduleConfig(warmup=0), 4, 0
    )
    before = {name: weight.detach().clone() for name, weight in module.model.named_parameters()}
    for weight in module.parameters():
        weight.grad = torch.zeros_like(weight)
    configured = module.configure_optimizers()
    configured["optimizer"].step()
    for name, weight in module.model.named_parameters():
        decays = "_proj" in name or name == "embed.token.weight"
        torch.testing.assert_close(weight.detach(), before[name] * (0.95 if decays else 1.0), msg=name)


def test_dropout_acts_in_training_steps_and_not_in_validation() -> None:
    sections: dict[str, object] = {
        name: {"dropout": 0.3} for name in ("attention", "feedforward", "residual", "embedding")
    }
    config = validated(TransformerConfig, {"d_model": 16, "n_layers": 1, "seq_len": 8, **sections})
    module = TransformerModule(config, OptimizerConfig(), ScheduleConfig(), 4, 0)
    plain, batch = bare(), torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(0))
    losses = {module.training_step(batch, 0)["loss"].item() for _ in range(3)}
    assert len(losses) == 3
    module.eval()
    assert torch.equal(module(batch[:, :-1]), plain(batch[:, :-1]))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_learning_rate_moves_every_optimizer_step(
    parts: Make, trainer: MakeTrainer, accumulate: int
) -> None:
    module, data = parts()
    rates = Rates()
    fitting = trainer(callbacks=[rates], accumulate_grad_batches=accumulate)
    fitting.fit(module, data)
    expected = [0.5, 1, 1, 0.775, 0.325, 0.1]  # warmup 2, then cosine from 1 to 0.1 in 4 steps
    assert rates.rates == pytest.approx([3e-3 * factor for factor in expected])
    assert fitting.current_epoch <= 1


def test_one_epoch_is_the_whole_run(parts: Make, trainer: MakeTrainer) -> None:
    module, data = parts()
    fitting = trainer(max_steps=-1, max_epochs=1, accumulate_grad_batches=2)
    fitting.fit(module, data)
    assert fitting.global_step == 6


def test_validation_logs_a_loss(parts: Make, trainer: MakeTrainer) -> None:
    module, data = parts()
    validating = trainer(limit_val_batches=1.0)
    (metrics,) = validating.validate(module, data, verbose=False)
    assert 5 < metrics["val_loss"] < 7


def test_the_loss_of_a_repeated_batch_falls() -> None:
    module = bare(total_steps=2)
    optimizer = module.configure_optimizers()["optimizer"]
    batch = torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = module.training_step(batch, 0)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_wide_synthetic_text_is_measured_against_its_own_frequencies(
    trainer: MakeTrainer,
) -> None:
    law = SyntheticConfig(symbols=1024, length=50_000)
    data = TextDataModule(DataConfig(kind="synthetic", synthetic=law, batch_size=4), 8, 0, 20)
    config = TransformerConfig(d_model=16, n_layers=1, seq_len=8, vocab_size=1024)
    schedule = ScheduleConfig(warmup=2)
    module = TransformerModule(config, OptimizerConfig(lr=1e-2), schedule, 20, 0, data.corpus.unigram)
    frequencies = 1 / (1 + np.arange(1024) // 4)
    batch = data.batch(7)
    assert batch.max() > 255
    before = module.training_step(batch, 0)
    expected = -np.log(frequencies / frequencies.sum())[batch[:, 1:].numpy()].mean()
    assert before["unigram_cross_entropy"].item() == pytest.approx(expected, abs=1e-3)
    trainer(max_steps=20).fit(module, data)
    after = module.training_step(batch, 0)
    assert after["loss"].item() < before["loss"].item() - 0.3
