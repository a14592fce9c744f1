"""Every way of calling attention: seen once, bit-equal, and right."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from foreign.attention_paths import (
    MULTIHEAD,
    PATHS,
    WRITTEN_OUT,
    B,
    Call,
    D,
    H,
    Multihead,
    S,
    less_its_peak,
    less_its_peak_in_place,
    sdpa,
    with_sink,
)
from foreign.attention_reference import Reading, Watch, entropy_of_a_sequence, materialised
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@pytest.fixture
def x() -> Tensor:
    return torch.randn(B, S, D, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _fixed() -> None:
    torch.manual_seed(0)


def seen(module: nn.Module, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor] | None = None) -> Reading:
    """Return what a tap reads, after it was shown to change no bit of outputs, gradients and random state."""
    run = run or (lambda module, x: module(x))
    results = []
    for watched in (False, True):
        watch = Watch(module, [""]) if watched else None
        module.zero_grad()
        torch.manual_seed(3)
        out = run(module, x)
        out.float().square().mean().backward()
        results.append([out, *(p.grad.clone() for p in module.parameters()), torch.get_rng_state()])
        if watch:
            watch.remove()
            assert watch.errors == []
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    return watch.readings()[""]


def agrees(found: Reading, module: nn.Module, x: Tensor, exact: bool = False, low: bool = False) -> None:
    torch.manual_seed(3)
    [logits] = materialised(module, [""], lambda: module(x))[""]
    largest = logits.max().item()
    slack = (0.05 if low else 1e-4) * max(1.0, abs(largest))
    assert found.calls == 1
    assert found.logit_max <= largest + slack
    assert found.bound >= largest - slack
    if exact:
        assert found.logit_max == found.bound == pytest.approx(largest, abs=slack)
    tolerance = 0.02 if low else 1e-3
    distances = [
        max(abs(mean - found.entropy), abs(low - found.entropy_min))
        for mean, low in entropy_of_a_sequence(logits, H)
    ]
    assert min(distances) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("path", PATHS)
def test_calls_of_the_kernel(path: str, dtype: torch.dtype, x: Tensor) -> None:
    attend, sizes, kind = PATHS[path]
    module = Call(attend, **sizes).to(dtype)
    found = seen(module, x.to(dtype))
    agrees(found, module, x.to(dtype), low=dtype != torch.float32)
    assert found.kind == kind


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "path", ["causal", "truth values, 4-D", "numbers, 4-D", "dropout", "5-D", "3-D", "shared keys"]
)
def test_calls_of_the_kernel_under_autocast(path: str, dtype: torch.dtype, x: Tensor) -> None:
    attend, sizes, _ = PATHS[path]
    module = Call(attend, **sizes)

    def run(module: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=dtype):
            return module(x)

    found = seen(module, x, run)
    agrees(found, module, x, low=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("path", WRITTEN_OUT)
def test_attention_written_out(path: str, dtype: torch.dtype, x: Tensor) -> None:
    module = Call(WRITTEN_OUT[path]).to(dtype)
    found = seen(module, x.to(dtype))
    agrees(found, module, x.to(dtype), exact=True)


@pytest.mark.parametrize("attend", [less_its_peak, less_its_peak_in_place])
def test_a_maximum_that_was_subtracted_is_put_back(attend: Callable[..., Tensor], x: Tensor) -> None:
    module, before = Call(attend), Call(with_sink)
    before.load_state_dict(module.state_dict())
    found = seen(module, x)
    agrees(found, before, x, exact=True)


@pytest.mark.parametrize("path", MULTIHEAD)
def test_the_paths_of_torchs_own_attention(path: str, x: Tensor) -> None:
    module = Multihead(*MULTIHEAD[path])
    found = seen(module, x)
    agrees(found, module, x)


def test_the_functions_of_torch_stay_what_they_are(x: Tensor) -> None:
    functions = F.softmax, F.scaled_dot_product_attention
    found = []
    module = Multihead(*MULTIHEAD["weights"])
    Watch(module, [""])
    module.attn.register_forward_pre_hook(
        lambda *_: found.append((F.softmax, F.scaled_dot_product_attention))
    )
    with pytest.raises(AssertionError):
        module(x[..., :3])
    assert found == [functions]
    assert (F.softmax, F.scaled_dot_product_attention) == functions
    assert torch.overrides._get_current_function_mode_stack() == []


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("path", ["causal", "dropout"])
def test_a_recomputation_is_not_counted(path: str, reentrant: bool, x: Tensor) -> None:
    module = Call(PATHS[path][0])

    def run(module: nn.Module, x: Tensor) -> Tensor:
        return checkpoint(module, x.clone().requires_grad_(), use_reentrant=reentrant)

    assert seen(module, x, run).calls == 1


class Other(nn.Module):
    """Softmaxes that are no attention: routers, a gate over heads, a mixing of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(D, 16)
        self.stacked = nn.Parameter(torch.randn(B, D, 16))
        self.experts = nn.Parameter(torch.randn(D, 16))
        self.gate = nn.Linear(D, 4 * 16)

    def forward(self, x: Tensor) -> Tensor:
        routed = F.softmax(self.router(x), dim=-1)
        bare = torch.softmax(x @ self.experts, dim=-1)
        batched = torch.bmm(x, self.stacked).softmax(-1)
        gated = self.gate(x).view(B, S, 4, 16).softmax(-1)
        flat = F.softmax(self.router(x.flatten(0, 1)), dim=-1)
        over_tokens = self.router(x).softmax(1)
        everything = (routed, bare, batched, gated, flat, over_tokens)
        return torch.stack([each.square().sum() for each in everything])


def test_a_softmax_that_is_no_attention_is_left_alone(x: Tensor) -> None:
    assert seen(Other(), x).calls == 0


def test_a_router_beside_attention_is_left_alone(x: Tensor) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend, self.other = Call(WRITTEN_OUT["F.softmax"]), Other()

        def forward(self, x: Tensor) -> Tensor:
            return self.attend(x).sum() + self.other(x).sum()

    assert seen(Both(), x).calls == 1


def test_few_keys_give_no_reading(x: Tensor) -> None:
    for attend in (sdpa(), WRITTEN_OUT["einsum"]):
        assert seen(Call(attend, queries=7, keys=7), x).calls == 0


@pytest.mark.parametrize("only_inside", [False, True])
def test_evaluation_runs_without_the_mode(only_inside: bool, x: Tensor) -> None:
    layer = nn.TransformerEncoderLayer(D, 2, 16, batch_first=True).eval()
    # A frozen part may be in evaluation inside a block in training.
    layer.training = only_inside
    modes = []
    layer.linear1.register_forward_pre_hook(
        lambda *_: modes.append(torch.overrides._get_current_function_mode_stack())
    )
    with torch.no_grad():
        bare = layer(x)
        watch = Watch(layer, [""])
        assert torch.equal(layer(x), bare)
    assert all(stack == [] for stack in modes)
    assert watch.readings()[""].calls == 0


def test_what_is_changed_in_place_afterwards_is_not_read(x: Tensor) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch.no_grad():
            out = F.scaled_dot_product_attention(q, k, v)
            k.zero_()
        return out

    module = Call(attend)
    watch = Watch(module, [""])
    module(x)
    assert watch.readings()[""].calls == 0
    assert "changed in place" in str(watch.errors[0])


def test_an_exception_in_the_model_is_its_own_and_leaves_no_mode(x: Tensor) -> None:
    module = Call(lambda q, k, v: F.scaled_dot_product_attention(q, k[..., :3], v))
    with pytest.raises(RuntimeError) as bare:
        module(x)
    Watch(module, [""])
    with pytest.raises(RuntimeError) as watched:
        module(x)
    assert str(watched.value) == str(bare.value)
    assert torch.overrides._get_current_function_mode_stack() == []


def test_much_is_not_held_until_the_end(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stabilitykit.observe.attention.pending._LIMIT", 0)
    module = Call(sdpa(is_causal=True))
    watch = Watch(module, [""])
    for _ in range(3):
        module(x)
    assert watch.taps[0]._pending._groups == {}
    assert watch.readings()[""].calls == 3
