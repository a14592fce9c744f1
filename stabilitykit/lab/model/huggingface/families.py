"""The families of transformers models that can be read, by their ``model_type``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stabilitykit.lab.model.huggingface import classic, gated, layernorms, llama_like, more_names, names
from stabilitykit.lab.model.huggingface.weights import Names
from stabilitykit.lab.nested import Fields


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
    "gpt_bigcode": Family(layernorms.gpt_bigcode, more_names.GPT_BIGCODE),
    "gpt_neo": Family(layernorms.gpt_neo, more_names.GPT_NEO),
    "codegen": Family(layernorms.codegen, more_names.CODEGEN),
    "mpt": Family(layernorms.mpt, more_names.MPT),
    "biogpt": Family(layernorms.biogpt, more_names.BIOGPT),
    "xglm": Family(layernorms.xglm, more_names.XGLM),
    "ctrl": Family(layernorms.ctrl, more_names.CTRL),
    "phi": Family(layernorms.phi, more_names.PHI),
    "persimmon": Family(layernorms.persimmon, more_names.PERSIMMON),
    "stablelm": Family(layernorms.stablelm, more_names.STABLELM),
    "starcoder2": Family(layernorms.starcoder2, more_names.STARCODER2),
    "jais2": Family(layernorms.jais2, names.LLAMA),
    "phi3": Family(llama_like.phi3, more_names.PHI3),
    "internlm3": Family(gated.llama, names.LLAMA),
    "iquestcoder": Family(gated.llama, names.LLAMA),
    "ministral": Family(llama_like.ministral, names.LLAMA),
    "ministral3": Family(llama_like.ministral3, names.LLAMA),
    "cwm": Family(llama_like.ministral, names.LLAMA),
    "smollm3": Family(llama_like.smollm3, names.LLAMA),
    "seed_oss": Family(llama_like.seed_oss, names.LLAMA),
    "ernie4_5": Family(llama_like.ernie4_5, names.LLAMA),
    "helium": Family(llama_like.helium, names.LLAMA),
    "arcee": Family(llama_like.arcee, names.LLAMA),
    "apertus": Family(llama_like.apertus, more_names.APERTUS),
    "exaone4": Family(llama_like.exaone4, more_names.EXAONE4),
    "glm": Family(llama_like.glm, more_names.GLM),
    "glm4": Family(llama_like.glm4, more_names.GLM4),
    "granite": Family(llama_like.granite, names.LLAMA),
    "granite_swa": Family(llama_like.granite_swa, more_names.GRANITE_SWA),
    "hyperclovax": Family(llama_like.hyperclovax, more_names.HYPERCLOVAX),
    "hunyuan_v1_dense": Family(llama_like.hunyuan, more_names.HUNYUAN),
    "vaultgemma": Family(llama_like.vaultgemma, more_names.VAULTGEMMA),
    "bitnet": Family(llama_like.bitnet, more_names.BITNET),
    "nanochat": Family(llama_like.nanochat, more_names.NANOCHAT),
    "dots1": Family(llama_like.dots1, names.LLAMA),
    "gpt_oss": Family(llama_like.gpt_oss, more_names.GPT_OSS),
}
"""The causal language model of each has been compared with ours, logits and gradients."""
