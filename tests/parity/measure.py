"""Compare our transformer with the public classes: run as a script, writes docs/parity.md."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import transformers
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from stabilitykit.lab.model import from_hf
from stabilitykit.lab.model.huggingface import FAMILIES, translated
from stabilitykit.lab.model.huggingface.reasons import reason

TABLE = Path(__file__).parents[2] / "docs" / "parity.md"
CAUSAL = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
"""The families that transformers has a causal language model of."""
VOCABULARY, LENGTH = 61, 24

_NEW = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
_WIDE = {**_NEW, "intermediate_size": 48, "max_position_embeddings": 32}
_TWO = {**_WIDE, "num_attention_heads": 2}
_SHARED = {**_WIDE, "num_key_value_heads": 2}
_SIZED = {**_SHARED, "head_dim": 10}
_OLD = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 32,
    "bos_token_id": None,
    "eos_token_id": None,
}
_OPT = {**_NEW, "ffn_dim": 48, "max_position_embeddings": 32, "word_embed_proj_dim": 32}
_BLOOM = {"vocab_size": VOCABULARY, "hidden_size": 36, "n_layer": 3, "n_head": 6}
_FALCON = {**_NEW, "max_position_embeddings": 32, "ffn_hidden_size": 48}
_GEMMA2 = {
    **_SIZED,
    "sliding_window": 7,
    "query_pre_attn_scalar": 3,
    "attn_logit_softcapping": 0.5,
    "final_logit_softcapping": 2.0,
}
_GEMMA3 = {**_SIZED, "num_hidden_layers": 7, "sliding_window": 7, "query_pre_attn_scalar": 3}
_LLAMA4 = {
    **_SIZED,
    "intermediate_size_mlp": 40,
    "moe_layers": [],
    "attention_chunk_size": 8,
    "floor_scale": 8,
}

_OPT350 = {
    "do_layer_norm_before": False,
    "hidden_size": 1024,
    "word_embed_proj_dim": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "ffn_dim": 4096,
}
_BLOOM176 = {"hidden_size": 14_336, "n_layer": 70, "n_head": 112}
_LLAMA2 = {"rms_norm_eps": 1e-5, "max_position_embeddings": 4096}
_LLAMA3 = {
    "vocab_size": 128_256,
    "intermediate_size": 14_336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
}
_SLOW = {"rope_type": "default", "rope_theta": 1e6}
_QWEN2 = {
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 131_072,
    "rope_parameters": _SLOW,
}
_QWEN3 = {
    "intermediate_size": 12_288,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "max_position_embeddings": 40_960,
    "rope_parameters": _SLOW,
}
_OLMO2 = {
    "vocab_size": 100_352,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
}
_OLMO3 = {
    "vocab_size": 100_278,
    "max_position_embeddings": 65_536,
    "rms_norm_eps": 1e-6,
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 8.0,
        "original_max_position_embeddings": 8192,
        "attention_factor": 1.2079441541679836,
    },
}
_GEMMA3_4B = {
    "vocab_size": 262_144,
    "hidden_size": 2560,
    "intermediate_size": 10_240,
    "num_hidden_layers": 34,
    "sliding_window": 1024,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
}


class Case(NamedTuple):
    """One public class in one configuration."""

    name: str
    """The class, and what is particular."""
    config: str
    """The configuration's class."""
    fields: dict[str, Any]
    preset: str | None = None
    """The preset that is this class at the size of its release."""
    released: dict[str, Any] | None = None
    """What the release's configuration has beside the class's defaults."""

    def build(self) -> nn.Module:
        """Return the public model with random weights, gains and biases, ready to be compared."""
        config = getattr(transformers, self.config)(**self.fields)
        config._attn_implementation = "eager"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: nn.Module = getattr(transformers, self.name.split()[0])(config)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                std = 0.15 if parameter.dim() > 1 else 0.3
                parameter.add_(torch.randn(parameter.shape, generator=generator) * std)
        return model.eval()


class Row(NamedTuple):
    """What was measured for a case."""

    case: Case
    logits: float
    """Largest difference of a logit."""
    largest: float
    """Largest logit."""
    gradients: float
    """Largest error of any parameter's gradient, as a share of the largest entry of that gradient."""


CASES = (
    Case("OpenAIGPTLMHeadModel", "OpenAIGPTConfig", _OLD, "gpt1"),
    Case("GPT2LMHeadModel", "GPT2Config", _OLD, "gpt2"),
    Case("OPTForCausalLM", "OPTConfig", _OPT, "opt"),
    Case(
        "OPTForCausalLM (post-norm)",
        "OPTConfig",
        {**_OPT, "do_layer_norm_before": False},
        "opt_post",
        _OPT350,
    ),
    Case("GPTJForCausalLM", "GPTJConfig", {**_OLD, "n_head": 2, "rotary_dim": 4}, "gptj"),
    Case("GPTNeoXForCausalLM", "GPTNeoXConfig", _TWO, "gpt_neox"),
    Case("GPTNeoXForCausalLM (serial)", "GPTNeoXConfig", {**_TWO, "use_parallel_residual": False}),
    Case("BloomForCausalLM", "BloomConfig", _BLOOM, "bloom", _BLOOM176),
    Case(
        "BloomForCausalLM (normed line)",
        "BloomConfig",
        {**_BLOOM, "apply_residual_connection_post_layernorm": True},
    ),
    Case("FalconForCausalLM", "FalconConfig", _FALCON, "falcon"),
    Case(
        "FalconForCausalLM (two norms, grouped)",
        "FalconConfig",
        {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": True},
    ),
    Case(
        "FalconForCausalLM (serial, all heads)",
        "FalconConfig",
        {**_FALCON, "parallel_attn": False, "multi_query": False},
    ),
    Case("NemotronForCausalLM", "NemotronConfig", _SHARED, "nemotron4", {"num_key_value_heads": 8}),
    Case("LlamaForCausalLM", "LlamaConfig", {**_WIDE, "rms_norm_eps": 1e-5}, "llama2", _LLAMA2),
    Case(
        "LlamaForCausalLM (grouped)",
        "LlamaConfig",
        {**_SHARED, "rms_norm_eps": 1e-5, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
        "llama3",
        _LLAMA3,
    ),
    Case(
        "LlamaForCausalLM (biases, wide heads, tied)",
        "LlamaConfig",
        {**_SIZED, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    Case(
        "MistralForCausalLM",
        "MistralConfig",
        {**_SHARED, "rms_norm_eps": 1e-5, "sliding_window": 7},
        "mistral",
        {"rms_norm_eps": 1e-5, "max_position_embeddings": 32_768},
    ),
    Case("Qwen2ForCausalLM", "Qwen2Config", _SHARED, "qwen2", _QWEN2),
    Case("Qwen3ForCausalLM", "Qwen3Config", _SIZED, "qwen3", _QWEN3),
    Case("OlmoForCausalLM", "OlmoConfig", _WIDE, "olmo1"),
    Case("OlmoForCausalLM (clipped)", "OlmoConfig", {**_SHARED, "clip_qkv": 0.4}),
    Case("Olmo2ForCausalLM", "Olmo2Config", _WIDE, "olmo2", _OLMO2),
    Case("Olmo3ForCausalLM", "Olmo3Config", {**_SHARED, "sliding_window": 7}, "olmo3", _OLMO3),
    Case("GemmaForCausalLM", "GemmaConfig", _SIZED, "gemma"),
    Case("Gemma2ForCausalLM", "Gemma2Config", _GEMMA2, "gemma2"),
    Case("Gemma3ForCausalLM", "Gemma3TextConfig", _GEMMA3, "gemma3", _GEMMA3_4B),
    Case("CohereForCausalLM", "CohereConfig", _SHARED, "cohere"),
    Case("CohereForCausalLM (qk-norm)", "CohereConfig", {**_SHARED, "use_qk_norm": True}),
    Case("Cohere2ForCausalLM", "Cohere2Config", {**_SHARED, "sliding_window": 7}, "command_a"),
    Case("Llama4ForCausalLM (dense)", "Llama4TextConfig", _LLAMA4, "llama4", {"moe_layers": []}),
    Case(
        "Llama4ForCausalLM (dense, no qk-norm)",
        "Llama4TextConfig",
        {**_LLAMA4, "use_qk_norm": False, "attn_temperature_tuning": False},
    ),
)
CASES += tuple(
    Case(*more) for more in runpy.run_path(str(Path(__file__).with_name("more_cases.py")))["CASES"]
)


def measured(case: Case) -> Row:
    """Return how far our transformer's logits and gradients are from the public model's."""
    theirs = case.build()
    ours = from_hf(theirs).eval()
    tokens = torch.randint(VOCABULARY, (2, LENGTH + 1), generator=torch.Generator().manual_seed(2))
    expected = _backward(theirs, lambda x: theirs(x, use_cache=False).logits, tokens)
    got = _backward(ours, ours, tokens)
    return Row(case, _largest(got - expected), _largest(expected), _gradient_error(theirs, ours))


def table(rows: list[Row]) -> str:
    """Return the page that shows what was measured."""
    lines = [
        f"| `{row.case.name.split()[0]}` {row.case.name.partition(' ')[2]} | {_preset(row.case)} "
        f"| {row.largest:.1f} | {row.logits:.0e} | {row.gradients:.0e} |"
        for row in rows
    ]
    introduction = _INTRODUCTION.format(version=transformers.__version__)
    return "\n".join([introduction, *lines, "", families()])


def families() -> str:
    """Return the section that says of every causal language model whether fields express it."""
    groups: dict[str, list[str]] = {}
    for kind in sorted(set(CAUSAL) - set(FAMILIES) - {"gpt-sw3"}):
        because = _because(kind)
        groups.setdefault(because.partition(" (")[0], []).append(kind)
    expressed = ", ".join(f"`{kind}`" for kind in sorted(FAMILIES))
    lines = [
        f"| {because} | {', '.join(f'`{kind}`' for kind in groups[because])} |"
        for because in sorted(groups, key=lambda because: (because == _UNREAD, -len(groups[because])))
    ]
    return "\n".join([_FAMILIES.format(count=len(FAMILIES), expressed=expressed), *lines]) + "\n"


def _because(kind: str) -> str:
    try:
        return reason(CONFIG_MAPPING[kind]()) or _UNREAD
    except Exception:
        # Some configurations cannot be built from their defaults.
        return _UNREAD


def _backward(
    model: nn.Module, logits: Callable[[torch.Tensor], torch.Tensor], tokens: torch.Tensor
) -> torch.Tensor:
    found = logits(tokens[:, :-1])
    F.cross_entropy(found.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    return found.detach()


def _gradient_error(theirs: nn.Module, ours: Any) -> float:
    names = FAMILIES[theirs.config.model_type].names
    expected = translated(_gradients(theirs), ours.state_dict(), names, ours.config)
    floor = 1e-3 * max(_largest(gradient) for gradient in expected.values())
    # Some gradients are zero by symmetry, such as those of the keys' biases: there only rounding is left.
    return max(
        _largest(gradient - expected[name]) / max(_largest(expected[name]), floor)
        for name, gradient in _gradients(ours).items()
    )


def _gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    parameters = model.named_parameters(remove_duplicate=False)
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in parameters}


def _largest(tensor: torch.Tensor) -> float:
    return tensor.abs().max().item()


def _preset(case: Case) -> str:
    return f"`{case.preset}`" if case.preset else ""


_INTRODUCTION = """# Parity with public models

`from_hf` builds the transformer of this project from a model of Hugging Face's `transformers`. Each row is
one of its classes ({version}), built tiny with random weights, gains and biases, in float32 with eager
attention: the largest logit, the largest difference of any logit, and the largest error of any parameter's
gradient, as a share of the largest entry of that gradient (of a gradient below a thousandth of the largest
one: of that thousandth). Where a preset stands, it is the class's configuration at its release's size, in
every field but dropout, initialization and z-loss. The presets `t5` and `t5_v1_1` are held against `T5Stack`
by the tests alone: an encoder-decoder has no counterpart here. Other presets without a row are compared with
no class.

`python tests/parity/measure.py` writes the page; the tests require at most 1e-5 and 1e-4.

| class | preset | largest logit | error of logits | error of gradients |
|---|---|---|---|---|"""


_UNREAD = "not read: its configuration does not tell why, or it has not been tried"

_FAMILIES = """## Families of transformers

Fields express {count} of the families with a causal language model, the `model_type` of each a row or more
above; `gpt-sw3` is `gpt2` there:

{expressed}.

The others cannot be read; the reason is the first that `from_hf` finds in the class's default configuration,
and says. A family with experts is read where its configuration has none (`dots1`, `llama4_text`) or one
(`gpt_oss`).

| has | families |
|---|---|"""


if __name__ == "__main__":
    torch.set_num_threads(1)
    TABLE.write_text(table([measured(case) for case in CASES]), encoding="utf-8")
