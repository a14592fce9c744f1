"""Build our transformer from a model of Hugging Face's transformers."""

from typing import Any

from torch import nn

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.huggingface.families import FAMILIES, Family
from stabilitykit.lab.model.huggingface.reasons import reason
from stabilitykit.lab.model.huggingface.weights import translated
from stabilitykit.lab.model.transformer import Transformer
from stabilitykit.lab.validation import validated


def config_from_hf(config: Any) -> TransformerConfig:
    """Return the configuration of ours that a transformers configuration describes.

    Args:
        config: A configuration of one of the ``FAMILIES``. Dropout is not taken over: it is 0 here.

    Raises:
        ConfigError: The family is not known, or uses something that cannot be expressed; names the field.
    """
    return validated(TransformerConfig, _family(config).fields(config))


def from_hf(model: nn.Module) -> Transformer:
    """Return our transformer with the sizes and the weights of a model of Hugging Face's transformers.

    Its logits are the model's in evaluation: dropout is not taken over. It is in the model's type and on
    its device, in training mode.

    Args:
        model: A causal language model, such as ``LlamaForCausalLM``; only ``config`` and ``state_dict()``
            are read.

    Raises:
        ConfigError: The family is not known, uses something that cannot be expressed, or a weight has no
            counterpart; names it.
    """
    hf_config: Any = getattr(model, "config", None)
    if hf_config is None:
        raise ConfigError(f"huggingface: got {type(model).__name__}; must have a transformers configuration")
    theirs, names = model.state_dict(), _family(hf_config).names
    (head,) = names.modules["head.linear"]
    if f"{head}.weight" not in theirs:
        raise ConfigError(f"huggingface: {type(model).__name__} has no {head}; must be a causal LM class")
    like = theirs[f"{head}.weight"]
    # Before the copy, so that a model in float64 loses nothing.
    built = Transformer(config_from_hf(hf_config)).to(device=like.device, dtype=like.dtype)
    built.load_state_dict(translated(theirs, built.state_dict(), names, built.config))
    return built


def _family(config: Any) -> Family:
    kind = str(getattr(config, "model_type", type(config).__name__))
    if kind not in FAMILIES:
        because = reason(config)
        instead = f"cannot be expressed: {because}" if because else closest(kind, FAMILIES)
        raise ConfigError(f"huggingface.model_type: got {kind!r}; {instead}")
    return FAMILIES[kind]
