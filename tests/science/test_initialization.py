"""What the placement of norms does before the first step: published laws of initialisation, measured.

All with unit embeddings, no positions, xavier matrices, RMSNorm and a ReLU feed-forward of width 4·d_model,
at width 96, on random tokens, with the geometric mean over four seeds. Each docstring states the band that
must hold and, in brackets, what was seen: the mean, and the range over seeds where it is wide.
"""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stabilitykit.lab.model import Transformer, TransformerConfig, arch_config
from stabilitykit.lab.validation import validated

pytestmark = pytest.mark.slow

D_MODEL, SEQ_LEN, BATCH, VOCAB = 96, 64, 4, 256
DEPTHS = (4, 8, 16, 32)
SEEDS = range(4)
OUT_NORM_BARE = "out_norm without QK-norm"


@pytest.fixture(scope="module", autouse=True)
def _forget() -> Iterator[None]:
    """Measure once for all tests here, and keep nothing after them."""
    yield
    measured.cache_clear()


def build(arch: str, depth: int, seed: int) -> Transformer:
    bare = arch == OUT_NORM_BARE
    fields: dict[str, Any] = arch_config("out_norm" if bare else arch)
    attention = {**fields.pop("attention", {}), "n_heads": 4} | ({"qk_norm": "none"} if bare else {})
    sizes = {"d_model": D_MODEL, "n_layers": depth, "seq_len": SEQ_LEN, "vocab_size": VOCAB}
    parts = {
        "attention": attention,
        "feedforward": {"gated": False, "activation": "relu", "ratio": 4},
        "position": {"kind": "none"},
        "initialization": {"scheme": "xavier", "embed_std": 1.0},
    }
    return Transformer(validated(TransformerConfig, {**fields, **sizes, **parts}), seed=seed)


@cache
def measured(arch: str, depth: int, seed: int) -> Mapping[str, float]:
    """Return what one model at one seed shows before its first step."""
    model = build(arch, depth, seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    tokens = torch.randint(VOCAB, (BATCH, SEQ_LEN + 1), generator=generator)
    squares: list[float] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        squares.extend(x.detach().square().mean().item() for x in (inputs[0], output))

    last = model.blocks[-1]
    hooks = [last.mlp_norm.register_forward_hook(keep), last.register_forward_hook(keep)]
    logits = model(tokens[:, :-1])
    for hook in hooks:
        hook.remove()
    F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    norms = [block.mlp.down_proj.weight.grad.norm().item() for block in model.blocks]
    with torch.no_grad():
        for module in model.blocks.modules():
            if isinstance(module, nn.Linear):
                noise = torch.randn(module.weight.shape, generator=generator)
                module.weight += 0.02 * module.weight.std() * noise
        change = (model(tokens[:, :-1]) - logits).square().sum() / logits.square().sum()
    return {
        "last gradient": norms[-1],
        "first over last": norms[0] / norms[-1],
        "before the norm": squares[0],
        "line": squares[3],
        "amplification": change.item(),
    }


def mean(arch: str, depth: int, what: str) -> float:
    """Return the geometric mean over seeds."""
    return math.exp(np.mean([math.log(measured(arch, depth, seed)[what]) for seed in SEEDS]))


def exponent(arch: str, what: str) -> float:
    """Return k of the depth^k that fits best."""
    logs = [math.log(mean(arch, depth, what)) for depth in DEPTHS]
    return float(np.polyfit(np.log(DEPTHS), logs, 1)[0])


@pytest.mark.parametrize("arch", ["pre_norm", "double_norm", "out_norm"])
def test_the_last_layers_gradient_falls_as_the_root_of_the_depth(arch: str) -> None:
    """Exponent of the depth in [−0.65, −0.35] (−0.52, −0.45, −0.45); Xiong et al. 2002.04745, theorem 1."""
    assert -0.65 <= exponent(arch, "last gradient") <= -0.35


def test_post_norms_last_gradient_knows_no_depth() -> None:
    """Exponent of the depth 0 ± 0.2 (0.09, seeds 0.05 to 0.13); Xiong et al. 2002.04745, theorem 1."""
    assert abs(exponent("post_norm", "last gradient")) <= 0.2


def test_the_residual_line_of_pre_norm_grows_with_depth() -> None:
    """Mean square after L = 32 blocks in [1 + L/2, 1 + 3L/2] (33, seeds 30 to 36); 2002.04745, lemma 2."""
    assert 1 + 32 / 2 <= mean("pre_norm", 32, "line") <= 1 + 3 * 32 / 2


@pytest.mark.parametrize("arch", ["double_norm", "out_norm"])
def test_normed_branches_each_add_one_to_the_line(arch: str) -> None:
    """Mean square after L = 32 blocks 1 + 2L ± 10 % (64.7, 64.8; seeds 59 to 70)."""
    assert mean(arch, 32, "line") == pytest.approx(1 + 2 * 32, rel=0.1)


def test_post_norm_holds_the_line() -> None:
    """Mean square 1 ± 0.01 after the last norm (1.00), 1.32 ± 0.1 before it (1.28, seeds 1.22 to 1.33)."""
    assert mean("post_norm", 32, "line") == pytest.approx(1, abs=0.01)
    assert mean("post_norm", 32, "before the norm") == pytest.approx(1.32, abs=0.1)


def test_post_norm_amplifies_noise_in_the_weights_with_depth() -> None:
    """Exponent of the depth at least 0.9 (1.08), and at L = 32 at least 4 times pre_norm's change (5.7).

    2 % noise on all matrices of the blocks; what changes is the logits' square. Liu et al. 2004.08249.
    """
    assert exponent("post_norm", "amplification") >= 0.9
    assert mean("post_norm", 32, "amplification") >= 4 * mean("pre_norm", 32, "amplification")


@pytest.mark.parametrize("arch", ["pre_norm", "double_norm", "out_norm"])
def test_norms_in_the_branch_damp_noise_in_the_weights(arch: str) -> None:
    """Exponent of the depth at most 0.55 (0.49, 0.29, 0.28); Liu et al. 2004.08249."""
    assert exponent(arch, "amplification") <= 0.55


def test_out_norm_needs_qk_norm() -> None:
    """Without QK-norm the first gradient dwarfs the last, and noise is amplified faster than the depth.

    First over last gradient at L = 32: without QK-norm at least 50 (691, seeds 552 to 810), with it at most
    8 (5.1). Exponent of the noise's amplification: at least 1.2 (1.69), with it at most 0.5 (0.28). Queries
    and keys that read the bare line grow with it, and the logits as its mean square.
    """
    assert mean(OUT_NORM_BARE, 32, "first over last") >= 50
    assert mean("out_norm", 32, "first over last") <= 8
    assert exponent(OUT_NORM_BARE, "amplification") >= 1.2
    assert exponent("out_norm", "amplification") <= 0.5
