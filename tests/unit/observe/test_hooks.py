"""Watching is in nobody's way: copies are unwatched, and only what training learns from is read."""

import copy
import io
import pickle
import warnings
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from stabilitykit import watch
from stabilitykit.observe.hook import Hook, hook_input, hook_output


class Block(nn.Module):
    """A block with attention and a feed-forward."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in self.qkv(self.norm(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))


class Model(nn.Module):
    """Two blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(32, 16)
        self.layers = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(16, 32)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def batch(n: int) -> Tensor:
    return torch.randint(0, 32, (2, 13), generator=torch.Generator().manual_seed(n))


def loss_of(model: nn.Module, n: int) -> Tensor:
    ids = batch(n)
    return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


def run(between: Any = None, prepare: Any = None, steps: int = 5) -> list[dict[str, float]]:
    """Return the readings of a watched run; ``between(model, n)`` runs before the forward of step n."""
    torch.manual_seed(0)
    model = Model()
    if prepare:
        prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = []
    with watch(model, optimizer) as monitor:
        for n in range(steps):
            if between:
                between(model, n)
            loss = loss_of(model, n)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
            latest = monitor.latest()
            assert latest is not None
            found.append(dict(latest.readings))
    return found


@cache
def bare() -> list[dict[str, float]]:
    """Return the readings of a run in which nothing else happens."""
    return run()


def n_hooks(model: nn.Module) -> int:
    return sum(
        len(registry)
        for module in model.modules()
        for registry in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._forward_hooks_with_kwargs,
            module._forward_hooks_always_called,
            module._forward_pre_hooks_with_kwargs,
        )
    )


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    assert b"stabilitykit" not in file.getvalue()
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "save": saved,
    "average": lambda model: torch.optim.swa_utils.AveragedModel(model).module,
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_has_no_hook_and_changes_no_reading(how: str) -> None:
    def copied(model: nn.Module, n: int) -> None:
        twin = COPIES[how](model)
        assert n_hooks(twin) == 0
        twin(batch(9))

    assert run(copied) == bare()


def test_hooks_of_the_users_own_are_copied_and_ours_are_not() -> None:
    module = nn.Linear(2, 2)
    calls: list[str] = []
    own = module.register_forward_hook(lambda *_: calls.append("own"))
    handles = [hook_input(module, lambda *_: None), hook_output(module, lambda *_: None, always_call=True)]
    twin = copy.deepcopy(module)
    assert (len(twin._forward_hooks), len(twin._forward_pre_hooks)) == (1, 0)
    twin(torch.zeros(1, 2))
    assert calls == ["own"]
    for handle in handles:
        handle.remove()
    own.remove()
    assert n_hooks(module) == 0
    assert not vars(module._forward_hooks)


def test_a_copied_hook_does_nothing() -> None:
    calls: list[int] = []
    hook = Hook(calls.append)
    copy.deepcopy(hook)(1)
    pickle.loads(pickle.dumps(hook))(1)
    assert calls == []
    hook(2)
    assert calls == [2]


def test_a_watched_model_can_be_scripted() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    hook_output(model[0], lambda *_: 1 / 0)
    hook_input(model, lambda *_: 1 / 0)
    torch.jit._recursive.get_hook_stubs(model)
    assert torch.jit._recursive.get_hook_stubs(model[0]) == ([], [])


def rollout(model: nn.Module, n: int) -> None:
    with torch.no_grad():
        model(batch(n + 50)[:, :10])


def inference(model: nn.Module, n: int) -> None:
    with torch.inference_mode():
        model(batch(n + 50)[:, :10])


def validation(model: nn.Module, n: int) -> None:
    was = model.training
    loss_of(model.eval(), n + 50).item()
    model.train(was)


def transformed(model: nn.Module, n: int) -> None:
    weights = {name: p.detach() for name, p in model.named_parameters()}
    ids = batch(n + 50)[:, :12]

    def one(w: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, w, (x[None],)).mean()

    with sdpa_kernel(SDPBackend.MATH):
        torch.func.vmap(torch.func.grad(one), (None, 0))(weights, ids)


def traced(model: nn.Module, n: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch.jit.trace(model, batch(n + 50)[:, :12], check_trace=False).graph
    assert "copy_" not in str(graph)


@pytest.mark.parametrize("between", [rollout, inference, validation, transformed, traced])
def test_a_forward_that_training_does_not_learn_from_is_not_read(between: Any) -> None:
    assert run(between) == bare()


@pytest.mark.parametrize("between", [None, rollout, validation])
def test_a_model_in_evaluation_mode_is_read_where_a_backward_pass_goes_through_it(between: Any) -> None:
    def in_evaluation(model: nn.Module) -> None:
        model.eval()

    # The model has no dropout: its readings are those of training mode.
    assert run(between, in_evaluation) == bare()


def test_microbatches_in_evaluation_mode_all_count() -> None:
    def accumulated(train: bool) -> dict[str, float]:
        torch.manual_seed(0)
        model = Model().train(train)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with watch(model, optimizer) as monitor:
            for n in range(3):
                for part in range(2):
                    loss = loss_of(model, 2 * n + part)
                    loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                validation(model, n)
                monitor.step(loss)
        latest = monitor.latest()
        assert latest is not None
        return dict(latest.readings)

    assert accumulated(False) == accumulated(True)


def test_two_monitors_see_what_one_sees() -> None:
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer) as outer:
        with watch(model, optimizer) as inner:
            for n in range(3):
                loss = loss_of(model, n)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                outer.step(loss)
                inner.step(loss)
            both = [monitor.latest() for monitor in (outer, inner)]
        assert all(one is not None and dict(one.readings) == bare()[2] for one in both)
        loss = loss_of(model, 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        outer.step(loss)
    latest = outer.latest()
    assert latest is not None
    assert dict(latest.readings) == bare()[3]


def test_lazy_parameters_are_watched_once_they_have_a_shape() -> None:
    def lazy(model: nn.Module) -> None:
        model.head = nn.LazyLinear(32)

    assert run(prepare=lazy)[-1].keys() == bare()[-1].keys()


def test_an_interrupt_in_a_forward_leaves_no_mode_and_stops_no_reading() -> None:
    def interrupted(model: nn.Module, n: int) -> None:
        if n != 2:
            return
        handle = model.layers[1].out.register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            model(batch(0))
        handle.remove()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    found = run(interrupted)
    assert torch._C._len_torch_function_stack() == 0
    assert found[-1].keys() == bare()[-1].keys()


def test_a_site_that_fails_once_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from stabilitykit.observe import tap

    failing = [False]
    write = tap.write_norm_and_range

    def broken(*args: Any) -> None:
        if failing[0]:
            raise RuntimeError("not now")
        write(*args)

    monkeypatch.setattr(tap, "write_norm_and_range", broken)

    def at(steps: tuple[int, ...]) -> list[bool]:
        def between(model: nn.Module, n: int) -> None:
            failing[0] = n in steps

        return ["act/rms/blocks.00.resid_post" in each for each in run(between, steps=7)]

    assert at((3,)) == [True, True, True, False, True, True, True]
    assert at((1, 2, 3)) == [True, False, False, False, False, False, False]
