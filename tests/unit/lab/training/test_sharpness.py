"""The preconditioned sharpness is the eigenvalue it says, and measuring it changes nothing."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.lab.probe import build_spec, probe
from stabilitykit.lab.training import OptimizerConfig
from stabilitykit.lab.training.optimizers import build_optimizer
from stabilitykit.lab.training.sharpness import Sharpness, largest_eigenvalue, stability_threshold
from stabilitykit.lab.validation import validated
from stabilitykit.store import open_run

VOCAB, LENGTH = 5, 6


def test_the_largest_eigenvalue_of_a_known_spectrum_is_found() -> None:
    """Within 1 %, where a negative eigenvalue of larger size stands beside it."""
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(200, 200, generator=generator))
    spectrum = torch.cat([torch.tensor([-90.0, 40.0, 31.0]), torch.linspace(-1, 10, 197)])
    matrix = turn @ torch.diag(spectrum) @ turn.mT
    value, vector = largest_eigenvalue(matrix.mv, torch.randn(200, generator=generator))
    assert value == pytest.approx(40.0, rel=0.01)
    assert vector.norm().item() == pytest.approx(1, abs=1e-4)
    calls = []
    again, _ = largest_eigenvalue(lambda x: (calls.append(1), matrix.mv(x))[1], vector)
    assert again == pytest.approx(40.0, rel=0.01)
    assert len(calls) <= 3


def test_a_matrix_of_zeros_and_one_of_nan_end_at_once() -> None:
    start = torch.ones(4)
    assert largest_eigenvalue(torch.zeros_like, start).value == 0
    assert math.isnan(largest_eigenvalue(lambda x: x * math.nan, start).value)


@pytest.mark.parametrize(("beta1", "lr"), [(0.9, 1e-3), (0.5, 0.1), (0.0, 0.1)])
def test_adam_on_a_quadratic_diverges_just_above_the_threshold(beta1: float, lr: float) -> None:
    """At 1 % above it and not at 1 % below it; the preconditioner is 1 throughout."""

    def last(curvature: float) -> float:
        x, moment = 1.0, 0.0
        for _ in range(4000):
            moment = beta1 * moment + (1 - beta1) * curvature * x
            x -= lr * moment
        return abs(x)

    threshold = stability_threshold(lr, beta1)
    assert last(0.99 * threshold) < 1e-3
    assert last(1.01 * threshold) > 1e3


def test_the_threshold_is_38_over_the_learning_rate() -> None:
    assert stability_threshold(0.01, 0.9) == pytest.approx(3800)


@pytest.mark.slow
@pytest.mark.parametrize(("position", "tied", "z_loss"), [("learned", False, 0.1), ("rope", True, 0.0)])
def test_the_sharpness_is_that_of_the_dense_matrix(position: str, tied: bool, z_loss: float) -> None:
    """Within 2 % of the largest eigenvalue of P^-½ H P^-½, written out in float64."""
    sizes = {"vocab_size": VOCAB, "d_model": 4, "n_layers": 1, "seq_len": LENGTH}
    parts = {
        "attention": {"n_heads": 2},
        "feedforward": {"d_ff": 4},
        "position": {"kind": position},
        "head": {"tied": tied, "z_loss": z_loss},
    }
    config = validated(TransformerConfig, {**sizes, **parts})
    model = Transformer(config, seed=1)
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-2))
    batch = torch.randint(VOCAB, (3, LENGTH + 1), generator=torch.Generator().manual_seed(2))
    for _ in range(5):
        optimizer.zero_grad()
        loss(model(batch[:, :-1]), batch, z_loss).backward()
        optimizer.step()
    expected = dense(config, model, optimizer, batch, z_loss)
    assert Sharpness(model).measure(model, optimizer, batch) == pytest.approx(expected, rel=0.02)


def loss(logits: Tensor, batch: Tensor, z_loss: float) -> Tensor:
    log_z = logits.logsumexp(-1)
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()) + z_loss * log_z.square().mean()


def dense(
    config: TransformerConfig,
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    batch: Tensor,
    z_loss: float,
) -> float:
    weights = dict(model.named_parameters())
    divisors = []
    for weight in weights.values():
        state = optimizer.state[weight]
        t = int(state["step"])
        root = (state["exp_avg_sq"].double() / (1 - 0.95**t)).sqrt() + 1e-8
        divisors.append(((1 - 0.9**t) * root).flatten())
    scale = torch.cat(divisors).rsqrt()
    exact = Transformer(config).double()
    flat = torch.cat([weight.detach().double().flatten() for weight in weights.values()])
    sizes = [weight.numel() for weight in weights.values()]

    def of(values: Tensor) -> Tensor:
        parts = values.split(sizes)
        named = {
            name: part.view(weight.shape) for (name, weight), part in zip(weights.items(), parts, strict=True)
        }
        return loss(functional_call(exact, named, (batch[:, :-1],)), batch, z_loss)

    with sdpa_kernel(SDPBackend.MATH):
        hessian = torch.autograd.functional.hessian(of, flat)
    return float(torch.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1])


SMALL = ["model.d_model=16", "model.n_layers=2", "model.seq_len=16", "data.batch_size=4", "trainer.steps=8"]


@pytest.mark.slow
def test_measuring_changes_no_reading_and_no_random_state(text: Path, tmp_path: Path) -> None:
    """All readings bit-equal with and without, in a model whose dropout draws at every step."""
    settings = [*SMALL, f"data.path={text}", "model.residual.dropout=0.2", "schedule.warmup=0"]
    states = []
    for name, more in (("without", []), ("with", ["monitor.sharpness_every_n_steps=2"])):
        torch.manual_seed(0)
        probe(build_spec("pre_norm", overrides=[*settings, *more]), tmp_path / name)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    without, with_it = (open_run(tmp_path / name) for name in ("without", "with"))
    added = set(with_it.tags) - set(without.tags)
    assert added == {"train/preconditioned_sharpness", "train/edge_of_stability"}
    for tag in without.tags:
        for one, other in zip(without.column(tag), with_it.column(tag), strict=True):
            assert one.tobytes() == other.tobytes(), tag
    steps, ratios = with_it.column("train/edge_of_stability")
    assert steps.tolist() == [2, 4, 6]
    _, sharpness = with_it.column("train/preconditioned_sharpness")
    assert ratios == pytest.approx(sharpness * 3e-3 / 38, rel=1e-5)


def test_without_adam_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"monitor\.sharpness_every_n_steps: got 5; needs .* not sgd"):
        build_spec("pre_norm", overrides=["optimizer.kind=sgd", "monitor.sharpness_every_n_steps=5"])
