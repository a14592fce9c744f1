"""Whatever steps is watched: wrappers, optimizers of other libraries, steps inside a backward pass, none."""

import copy
import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stabilitykit import watch
from stabilitykit.errors import ConfigError
from stabilitykit.live.loop import LoopMonitor
from stabilitykit.observe.optimizer_tap import OptimizerTap
from stabilitykit.observe.steppers import Listener, Stepper, optimizers_of
from stabilitykit.observe.watched import Watched


class Net(nn.Module):
    """Two blocks between an embedding and a head."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, width)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for _ in "ab")
        self.head = nn.Linear(width, 20)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        out: Tensor = self.head(x)
        return out


def loss_of(model: nn.Module, step: int) -> Tensor:
    draws = torch.Generator().manual_seed(step)
    tokens = torch.randint(0, 20, (3, 5), generator=draws)
    return nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(1, 1).flatten())


def norm(tensors: Sequence[Tensor | None]) -> float:
    squares = [t.detach().double().square().sum().item() for t in tensors if t is not None]
    return math.sqrt(sum(squares))


class ByName(Optimizer):
    """An ``Optimizer`` by name, never made as one, as accelerate's and torch_optimizer's wrappers are."""

    def __init__(self, inner: Optimizer) -> None:
        self.optimizer = inner
        self.scaler = None

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:
        return self.optimizer.state

    def step(self, closure: Any = None) -> None:
        self.optimizer.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)


class Duck:
    """A wrapper that is no ``Optimizer`` at all."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner, self.param_groups = [inner], inner.param_groups

    def step(self) -> None:
        self.inner[0].step()

    def zero_grad(self) -> None:
        self.inner[0].zero_grad()


class Slow(Duck):
    """Goes back half of the way at every second step (Lookahead)."""

    def __init__(self, inner: Optimizer) -> None:
        super().__init__(inner)
        self.slow = [p.detach().clone() for p in inner.param_groups[0]["params"]]
        self.count = 0

    @torch.no_grad()
    def step(self) -> None:
        super().step()
        self.count += 1
        if self.count % 2 == 0:
            for p, slow in zip(self.param_groups[0]["params"], self.slow, strict=True):
                slow.lerp_(p, 0.5)
                p.copy_(slow)


class Own:
    """Steps by itself, and lets its ``step`` not be replaced."""

    __slots__ = ("param_groups",)

    def __init__(self, inner: Optimizer) -> None:
        self.param_groups = inner.param_groups

    @torch.no_grad()
    def step(self) -> None:
        for p in self.param_groups[0]["params"]:
            p.data.sub_(p.grad, alpha=0.1)

    def zero_grad(self) -> None:
        for p in self.param_groups[0]["params"]:
            p.grad = None


WRAPPERS: dict[str, Callable[[Optimizer], Any]] = {
    "none": lambda inner: inner,
    "by name": ByName,
    "duck": Duck,
    "twice": lambda inner: ByName(ByName(inner)),
    "slow": Slow,
    "own": Own,
}


@pytest.mark.parametrize(
    ("wrapper", "given"), [*((name, "one") for name in WRAPPERS), ("duck", "list"), ("by name", "by name")]
)
def test_updates_of_wrapped_optimizers_are_those_of_the_outermost_step(wrapper: str, given: str) -> None:
    def run(watched: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = Net()
        optimizer = WRAPPERS[wrapper](torch.optim.AdamW(model.parameters(), lr=1e-2))
        argument = {"one": optimizer, "list": [optimizer], "by name": {"main": optimizer}}[given]
        if not watched:
            train(model, optimizer, None)
        else:
            with watch(model, argument) as monitor:
                train(model, optimizer, monitor)
        return [p.detach() for p in model.parameters()]

    def train(model: Net, optimizer: Any, monitor: LoopMonitor | None) -> None:
        for step in range(4):
            before = [p.detach().clone() for p in model.head.parameters()]
            loss = loss_of(model, step)
            loss.backward()
            gradient = norm([p.grad for p in model.parameters()])
            optimizer.step()
            change = norm([p - b for p, b in zip(model.head.parameters(), before, strict=True)])
            optimizer.zero_grad()
            if monitor is None:
                continue
            monitor.step(loss)
            readings = monitor.latest().readings
            assert readings["optim/skipped"] == 0.0
            assert readings["optim/grad_norm"] == pytest.approx(gradient, rel=1e-5)
            assert readings["optim/update_norm/head"] == pytest.approx(change, rel=1e-4)
            assert ("optim/rms_t/head" in readings) == (wrapper != "own")

    assert all(map(torch.equal, run(False), run(True)))


def test_what_was_put_on_an_instance_is_taken_off_again() -> None:
    model = Net()
    optimizer = Duck(torch.optim.SGD(model.parameters(), lr=0.1))
    with watch(model, optimizer):
        assert "step" in vars(optimizer)
        # Schedulers wrap the function of a bound method.
        assert optimizer.step.__func__.__name__ == "step"
        pickle.loads(pickle.dumps(optimizer)).step()
        other = copy.deepcopy(optimizer)
    assert "step" not in vars(optimizer)
    heard: list[bool] = []
    handles = Stepper(optimizer).attach(Listener(ended=heard.append))
    other.step()
    copy.deepcopy(optimizer).step()
    assert heard == []
    optimizer.step()
    assert heard == [True]
    around = optimizer.step
    optimizer.step = lambda: around()  # type: ignore[method-assign]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert heard == [True]


def test_a_step_that_raises_is_no_part_of_the_next() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    heard: list[bool] = []
    stepper = Stepper(optimizer)
    stepper.attach(Listener(ended=heard.append))

    def closure() -> float:
        raise ValueError("no such batch")

    with pytest.raises(ValueError, match="no such batch"):
        optimizer.step(closure)
    stepper.forget()
    optimizer.step()
    assert heard == [True]


@pytest.mark.parametrize("given", [3, "adam", [torch.zeros(2)], Net, torch.zeros(3)])
def test_what_is_no_optimizer_is_refused_in_one_line(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^optimizer: got .*accepted are"):
        optimizers_of(given)


class Sam:
    """Climbs to the worst point nearby, takes the gradient there, and steps from where it was."""

    def __init__(self, base: Optimizer, shows: bool) -> None:
        self.param_groups = base.param_groups
        self.base = base if shows else None
        self.hidden = (base,) if shows else (lambda: base)

    @torch.no_grad()
    def first_step(self) -> None:
        parameters = self.param_groups[0]["params"]
        self.old = [p.detach().clone() for p in parameters]
        for p in parameters:
            p.add_(p.grad, alpha=0.1)
            p.grad = None

    @torch.no_grad()
    def second_step(self) -> None:
        for p, old in zip(self.param_groups[0]["params"], self.old, strict=True):
            p.data = old
        base = self.base or self.hidden()
        base.step()
        base.zero_grad()

    def step(self, closure: Any) -> None:
        self.first_step()
        closure()
        self.second_step()


@pytest.mark.parametrize("shows", [True, False])
@pytest.mark.parametrize("way", ["two steps", "closure"])
def test_of_sam_the_second_gradient_and_the_whole_update_are_read(way: str, shows: bool) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = Sam(torch.optim.SGD(model.parameters(), lr=0.1), shows)
    second = 0.0
    with watch(model, optimizer) as monitor:
        for step in range(4):

            def closure(step: int = step) -> None:
                nonlocal second
                loss_of(model, step).backward()
                second = norm([p.grad for p in model.parameters()])

            before = [p.detach().clone() for p in model.head.parameters()]
            loss = loss_of(model, step)
            loss.backward()
            if way == "closure":
                optimizer.step(closure)
            else:
                optimizer.first_step()
                closure()
                optimizer.second_step()
            monitor.step(loss)
            readings = monitor.latest().readings
            change = norm([p - b for p, b in zip(model.head.parameters(), before, strict=True)])
            assert readings["optim/skipped"] == 0.0
            assert readings["optim/update_norm/head"] == pytest.approx(change, rel=1e-4)
            assert readings["optim/grad_norm"] == pytest.approx(second, rel=1e-5)
            assert readings.get("optim/clip_factor", 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("makes", ["closure", "none"])
def test_of_a_closure_the_gradient_is_the_one_it_made(makes: str) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer) as monitor:
        for step in range(3):

            def closure(step: int = step) -> Tensor:
                optimizer.zero_grad()
                loss = loss_of(model, step)
                loss.backward()
                return loss

            loss = optimizer.step(closure) if makes == "closure" else closure()
            optimizer.step() if makes == "none" else None
            monitor.step(loss)
            readings = monitor.latest().readings
            exact = norm([p.grad for p in model.parameters()])
            assert readings["optim/grad_norm"] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("watched_first", [True, False])
def test_optimizers_inside_the_backward_pass_are_read_each_at_its_step(
    to_none: bool, watched_first: bool
) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizers = {p: torch.optim.AdamW([p], lr=1e-2) for p in model.parameters()}
    seen: list[Tensor | None] = []

    def step_now(p: Tensor) -> None:
        seen.append(p.grad.clone() if p.grad is not None else None)
        optimizers[p].step()  # type: ignore[index]
        optimizers[p].zero_grad(set_to_none=to_none)  # type: ignore[index]

    def hook() -> None:
        for p in model.parameters():
            p.register_post_accumulate_grad_hook(step_now)

    if not watched_first:
        hook()
    with watch(model, list(optimizers.values())) as monitor:
        if watched_first:
            hook()
        for step in range(3):
            before = [p.detach().clone() for p in model.head.parameters()]
            seen.clear()
            loss = loss_of(model, step)
            loss.backward()
            monitor.step(loss)
            readings = monitor.latest().readings
            change = norm([p - b for p, b in zip(model.head.parameters(), before, strict=True)])
            assert readings["optim/grad_norm"] == pytest.approx(norm(seen), rel=1e-5)
            assert readings["optim/update_norm/head"] == pytest.approx(change, rel=1e-4)
            assert readings["optim/skipped"] == 0.0


@pytest.mark.parametrize("watched_first", [True, False])
def test_gradients_that_something_unknown_takes_in_the_backward_pass_are_told_as_missing(
    watched_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)

    def take(p: Tensor) -> None:
        with torch.no_grad():
            p.sub_(p.grad, alpha=0.1)
        p.grad = None

    def hook() -> None:
        for p in [*model.embed.parameters(), *model.blocks.parameters()]:
            p.register_post_accumulate_grad_hook(take)

    if not watched_first:
        hook()
    with watch(model, optimizer) as monitor:
        if watched_first:
            hook()
        for step in range(3):
            loss = loss_of(model, step)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.step(loss)
    readings = monitor.latest().readings
    assert "optim/grad_norm" not in readings
    assert "optim/update_norm/head" in readings
    assert any("before the backward pass ends" in row.dark for row in monitor.coverage())
    assert "before the backward pass ends" in caplog.text


@pytest.mark.parametrize("given", ["none", "empty", "part"])
def test_what_no_optimizer_shows_is_read_from_what_has_moved(given: str) -> None:
    torch.manual_seed(0)
    model = Net()
    part = torch.optim.SGD(model.head.parameters(), lr=0.1)
    rest = torch.optim.SGD([*model.embed.parameters(), *model.blocks.parameters()], lr=0.1)
    with watch(model, {"none": None, "empty": [], "part": part}[given]) as monitor:
        for step in range(4):
            before = [p.detach().clone() for p in model.embed.parameters()]
            loss = loss_of(model, step)
            loss.backward()
            moves = step != 2
            if moves:
                part.step()
                rest.step()
            change = norm([p - b for p, b in zip(model.embed.parameters(), before, strict=True)])
            part.zero_grad()
            rest.zero_grad()
            monitor.step(loss)
            readings = monitor.latest().readings
            assert readings["optim/skipped"] == (0.0 if moves else 1.0)
            assert ("optim/update_norm/embed" in readings) == moves
            if moves:
                assert readings["optim/update_norm/embed"] == pytest.approx(change, rel=1e-4)
    assert any("of no optimizer that is watched" in row.module for row in monitor.coverage())


def test_a_wrappers_call_without_a_step_is_a_skipped_one() -> None:
    class Accumulates(Duck):
        count = 0

        def step(self) -> None:
            self.count += 1
            if self.count % 3 == 0:
                super().step()

    torch.manual_seed(0)
    model = Net()
    optimizer = Accumulates(torch.optim.SGD(model.parameters(), lr=0.1))
    skipped, updates = [], []
    with watch(model, optimizer) as monitor:
        for step in range(6):
            loss = loss_of(model, step)
            loss.backward()
            optimizer.step()
            monitor.step(loss)
            readings = monitor.latest().readings
            skipped.append(readings["optim/skipped"])
            updates.append("optim/update_norm/head" in readings)
    assert skipped == [1.0, 1.0, 0.0] * 2
    assert updates == [False, False, True] * 2


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("unscales", [False, True])
def test_a_scaler_that_nobody_named_is_found(fused: bool, unscales: bool) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with watch(model, optimizer) as monitor:
        for step in range(3):
            optimizer.zero_grad()
            loss = loss_of(model, step)
            scaler.scale(loss).backward()
            exact = norm([p.grad for p in model.parameters()]) / scaler.get_scale()
            if unscales:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            monitor.step(loss)
            readings = monitor.latest().readings
            assert readings["optim/grad_norm"] == pytest.approx(exact, rel=1e-4)
            assert readings["optim/clip_factor"] == pytest.approx(1.0, rel=1e-4)


def test_what_is_written_through_data_between_steps_is_no_update() -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with watch(model, optimizer) as monitor:
        for step in range(4):
            optimizer.zero_grad()
            loss = loss_of(model, step)
            loss.backward()
            before = [p.detach().clone() for p in model.head.parameters()]
            optimizer.step()
            change = norm([p - b for p, b in zip(model.head.parameters(), before, strict=True)])
            monitor.step(loss)
            read = monitor.latest().readings["optim/update_norm/head"]
            assert read == pytest.approx(change, rel=1e-4)
            model.head.weight.detach().numpy()[:] *= 0.5
            model.head.bias.data = model.head.bias.data.clone() + 1.0


@pytest.mark.parametrize("way", ["taken away", "beside"])
def test_gradients_that_are_added_up_elsewhere_are_told_as_missing(way: str) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def add_up(p: Tensor) -> None:
        p.main_grad.add_(p.grad)  # type: ignore[attr-defined]
        p.grad = None

    model.head.weight.main_grad = torch.zeros(20, 8)  # type: ignore[assignment]
    if way == "taken away":
        model.head.weight.register_post_accumulate_grad_hook(add_up)
    with watch(model, optimizer) as monitor:
        for step in range(2):
            loss = loss_of(model, step)
            loss.backward()
            if way == "beside":
                model.head.weight.grad = None
            optimizer.step()
            monitor.step(loss)
            optimizer.zero_grad()
            if way == "beside":
                model.head.weight.requires_grad_(False)
    assert "optim/grad_norm" not in monitor.latest().readings
    assert any(row.dark for row in monitor.coverage() if "grad/norm" in row.statistics)


class Clears(Optimizer):
    """Clears its gradients when it has stepped."""

    to_none = True

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in self.param_groups[0]["params"]:
            p.sub_(p.grad, alpha=0.1)
        self.zero_grad(set_to_none=self.to_none)


class Bound(torch.optim.AdamW):
    """Bounds the weights, and clears the gradients, when the class that it is made from has stepped."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        super().step()
        for p in self.param_groups[0]["params"]:
            p.clamp_(-0.1, 0.1)
        self.zero_grad()


def test_what_a_class_does_behind_the_step_of_another_is_a_part_of_it() -> None:
    torch.manual_seed(0)
    model = Net()
    # Torch's hooks are called in the steps of both classes, once each of them was used.
    torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    optimizer = Bound(model.parameters(), lr=1e-2)
    with watch(model, optimizer) as monitor:
        for step in range(3):
            loss = loss_of(model, step)
            loss.backward()
            before = [p.detach().clone() for p in model.head.parameters()]
            optimizer.step()
            monitor.step(loss)
            change = norm([p - b for p, b in zip(model.head.parameters(), before, strict=True)])
            readings = monitor.latest().readings
            assert readings["optim/update_norm/head"] == pytest.approx(change, rel=1e-4)
            assert readings["optim/clip_factor"] == pytest.approx(1.0)
            assert 0.3 < readings["optim/rms_t/head"] < 3


@pytest.mark.parametrize("to_none", [True, False])
def test_a_step_that_clears_its_gradients_gives_no_reading_from_them(to_none: bool) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = Clears(model.parameters(), {})
    optimizer.to_none = to_none
    with watch(model, optimizer) as monitor:
        for step in range(3):
            loss = loss_of(model, step)
            loss.backward()
            exact = norm([p.grad for p in model.parameters()])
            optimizer.step()
            monitor.step(loss)
            readings = monitor.latest().readings
            assert readings["optim/grad_norm"] == pytest.approx(exact, rel=1e-5)
            assert readings["optim/update_norm/head"] > 0
            wrong = ("optim/clip_factor", "optim/rms_t", "grad/cosine", "optim/grad_cosine")
            assert not any(tag.startswith(wrong) for tag in readings)


class Keeps(Optimizer):
    """Signed descent that keeps something under the name of Adam's second moment."""

    def __init__(self, parameters: Any, what: str) -> None:
        super().__init__(parameters, {"lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-8})
        self.what = what

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            state["step"] = state.get("step", 0) + 1
            square = p.grad.square()
            if self.what == "rotated" and p.ndim == 2:
                square = square.roll(1, 0)
            elif self.what == "centred":
                state["mean"] = state.get("mean", torch.zeros_like(p)).lerp(p.grad, 0.5)
                square = (p.grad - state["mean"]).square() * 1e-3
            before = state.get("exp_avg_sq", torch.zeros_like(p))
            kept = before * 0.99 + square * 0.01
            if self.what == "eight bits" and p.ndim == 2:
                kept = kept.as_subclass(Quantised)
            elif self.what == "one a block" and p.ndim == 2:
                kept = kept.mean(1, keepdim=True)
            elif self.what == "half":
                kept = kept.bfloat16()
            state["exp_avg_sq"] = kept
            p.sub_(p.grad.sign(), alpha=1e-3)


class Quantised(Tensor):
    """Stands for moments of eight bits."""


@pytest.mark.parametrize("what", ["second moment", "half", "rotated", "centred", "eight bits", "one a block"])
def test_what_is_no_second_moment_is_not_read_as_one_nor_do_others_stand_for_it(what: str) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = Keeps(model.parameters(), what)
    with watch(model, optimizer) as monitor:
        for step in range(3):
            optimizer.zero_grad()
            loss = loss_of(model, step)
            loss.backward()
            optimizer.step()
            monitor.step(loss)
            found = {tag for tag in monitor.latest().readings if tag.startswith("optim/rms_t")}
            assert bool(found) == (what in ("second moment", "half")), found
            assert monitor.latest().readings["optim/update_norm/head"] > 0


def test_complex_empty_and_single_numbers_are_read_as_any_other() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(20, 8)
            self.turn = nn.Parameter(0.1 * torch.randn(8, 8, dtype=torch.complex64))
            self.none = nn.Parameter(torch.zeros(0, 3))
            self.gain = nn.Parameter(torch.tensor(1.0))
            self.head = nn.Linear(8, 20)

        def forward(self, tokens: Tensor) -> Tensor:
            turned = (self.embed(tokens).to(torch.complex64) @ self.turn).real
            out: Tensor = self.head(turned * self.gain + self.none.sum())
            return out

    torch.manual_seed(0)
    model = Odd()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with watch(model, optimizer) as monitor:
        for step in range(3):
            optimizer.zero_grad()
            loss = loss_of(model, step)
            loss.backward()
            before = torch.view_as_real(model.turn.detach()).clone()
            optimizer.step()
            monitor.step(loss)
            readings = monitor.latest().readings
            grads = [
                torch.view_as_real(g) if g.is_complex() else g for g in (p.grad for p in model.parameters())
            ]
            assert readings["optim/grad_norm"] == pytest.approx(norm(grads), rel=1e-5)
            change = norm([torch.view_as_real(model.turn.detach()) - before])
            assert readings["optim/update_norm/turn"] == pytest.approx(change, rel=1e-4)
            assert readings["optim/update_norm/none"] == 0.0
            assert 0.3 < readings["optim/rms_t/turn"] < 3


def test_a_group_with_a_parameter_that_is_no_plain_numbers_has_no_update() -> None:
    class Wrapped(nn.Parameter):
        """Numbers that only their own class knows to read."""

        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            raise NotImplementedError

    odd = torch.zeros(3).as_subclass(Wrapped)
    plain = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))]
    watched = Watched.of({"one": [plain[0]], "two": [plain[1], odd], "three": []})
    tap = OptimizerTap(None, watched)
    tap.armed = True
    tap.look()
    plain[0].data.add_(1.0)
    tap.end_look()
    assert not tap.dark
    assert tap.step is not None
    assert tap.step.part.places == (0,)
    assert [row.site for row in tap.coverage()] == ["one", "two"]
    assert "two: no updates" in tap.coverage()[1].dark


def test_a_listener_that_raises_ends_no_step_and_is_told_no_more(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise RuntimeError("no such listener")

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Stepper(optimizer).attach(Listener(began=broken, use=broken))
    optimizer.step()
    optimizer.step()
    assert caplog.text.count("no such listener") == 1


def test_steps_inside_the_backward_pass_that_nobody_shows_are_not_skipped_ones() -> None:
    torch.manual_seed(0)
    model = Net()

    def take(p: Tensor) -> None:
        with torch.no_grad():
            p.sub_(p.grad, alpha=0.1)
        p.grad = None

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(take)
    with watch(model, None) as monitor:
        for step in range(4):
            before = [p.detach().clone() for p in model.head.parameters()]
            loss = loss_of(model, step)
            loss.backward()
            change = norm([p - b for p, b in zip(model.head.parameters(), before, strict=True)])
            monitor.step(loss)
            readings = monitor.latest().readings
            assert readings.get("optim/skipped", 0.0) == 0.0
            assert readings.get("optim/update_norm/head", change) == pytest.approx(change, rel=1e-4)
    assert "optim/update_norm/head" in readings
