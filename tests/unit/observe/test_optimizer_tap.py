"""What is read of optimizers' steps is what NumPy says, for any optimizer, and crashes none."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stabilitykit.observe import Collector
from stabilitykit.stats.sample import WHOLE_MODEL

Readings = Mapping[str, float]


class Net(nn.Module):
    """Two layers, with an embedding whose rows are touched now and then."""

    def __init__(self, vocab: int = 40, width: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 3 * width)
        self.head = nn.Linear(3 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.up(self.norm(self.embed(tokens)))))
        return out


def matrices(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.ndim == 2]


def vectors(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.ndim != 2]


def two_groups(model: nn.Module) -> list[Optimizer]:
    slow = {"params": matrices(model), "lr": 1e-3, "betas": (0.8, 0.9), "eps": 1e-3}
    return [torch.optim.AdamW([slow, {"params": vectors(model)}], lr=1e-2, betas=(0.9, 0.99))]


def muon_and_adam(model: nn.Module) -> list[Optimizer]:
    return [torch.optim.Muon(matrices(model), lr=1e-2), torch.optim.Adam(vectors(model), lr=1e-2)]


def adam(**settings: Any) -> Callable[[nn.Module], list[Optimizer]]:
    return lambda model: [torch.optim.AdamW(model.parameters(), **{"lr": 1e-2, **settings})]


OPTIMIZERS: dict[str, Callable[[nn.Module], list[Optimizer]]] = {
    "default": adam(),
    "one by one": adam(foreach=False),
    "foreach": adam(foreach=True),
    "fused": adam(fused=True),
    "amsgrad": adam(amsgrad=True),
    "maximize": adam(maximize=True),
    "tensor lr": adam(lr=torch.tensor(1e-2), foreach=False),
    "large eps": adam(eps=1e-2),
    "two groups": two_groups,
    "two optimizers": muon_and_adam,
    "nadam": lambda m: [torch.optim.NAdam(m.parameters())],
    "sgd": lambda m: [torch.optim.SGD(m.parameters(), lr=0.1)],
    "momentum": lambda m: [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9)],
    "rmsprop": lambda m: [torch.optim.RMSprop(m.parameters())],
    "adafactor": lambda m: [torch.optim.Adafactor(m.parameters())],
}
every_optimizer = pytest.mark.parametrize("name", list(OPTIMIZERS))


def rms_t(optimizers: Sequence[Optimizer], parameters: Sequence[nn.Parameter], decayed: bool) -> float:
    """Return RMS_t of some parameters from the optimizers' state, in float64."""
    total, n = 0.0, 0
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                if any(p is q for q in parameters) and "exp_avg_sq" in optimizer.state[p]:
                    state, beta2 = optimizer.state[p], group["betas"][1]
                    v = state.get("max_exp_avg_sq", state["exp_avg_sq"]).double().numpy()
                    v = np.maximum(v / (1 - beta2 ** float(state["step"])), group["eps"] ** 2)
                    square = np.square(p.grad.double().numpy()) / v * ((1 - beta2) if decayed else 1)
                    total, n = total + square.sum(), n + square.size
    return math.sqrt(total / n) if n else math.nan


def train(
    make: Callable[[nn.Module], list[Optimizer]],
    check: Callable[[Net, list[Optimizer], dict[str, Tensor], Readings], None],
    steps: int = 4,
    clip: float | None = None,
    **net: int,
) -> Collector:
    """Train a little and check the readings after each step; ``before`` holds weights and ``grad.*``."""
    torch.manual_seed(0)
    model = Net(**net)
    optimizers = make(model)
    collector = Collector(model, optimizers)
    collector.attach()
    draws = torch.Generator().manual_seed(1)
    for step in range(steps):
        collector.arm()
        tokens = torch.randint(0, 30, (4, 8), generator=draws)
        model(tokens).square().mean().backward()
        collector.read_gradients()
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        before |= {f"grad.{n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        for optimizer in optimizers:
            optimizer.step()
        check(model, optimizers, before, collector.collect(step).readings)
        for optimizer in optimizers:
            optimizer.zero_grad()
    assert not any(row.dark for row in collector.coverage() if row.kind != "missing")
    return collector


def norm(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(t.detach().double().square().sum().item() for t in tensors))


@every_optimizer
def test_updates_are_the_change_of_the_weights(name: str) -> None:
    def check(model: Net, _: Any, before: dict[str, Tensor], readings: Readings) -> None:
        for group in ("embed", "norm", "up", "head"):
            now = {n: p for n, p in model.named_parameters() if n.startswith(group)}
            change = norm([p - before[n] for n, p in now.items()])
            ratio = change / norm(list(now.values()))
            assert readings[f"optim/update_norm/{group}"] == pytest.approx(change, rel=1e-5)
            assert readings[f"optim/update_ratio/{group}"] == pytest.approx(ratio, rel=1e-5)
        assert readings["optim/skipped"] == 0.0
        assert readings["optim/lr"] == pytest.approx(float(_[0].param_groups[0]["lr"]))

    train(OPTIMIZERS[name], check)


@every_optimizer
def test_rms_t_is_that_of_the_optimizers_own_state(name: str) -> None:
    seen = []

    def check(model: Net, optimizers: list[Optimizer], _: Any, readings: Readings) -> None:
        for group in ("embed", "norm", "up", "head"):
            members = [p for n, p in model.named_parameters() if n.startswith(group)]
            exact = rms_t(optimizers, members, decayed=False)
            if math.isnan(exact):
                assert f"optim/rms_t/{group}" not in readings
                continue
            seen.append(group)
            assert readings[f"optim/rms_t/{group}"] == pytest.approx(exact, rel=1e-4)
            stale = rms_t(optimizers, members, decayed=True)
            assert readings[f"optim/staleness/{group}"] == pytest.approx(stale, rel=1e-4)
            assert stale <= 1 + 1e-6

    train(OPTIMIZERS[name], check)
    without = ("sgd", "momentum", "rmsprop", "adafactor")
    assert bool(seen) == (name not in without)


def test_rms_t_of_gaussian_gradients_is_one() -> None:
    weight = nn.Parameter(torch.zeros(200, 200))
    holder = nn.Module()
    holder.weight = weight
    optimizer = torch.optim.Adam([weight], lr=0.0, betas=(0.9, 0.95))
    collector = Collector(holder, [optimizer])
    collector.attach()
    draws = torch.Generator().manual_seed(0)
    for step in range(60):
        collector.arm()
        weight.grad = torch.randn(200, 200, generator=draws)
        collector.read_gradients()
        optimizer.step()
        readings = collector.collect(step).readings
    assert readings["optim/rms_t/weight"] == pytest.approx(1.0, abs=0.05)
    # Independent gradients: 0 ± 1/√n.
    assert abs(readings["optim/grad_cosine"]) < 4 / 200
    assert readings["optim/update_ratio/weight"] == 0.0


def test_the_cosine_is_that_of_two_gradients_and_clipping_does_not_change_it() -> None:
    last: list[dict[str, Tensor]] = []

    def check(_: Net, __: Any, before: dict[str, Tensor], readings: Readings) -> None:
        now = {n: t.double().flatten() for n, t in before.items() if n.startswith("grad.")}
        if last:
            a, b = torch.cat(list(now.values())), torch.cat(list(last[-1].values()))
            exact = torch.dot(a, b) / (a.norm() * b.norm())
            assert readings["optim/grad_cosine"] == pytest.approx(exact.item(), abs=1e-6)
            a, b = (torch.cat([t for n, t in g.items() if n.startswith("grad.up")]) for g in (now, last[-1]))
            exact = torch.dot(a, b) / (a.norm() * b.norm())
            assert readings["grad/cosine/up"] == pytest.approx(exact.item(), abs=1e-6)
        else:
            assert "optim/grad_cosine" not in readings
        last.append(now)

    train(adam(), check, clip=1e-3)
    last.clear()
    train(muon_and_adam, check)


@pytest.mark.parametrize(("clip", "bites"), [(1e-3, True), (1e9, False)])
def test_the_clip_factor_is_the_norm_at_the_step_over_the_norm_before(clip: float, bites: bool) -> None:
    def check(_: Net, __: Any, before: dict[str, Tensor], readings: Readings) -> None:
        total = norm([t for n, t in before.items() if n.startswith("grad.")])
        exact = min(1.0, clip / (total + 1e-6))
        assert (exact < 1) == bites
        assert readings["optim/clip_factor"] == pytest.approx(exact, rel=1e-5)

    train(adam(), check, clip=clip)
    # In a sampled model gains and biases stand for all.
    train(adam(), check, steps=2, clip=clip, vocab=4000, width=96)


@pytest.mark.parametrize("name", ["default", "two optimizers", "amsgrad"])
def test_a_large_model_is_sampled_within_the_error_that_is_stated(name: str) -> None:
    def check(model: Net, optimizers: list[Optimizer], before: dict[str, Tensor], readings: Readings) -> None:
        for group in ("embed", "norm", "up", "head"):
            now = {n: p for n, p in model.named_parameters() if n.startswith(group)}
            ratio = norm([p - before[n] for n, p in now.items()]) / norm(list(now.values()))
            # 30 of 4,000 rows are touched: κ/f is 400, 16 thousand elements are looked at.
            limit = 0.25 if group == "embed" else 0.05
            assert readings[f"optim/update_ratio/{group}"] == pytest.approx(ratio, rel=limit)
            exact = rms_t(optimizers, list(now.values()), decayed=False)
            if math.isfinite(exact):
                assert readings[f"optim/rms_t/{group}"] == pytest.approx(exact, rel=limit)

    collector = train(OPTIMIZERS[name], check, vocab=4000, width=96)
    assert sum(p.numel() for p in Net(4000, 96).parameters()) > WHOLE_MODEL
    rows = [row for row in collector.coverage() if "optim/update_ratio" in row.statistics]
    sampled = {row.site for row in rows if row.kind == "sampled"}
    assert sampled == {"embed", "up", "head"}
    # With two optimizers, matrices and vectors of one group are watched apart.
    assert {row.site for row in rows if row.kind == "exact"} >= {"norm"}


def test_memory_held_is_a_small_part_of_a_large_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(4)])
    optimizer = torch.optim.AdamW(model.parameters())
    collector = Collector(model, [optimizer])
    collector.attach()
    collector.arm()
    model(torch.randn(2, 1024)).sum().backward()
    collector.read_gradients()
    optimizer.step()
    tap = collector._optimizer_taps[0]
    held = sum(t.untyped_storage().nbytes() for t in (tap._rows, tap._before, tap._scratch))
    bare = 4 * sum(4 * p.numel() for p in model.parameters())
    assert 0 < held < 0.06 * bare
    # Views of the weights and moments share their memory; of gradients none are kept.
    gradients = {p.grad.untyped_storage().data_ptr() for p in model.parameters() if p.grad is not None}
    kept = {view.untyped_storage().data_ptr() for view in tap._weights._views}
    assert not kept & gradients


def test_what_is_written_between_steps_is_no_update() -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    collector = Collector(model, [optimizer])
    collector.attach()
    for step in range(3):
        collector.arm()
        model(torch.arange(8)[None]).square().mean().backward()
        with torch.no_grad():
            model.up.weight.mul_(2.0)
        collector.read_gradients()
        optimizer.step()
        readings = collector.collect(step).readings
        assert readings["optim/update_ratio/up"] == 0.0


def test_a_step_that_was_not_observed_is_no_part_of_the_next_update() -> None:
    class Raw(torch.optim.SGD):
        """Writes where autograd does not see it, as kernels of other libraries do."""

        def step(self, closure: Any = None) -> None:
            for p in self.param_groups[0]["params"]:
                p.data.add_(1.0)

    torch.manual_seed(0)
    model = Net()
    optimizer = Raw(model.parameters(), lr=0.1)
    collector = Collector(model, [optimizer])
    collector.attach()
    ratios = []
    for step in range(6):
        collector.arm(step % 3 == 0)
        model(torch.arange(8)[None]).square().mean().backward()
        optimizer.step()
        if step % 3 == 0:
            weight = norm([model.up.weight, model.up.bias])
            change = math.sqrt(model.up.weight.numel() + model.up.bias.numel())
            ratios.append(collector.collect(step).readings["optim/update_ratio/up"] * weight / change)
    assert ratios == pytest.approx([1.0, 1.0], rel=1e-4)


def test_a_loss_scalers_overflow_is_a_skipped_step() -> None:
    for fused in (False, True):
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters(), fused=fused)
        scaler = torch.amp.GradScaler("cpu")
        collector = Collector(model, [optimizer])
        collector.attach()
        skipped = []
        for step, factor in enumerate((1.0, math.inf, 1.0)):
            collector.arm()
            scaler.scale(model(torch.arange(8)[None]).square().mean() * factor).backward()
            scaler.unscale_(optimizer)
            collector.read_gradients()
            scaler.step(optimizer)
            scaler.update()
            readings = collector.collect(step).readings
            skipped.append(readings["optim/skipped"])
            optimizer.zero_grad()
            if step == 2:
                assert readings["optim/clip_factor"] == pytest.approx(1.0)
                assert 0.5 < readings["optim/rms_t/up"] < 1.5
        assert skipped == [0.0, 1.0, 0.0], fused


def test_a_sparse_gradient_has_a_norm_and_an_update_and_no_second_moment() -> None:
    table = nn.Embedding(50, 8, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.1)
    collector = Collector(table, [optimizer])
    collector.attach()
    for step in range(2):
        collector.arm()
        table(torch.tensor([3, 3, 7])).square().sum().backward()
        collector.read_gradients()
        exact = table.weight.grad.to_dense().norm().item()
        optimizer.step()
        optimizer.zero_grad()
        readings = collector.collect(step).readings
        assert readings["grad/norm/weight"] == pytest.approx(exact, rel=1e-6)
        assert readings["optim/update_ratio/weight"] > 0
        assert not any(tag.startswith(("optim/rms_t", "grad/cosine")) for tag in readings)


def test_of_sharded_parameters_the_shards_are_read() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
        try:
            found = []
            for sharded in (False, True):
                torch.manual_seed(0)
                model: nn.Module = Net()
                if sharded:
                    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
                optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
                collector = Collector(model, [optimizer])
                collector.attach()
                for step in range(2):
                    collector.arm()
                    model(torch.arange(8)[None]).square().mean().backward()
                    collector.read_gradients()
                    optimizer.step()
                    optimizer.zero_grad()
                    found.append(collector.collect(step).readings)
                # Every rank may take up what the first one has kept, which is another shard.
                assert bool(collector.state_dict()["optimizers"][0]) is not sharded
        finally:
            torch.distributed.destroy_process_group()
    for plain, shard in zip(found[:2], found[2:], strict=True):
        assert dict(shard) == pytest.approx(dict(plain), rel=1e-5, abs=1e-7)
    assert "optim/rms_t/up" in found[-1]


class Quantised(torch.Tensor):
    """Stands for the 8-bit moments of other libraries: nothing can be done with it."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ in ("as_strided", "reshape", "cat"):
            raise NotImplementedError(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.parametrize("state", ["none", "8 bit", "quantised", "odd size", "numbers", "replaced"])
def test_foreign_optimizers_are_watched_for_updates_and_crash_nothing(state: str) -> None:
    class Foreign(Optimizer):
        """Signed descent that keeps something Adam-like."""

        def step(self, closure: Any = None) -> None:
            for p in self.param_groups[0]["params"]:
                if p.grad is None:
                    continue
                with torch.no_grad():
                    p.sub_(p.grad.sign(), alpha=0.01)
                kept: dict[str, Any] = {
                    "none": {},
                    "8 bit": {"state2": torch.zeros(p.shape, dtype=torch.uint8)},
                    "quantised": {"exp_avg_sq": torch.ones_like(p).as_subclass(Quantised), "step": 1},
                    "odd size": {"exp_avg_sq": torch.ones(3), "step": 1},
                    "numbers": {"exp_avg_sq": p.grad.square(), "step": 1},
                    "replaced": {"exp_avg_sq": p.grad.square(), "step": torch.tensor(1.0)},
                }[state]
                self.state[p] = kept

    def check(model: Net, _: Any, before: dict[str, Tensor], readings: Readings) -> None:
        change = norm([p - before[n] for n, p in model.named_parameters() if n.startswith("up")])
        weight = norm([model.up.weight, model.up.bias])
        assert readings["optim/update_ratio/up"] == pytest.approx(change / weight, rel=1e-5)
        if state in ("numbers", "replaced"):
            # v = g² and 1 − β2 = 0.1.
            assert readings["optim/rms_t/up"] == pytest.approx(math.sqrt(0.1), rel=1e-4)
        else:
            assert "optim/rms_t/up" not in readings

    train(lambda m: [Foreign(m.parameters(), {"betas": (0.9, 0.9), "eps": 1e-8})], check, steps=3)


def test_an_error_in_the_tap_darkens_updates_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("no such sample")

    monkeypatch.setattr("stabilitykit.observe.optimizer_tap.plan_sample", broken)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    collector = Collector(model, [optimizer])
    collector.attach()
    weight = model.up.weight.detach().clone()
    for step in range(2):
        collector.arm()
        model(torch.arange(8)[None]).square().mean().backward()
        collector.read_gradients()
        optimizer.step()
        readings = collector.collect(step).readings
    assert not torch.equal(weight, model.up.weight)
    assert readings["optim/grad_norm"] > 0
    assert not any(tag.startswith("optim/update_ratio") or tag == "optim/skipped" for tag in readings)
    rows = [row for row in collector.coverage() if row.kind != "missing"]
    dark = {"optim/update_ratio" in row.statistics: row.dark for row in rows}
    assert dark == {True: "ValueError: no such sample", False: ""}
