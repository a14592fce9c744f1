"""Attention in compiled models: one graph, no bit changed, the same readings; and flex_attention."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from foreign.attention_reference import Watch, entropies
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

pytestmark = pytest.mark.filterwarnings("ignore")

LAYERS = 10
T = 24


def near(s: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return 4 * torch.tanh(s / 4) - 0.1 * (q - k).abs()


def causal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return q >= k


class Flex(nn.Module):
    """A layer of flex_attention with a capped score and a causal mask."""

    def __init__(self, compiled: bool) -> None:
        super().__init__()
        self.attend = torch.compile(flex_attention, backend="eager") if compiled else flex_attention
        self.mask = create_block_mask(causal, None, None, T, T, device="cpu", BLOCK_SIZE=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x, x[:, ::2], x[:, ::2], score_mod=near, block_mask=self.mask, enable_gqa=True)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
def test_flex_attention_is_seen_in_more_layers_than_may_be_compiled(compiled: bool) -> None:
    torch._dynamo.reset()
    model = nn.Sequential(*(Flex(compiled) for _ in range(LAYERS)))
    x = torch.randn(2, 4, T, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        inputs = [x]
        for layer in model:
            inputs.append(layer(inputs[-1]))
        watch = Watch(model, [str(i) for i in range(LAYERS)])
        assert torch.equal(model(x), inputs[-1])
    assert not watch.errors
    i, j = torch.arange(T)[:, None], torch.arange(T)
    for found, y in zip(watch.readings().values(), inputs, strict=False):
        s = y.double() @ y[:, ::2].repeat_interleave(2, 1).double().mT * 8**-0.5
        s = (4 * torch.tanh(s / 4) - 0.1 * (i - j).abs()).masked_fill(j > i, -math.inf)
        assert found.calls == 1
        assert found.logit_max <= s.max().item() + 1e-5 <= found.bound + 2e-5
        heads = entropies(s.clamp_min(-1e30), 7)
        assert (heads.mean(-1) - found.entropy).abs().min().item() < 1e-3


PROGRAM = """
import sys
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from foreign.attention_reference import Watch
from foreign.attention_paths import MULTIHEAD, PATHS, WRITTEN_OUT, less_its_peak
from foreign.attention_paths import B, Call, D, Multihead, S

CASES = {
    **{name: lambda name=name: Call(PATHS[name][0]) for name in ("causal", "truth values, 4-D", "dropout")},
    **{name: lambda name=name: Call(WRITTEN_OUT[name]) for name in ("F.softmax", "a sink")},
    "its peak": lambda: Call(less_its_peak),
    **{name: lambda name=name: Multihead(*MULTIHEAD[name]) for name in ("weights", "no weights", "mask")},
}


def run(name, compiled, watched):
    torch._dynamo.reset()
    torch.manual_seed(0)
    module = CASES[name]()
    watch = Watch(module, [""]) if watched else None
    counter = CompileCounterWithBackend("aot_eager")
    forward = torch.compile(module, backend=counter, fullgraph=True) if compiled else module
    g = torch.Generator().manual_seed(1)
    values, readings = [], []
    torch.manual_seed(3)
    for step in range(4):
        module.zero_grad()
        out = forward(torch.randn(B, S, D, generator=g))
        out.square().mean().backward()
        values += [out.detach(), *(p.grad.clone() for p in module.parameters())]
        if watch:
            readings.append(watch.readings()[""])
            watch.buffer.reset()
    if watch and watch.errors:
        raise watch.errors[0]
    return counter.frame_count, [*values, torch.get_rng_state()], readings


for name in CASES:
    _, bare, _ = run(name, True, False)
    graphs, seen, compiled = run(name, True, True)
    _, _, eager = run(name, False, True)
    if graphs != 1:
        sys.exit(f"{name}: {graphs} graphs")
    if not all(torch.equal(a, b) for a, b in zip(bare, seen, strict=True)):
        sys.exit(f"{name}: not bit-equal")
    for a, b in zip(compiled, eager, strict=True):
        close = all(abs(x - y) < 1e-4 for x, y in zip(a[2:4], b[2:4]))
        close = close and abs(a.logit_max - b.logit_max) < 1e-4 and abs(a.bound - b.bound) < 1e-4
        if not close or a.kind != b.kind or not a.calls == b.calls == 1:
            sys.exit(f"{name}: {a} instead of {b}")
print(len(CASES), "cases")
"""


@pytest.mark.slow
def test_a_compiled_model_is_one_graph_and_reads_as_an_eager_one() -> None:
    # In a process of its own: the checks of shapes around every function here cannot be compiled.
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    environment = {"PYTHONPATH": f"{tests}:{tests.parent}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "9 cases"
