"""Profiling any module: the numbers of one that can be counted by hand, and that it stays as it was."""

import random

import pytest
import torch
from torch import nn

from stabilitykit.errors import ConfigError
from stabilitykit.lab.cost import Peaks, profile
from stabilitykit.lab.cost.counted.count import count
from stabilitykit.lab.cost.task import Task


class Raising(nn.Module):
    """Raises in its second call, or in its first."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.inner, self.left = nn.Linear(4, 4), calls

    def forward(self, x):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("on purpose")
        return self.inner(x)


def model() -> nn.Sequential:
    """Return a small model with everything that a step may change."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def hooks(module: nn.Module) -> int:
    """Return how many hooks there are on a module and all in it."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(each, name)) for each in module.modules() for name in names)


def test_a_layers_work_is_what_one_counts_by_hand():
    layer, x = nn.Linear(4, 8), torch.randn(5, 4)
    (product, mean) = count(Task(layer, x)).operations
    assert (product.name, product.op_class, product.parameters) == ("linear", "contraction", 4 * 8 + 8)
    assert product.forward.flops == 2 * 5 * 4 * 8
    assert (product.forward.read, product.forward.written) == (4 * (5 * 4 + 4 * 8 + 8), 4 * 5 * 8)
    # The weight's gradient and the sum of the bias's; the input needs none.
    assert product.backward.flops == 2 * 5 * 4 * 8 + 5 * 8
    assert product.saved == 4 * 5 * 4
    assert (mean.name, mean.forward.flops, mean.forward.read) == ("loss", 5 * 8, 4 * 5 * 8)


@pytest.mark.parametrize(
    ("layer", "factor"),
    [(nn.LayerNorm(6), 7), (nn.LayerNorm(6, elementwise_affine=False), 5), (nn.Softmax(-1), 5)],
)
def test_norms_and_softmax_have_the_factors_of_the_predictions(layer, factor):
    first = count(Task(layer, torch.randn(5, 6), mode="forward")).operations[0]
    assert (first.op_class, first.forward.flops) == ("normalisation", factor * 5 * 6)


def test_views_and_lookups_compute_nothing():
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(100, 4)

        def forward(self, tokens):
            return self.table(tokens).transpose(0, 1).unsqueeze(0)

    (table,) = count(Task(Looks(), torch.arange(6).view(2, 3), mode="forward")).operations
    assert table.forward.flops == 0
    # The rows that are looked up and their numbers, not the table.
    assert (table.forward.read, table.forward.written) == (4 * 6 * 4 + 8 * 6, 4 * 6 * 4)


def test_memory_is_counted_in_bytes():
    layer = nn.Linear(4, 8)
    memory = count(
        Task(layer, torch.randn(5, 4), optimizer=torch.optim.SGD(layer.parameters(), 0.1, 0.9))
    ).memory
    assert memory.weights == memory.gradients == memory.optimizer == 4 * (4 * 8 + 8)


def test_the_module_stays_as_it_was():
    module, x = model(), torch.randn(6, 4)
    module[0].weight.grad = torch.full((8, 4), 3.0)
    grads = [each.grad for each in module.parameters()]
    state = {name: each.clone() for name, each in module.state_dict().items()}
    torch.manual_seed(5)
    before = module(x), torch.random.get_rng_state(), random.getstate()
    module.load_state_dict(state)
    torch.manual_seed(5)
    profile(module, x, seconds=0.0)
    assert all(torch.equal(state[name], each) for name, each in module.state_dict().items())
    assert all(each.grad is old for each, old in zip(module.parameters(), grads, strict=True))
    assert module.training
    assert hooks(module) == 0
    # The same draws from here on, and the same bits out.
    assert torch.equal(module(x), before[0])
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert random.getstate() == before[2]


def test_with_an_optimizer_it_is_trained():
    module = model()
    weight = module[0].weight.detach().clone()
    told = profile(
        module, torch.randn(6, 4), optimizer=torch.optim.SGD(module.parameters(), 0.1), seconds=0.0
    ).to_json()
    assert not torch.equal(module[0].weight, weight)
    row = next(row for row in told["operations"] if row["name"] == "optimizer.sgd")
    assert row["step"]["flops"] > 0
    assert row["measured"]["pass_seconds"].keys() == {"step"}
    assert all(each.grad is None for each in module.parameters())


@pytest.mark.parametrize("calls", [0, 1, 4])
def test_a_module_that_raises_is_left_without_hooks(calls):
    module = Raising(calls)
    with pytest.raises(RuntimeError, match="on purpose"):
        profile(module, torch.randn(2, 4))
    assert hooks(module) == 0
    assert all(each.grad is None for each in module.parameters())
    assert torch._C._len_torch_dispatch_stack() == 0
    assert torch._C._len_torch_function_stack() == 0


def test_a_loss_is_an_operation_of_its_own():
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    told = profile(
        model(), (torch.randn(6, 4),), loss=lambda y: nn.functional.cross_entropy(y, target), seconds=0.0
    ).to_json()
    row = next(row for row in told["operations"] if row["name"] == "loss")
    assert row["class"] == "normalisation"
    assert row["measured"]["pass_seconds"].keys() == {"forward", "backward"}


def test_forward_alone_has_no_other_pass():
    told = profile(model().eval(), torch.randn(6, 4), mode="forward", seconds=0.0).to_json(Peaks(1e11, 1e10))
    assert told["passes"]["forward"]["flops"] > 0
    assert told["passes"]["backward"]["flops"] == told["passes"]["step"]["flops"] == 0
    assert told["memory"]["gradients"] == told["memory"]["activations"] == 0
    assert told["bound_s"] == pytest.approx(sum(row["bound_s"] for row in told["operations"]))


def test_numbers_of_children_of_several_types_stay():
    names = [each.name for each in count(Task(model(), torch.randn(6, 4))).operations]
    assert {"0", "1", "2", "3", "loss"} <= {*names}
    layers = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    first = count(Task(layers, torch.randn(6, 4))).operations[0]
    assert (first.name, first.layers) == ("*", 2)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"mode": "decode"}, "mode: got 'decode'; accepted: train, forward"),
        ({"mode": "forward", "loss": torch.sum}, "loss: got "),
        ({"loss": lambda y: y.detach().sum()}, "loss: depends on no parameter that learns"),
    ],
)
def test_what_cannot_be_asked_is_said(options, line):
    with pytest.raises(ConfigError, match=line):
        profile(model(), torch.randn(6, 4), **options)
