"""The families of transformers models that can be read, by their ``model_type``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stabilitykit.model.huggingface import classic, gated, names
from stabilitykit.model.huggingface.reading import Fields
from stabilitykit.model.huggingface.weights import Names


@dataclass(frozen=True, slots=True)
class Family:
    """How one family is read."""

    fields: Callable[[Any], Fields]
    """From its configuration to the fields of ours."""
    names: Names
    """Where it keeps its weights."""


FAMILIES: dict[str, Family] = {
    "openai-gpt": Family(classic.gpt1, names.GPT1),
    "gpt2": Family(classic.gpt2, names.GPT2),
    "opt": Family(classic.opt, names.OPT),
    "gptj": Family(classic.gptj, names.GPTJ),
    "gpt_neox": Family(classic.gpt_neox, names.GPT_NEOX),
    "bloom": Family(classic.bloom, names.BLOOM),
    "falcon": Family(classic.falcon, names.FALCON),
    "nemotron": Family(classic.nemotron, names.LLAMA),
    "llama": Family(gated.llama, names.LLAMA),
    "mistral": Family(gated.mistral, names.LLAMA),
    "qwen2": Family(gated.qwen2, names.LLAMA),
    "qwen3": Family(gated.qwen3, names.LLAMA),
    "olmo": Family(gated.olmo, names.LLAMA),
    "olmo2": Family(gated.olmo2, names.OUT_NORM),
    "olmo3": Family(gated.olmo3, names.OUT_NORM),
    "gemma": Family(gated.gemma, names.LLAMA),
    "gemma2": Family(gated.gemma2, names.DOUBLE_NORM),
    "gemma3_text": Family(gated.gemma3, names.DOUBLE_NORM),
    "cohere": Family(gated.cohere, names.LLAMA),
    "cohere2": Family(gated.cohere2, names.LLAMA),
    "llama4_text": Family(gated.llama4, names.LLAMA4),
}
"""The causal language model of each has been compared with ours, logits and gradients."""
