"""Attention of other people's models is seen, changes no bit, and is what the matrix says."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from foreign.attention_reference import Reading, Watch, entropy_of_a_sequence, materialised
from foreign.models import BUILDERS
from foreign.modules import HEADS
from torch import Tensor, nn

pytestmark = pytest.mark.filterwarnings("ignore")

# The classes that are tapped, and how many calls each of their forwards holds.
TAPPED: dict[str, tuple[tuple[str, ...], int]] = {
    "gpt2": (("GPT2Attention",), 1),
    "llama": (("LlamaAttention",), 1),
    "gemma2": (("Gemma2DecoderLayer",), 1),
    "olmo2": (("Olmo2Attention",), 1),
    "gpt_oss": (("GptOssDecoderLayer",), 1),
    "bert": (("BertLayer",), 1),
    "t5": (("T5LayerSelfAttention", "T5LayerCrossAttention"), 1),
    "vit": (("ViTLayer",), 1),
    "swin": (("SwinLayer",), 1),
    "whisper": (("WhisperAttention",), 1),
    "x_transformers_lm": (("Attention",), 1),
    "x_transformers_flash": (("Attention",), 1),
    "x_transformers_vit": (("Attention",), 1),
    "torch_encoder": (("TransformerEncoderLayer",), 1),
    "torch_attention": (("MultiheadAttention",), 1),
    "nanogpt": (("NanoBlock",), 1),
}


def modules_of(model: nn.Module, classes: tuple[str, ...]) -> list[str]:
    return [name for name, module in model.named_modules() if type(module).__name__ in classes]


def agrees(found: Reading, logits: list[Tensor]) -> None:
    """Require the bounds around the largest logit, and the entropy of one of the sequences."""
    largest = max(s.max().item() for s in logits)
    slack = 1e-4 * max(1.0, abs(largest))
    assert found.logit_max <= largest + slack
    assert found.bound >= largest - slack
    assert found.bound >= found.logit_max
    # Of several calls the mean counts, and the smallest head.
    choices = list(product(*(entropy_of_a_sequence(s, HEADS) for s in logits)))
    means = [sum(mean for mean, _ in calls) / len(calls) for calls in choices]
    lowest = [min(low for _, low in calls) for calls in choices]
    distances = [
        max(abs(mean - found.entropy), abs(low - found.entropy_min))
        for mean, low in zip(means, lowest, strict=True)
    ]
    assert min(distances) < 1e-3


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(1.0, torch.float32), (12.0, torch.float32), (12.0, torch.bfloat16)],
    ids=["at the start", "with large weights", "in bfloat16"],
)
@pytest.mark.parametrize("name", TAPPED)
def test_readings_are_those_of_the_materialised_logits(name: str, size: float, dtype: torch.dtype) -> None:
    classes, calls = TAPPED[name]
    model, inputs, loss = BUILDERS[name](dropout=0.0)
    model.to(dtype)
    inputs = {key: x.to(dtype) if x.is_floating_point() else x for key, x in inputs.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(size if parameter.dim() == 2 else 1.0)
    names = modules_of(model, classes)
    expected = materialised(model, names, lambda: loss(model, inputs))
    watch = Watch(model, names)
    loss(model, inputs)
    assert not watch.errors
    found = watch.readings()
    assert set(expected) == set(names)
    for each in names:
        assert found[each].calls == len(expected[each]) == calls
        agrees(found[each], expected[each])


def test_both_calls_of_a_decoder_block_are_counted() -> None:
    model, inputs, loss = BUILDERS["t5"](dropout=0.0)
    names = modules_of(model, ("T5Block",))
    expected = materialised(model, names, lambda: loss(model, inputs))
    watch = Watch(model, names)
    loss(model, inputs)
    found = watch.readings()
    assert [found[each].calls for each in names] == [1, 1, 2, 2, 2]
    for each in names:
        agrees(found[each], expected[each])


def outcome(
    name: str, watched: bool, run: Callable[[nn.Module, Any, Any], Tensor], **fields: Any
) -> list[Tensor]:
    model, inputs, loss = BUILDERS[name](**fields)
    watch = Watch(model, modules_of(model, TAPPED[name][0])) if watched else None
    results = []
    torch.manual_seed(5)
    for _ in range(2):
        value = run(model, inputs, loss)
        value.backward()
        results.append(value.detach())
    if watch:
        assert not watch.errors
        assert all(each.calls == 2 for each in watch.readings().values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [*results, *gradients, torch.get_rng_state()]


def plain(model: nn.Module, inputs: Any, loss: Any) -> Tensor:
    return loss(model, inputs)


def autocast(model: nn.Module, inputs: Any, loss: Any) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return loss(model, inputs)


@pytest.mark.parametrize(
    ("run", "dropout"), [(plain, 0.0), (plain, 0.2), (autocast, 0.0)], ids=["plain", "dropout", "autocast"]
)
@pytest.mark.parametrize("name", TAPPED)
def test_loss_gradients_and_random_state_are_bit_equal(name: str, dropout: float, run: Any) -> None:
    bare = outcome(name, False, run, dropout=dropout)
    seen = outcome(name, True, run, dropout=dropout)
    assert all(torch.equal(a, b) for a, b in zip(bare, seen, strict=True))
