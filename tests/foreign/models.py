"""Models of other people, tiny and seeded: what a watched training may bring along."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from foreign.modules import (
    CLASSES,
    HEADS,
    LENGTH,
    VOCABULARY,
    WIDTH,
    AttentionStack,
    NanoGPT,
    ResidualNetwork,
)
from torch import Tensor, nn

Inputs = dict[str, Tensor]
Loss = Callable[[nn.Module, Inputs], Tensor]


class Foreign(NamedTuple):
    """A model in training mode, a batch for it, and the loss of the model on a batch."""

    model: nn.Module
    inputs: Inputs
    loss: Loss


def own_loss(model: nn.Module, inputs: Inputs) -> Tensor:
    """Return the loss that a public model computes itself, or that its forward returns."""
    out = model(**inputs)
    return out if isinstance(out, Tensor) else out.loss


def classified(model: nn.Module, inputs: Inputs) -> Tensor:
    """Return the cross-entropy of a classifier."""
    return F.cross_entropy(model(inputs["x"]), inputs["labels"])


def squared(model: nn.Module, inputs: Inputs) -> Tensor:
    """Return the mean square of the output: a loss for modules without a head."""
    return model(inputs["x"]).square().mean()


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed + 1)


def _tokens(seed: int, length: int = LENGTH) -> Tensor:
    return torch.randint(1, VOCABULARY, (2, length), generator=_generator(seed))


def _labels(seed: int) -> Tensor:
    return torch.randint(0, CLASSES, (2,), generator=_generator(seed))


def _images(seed: int) -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=_generator(seed))


def _vectors(seed: int) -> Tensor:
    return torch.randn(2, LENGTH, WIDTH, generator=_generator(seed))


def gpt2(seed: int = 0, dropout: float = 0.1, **fields: Any) -> Foreign:
    """Return a GPT-2 of Hugging Face."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=LENGTH,
        n_embd=WIDTH,
        n_layer=3,
        n_head=HEADS,
        attn_pdrop=dropout,
        embd_pdrop=dropout,
        resid_pdrop=dropout,
        bos_token_id=0,
        eos_token_id=0,
        **fields,
    )
    tokens = _tokens(seed)
    return Foreign(GPT2LMHeadModel(config).train(), {"input_ids": tokens, "labels": tokens}, own_loss)


def _decoder(config: str, model: str, seed: int, dropout: float, fields: dict[str, Any]) -> Foreign:
    """Return a decoder of the Llama kind, by its class names."""
    import transformers

    torch.manual_seed(seed)
    options = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "max_position_embeddings": LENGTH,
        "attention_dropout": dropout,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        **fields,
    }
    built = getattr(transformers, model)(getattr(transformers, config)(**options))
    tokens = _tokens(seed)
    return Foreign(built.train(), {"input_ids": tokens, "labels": tokens}, own_loss)


def llama(seed: int = 0, dropout: float = 0.0, **fields: Any) -> Foreign:
    """Return a Llama of Hugging Face, with two key heads for four query heads."""
    return _decoder("LlamaConfig", "LlamaForCausalLM", seed, dropout, fields)


def gemma2(seed: int = 0, dropout: float = 0.0, **fields: Any) -> Foreign:
    """Return a Gemma 2 of Hugging Face: capped logits, every other layer with a window of 12 keys."""
    own = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 12, "attn_implementation": "eager"}
    return _decoder("Gemma2Config", "Gemma2ForCausalLM", seed, dropout, own | fields)


def olmo2(seed: int = 0, dropout: float = 0.0, **fields: Any) -> Foreign:
    """Return an OLMo 2 of Hugging Face: norms on the branches' outputs, on queries and on keys."""
    return _decoder("Olmo2Config", "Olmo2ForCausalLM", seed, dropout, fields)


def gpt_oss(seed: int = 0, dropout: float = 0.0, **fields: Any) -> Foreign:
    """Return a GPT-OSS of Hugging Face: sinks beside the logits, and experts behind a router."""
    own = {
        "head_dim": 8,
        "sliding_window": 12,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "attn_implementation": "eager",
    }
    return _decoder("GptOssConfig", "GptOssForCausalLM", seed, dropout, own | fields)


def bert(seed: int = 0, dropout: float = 0.1, **fields: Any) -> Foreign:
    """Return a BERT of Hugging Face; the second sequence ends in padding."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=HEADS,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **fields,
    )
    tokens = _tokens(seed)
    visible = torch.ones_like(tokens)
    visible[1, -6:] = 0
    inputs = {"input_ids": tokens, "attention_mask": visible, "labels": tokens}
    return Foreign(BertForMaskedLM(config).train(), inputs, own_loss)


def t5(seed: int = 0, dropout: float = 0.1, **fields: Any) -> Foreign:
    """Return a T5 of Hugging Face: encoder, decoder and cross-attention, with relative biases."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        d_kv=8,
        d_ff=2 * WIDTH,
        num_layers=2,
        num_decoder_layers=3,
        num_heads=HEADS,
        dropout_rate=dropout,
        decoder_start_token_id=0,
        **fields,
    )
    inputs = {"input_ids": _tokens(seed), "labels": _tokens(seed + 7, 16)}
    return Foreign(T5ForConditionalGeneration(config).train(), inputs, own_loss)


def vit(seed: int = 0, dropout: float = 0.0, **fields: Any) -> Foreign:
    """Return a ViT of Hugging Face: 16 patches and a class token."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=HEADS,
        intermediate_size=2 * WIDTH,
        image_size=32,
        patch_size=8,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=CLASSES,
        **fields,
    )
    inputs = {"pixel_values": _images(seed), "labels": _labels(seed)}
    return Foreign(ViTForImageClassification(config).train(), inputs, own_loss)


def swin(seed: int = 0, dropout: float = 0.0, **fields: Any) -> Foreign:
    """Return a Swin of Hugging Face: two stages, windows of 16 patches."""
    from transformers import SwinConfig, SwinForImageClassification

    torch.manual_seed(seed)
    config = SwinConfig(
        image_size=32,
        patch_size=2,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        drop_path_rate=0.0,
        num_labels=CLASSES,
        **fields,
    )
    inputs = {"pixel_values": _images(seed), "labels": _labels(seed)}
    return Foreign(SwinForImageClassification(config).train(), inputs, own_loss)


def whisper(seed: int = 0, dropout: float = 0.0, **fields: Any) -> Foreign:
    """Return a Whisper of Hugging Face: 24 frames into the encoder, 16 tokens out of the decoder."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=VOCABULARY,
        num_mel_bins=8,
        d_model=WIDTH,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=2 * WIDTH,
        decoder_ffn_dim=2 * WIDTH,
        max_source_positions=LENGTH,
        max_target_positions=LENGTH,
        dropout=dropout,
        attention_dropout=dropout,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
        suppress_tokens=[],
        begin_suppress_tokens=[],
        **fields,
    )
    frames = torch.randn(2, 8, 2 * LENGTH, generator=_generator(seed))
    inputs = {"input_features": frames, "labels": _tokens(seed, 16)}
    return Foreign(WhisperForConditionalGeneration(config).train(), inputs, own_loss)


def x_transformers_lm(seed: int = 0, dropout: float = 0.0, flash: bool = False, **fields: Any) -> Foreign:
    """Return a decoder of x-transformers with rotary positions."""
    from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

    torch.manual_seed(seed)
    layers = Decoder(
        dim=WIDTH,
        depth=3,
        heads=HEADS,
        attn_dim_head=8,
        attn_flash=flash,
        attn_dropout=dropout,
        rotary_pos_emb=True,
        **fields,
    )
    wrapped = TransformerWrapper(num_tokens=VOCABULARY, max_seq_len=LENGTH, attn_layers=layers)
    return Foreign(AutoregressiveWrapper(wrapped).train(), {"x": _tokens(seed, LENGTH + 1)}, own_loss)


def x_transformers_flash(seed: int = 0, dropout: float = 0.0, **fields: Any) -> Foreign:
    """Return a decoder of x-transformers that calls torch's fused attention."""
    return x_transformers_lm(seed, dropout, flash=True, **fields)


def x_transformers_vit(seed: int = 0, dropout: float = 0.0, **fields: Any) -> Foreign:
    """Return a vision transformer of x-transformers."""
    from x_transformers import Encoder, ViTransformerWrapper

    torch.manual_seed(seed)
    layers = Encoder(dim=WIDTH, depth=3, heads=HEADS, attn_dim_head=8, attn_dropout=dropout, **fields)
    model = ViTransformerWrapper(image_size=32, patch_size=8, num_classes=CLASSES, attn_layers=layers)
    return Foreign(model.train(), {"x": _images(seed), "labels": _labels(seed)}, classified)


def torch_encoder(seed: int = 0, dropout: float = 0.1, **fields: Any) -> Foreign:
    """Return torch's own encoder."""
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 2 * WIDTH, dropout, batch_first=True, norm_first=True, **fields
    )
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    return Foreign(model.train(), {"x": _vectors(seed)}, squared)


def torch_attention(seed: int = 0, dropout: float = 0.0, need_weights: bool = True, **fields: Any) -> Foreign:
    """Return a stack of torch's attention modules, which return their weights as well by default."""
    torch.manual_seed(seed)
    return Foreign(AttentionStack(dropout, need_weights, **fields).train(), {"x": _vectors(seed)}, squared)


def _next_token(model: nn.Module, inputs: Inputs) -> Tensor:
    tokens = inputs["x"]
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def nanogpt(seed: int = 0, dropout: float = 0.0, flash: bool = True) -> Foreign:
    """Return a decoder written as nanoGPT is."""
    torch.manual_seed(seed)
    return Foreign(NanoGPT(dropout, flash).train(), {"x": _tokens(seed, LENGTH + 1)}, _next_token)


def resnet(seed: int = 0, dropout: float = 0.0) -> Foreign:
    """Return a small convolutional network in the manner of ResNet; it has no dropout."""
    torch.manual_seed(seed)
    inputs = {"x": _images(seed), "labels": _labels(seed)}
    return Foreign(ResidualNetwork().train(), inputs, classified)


def mlp(seed: int = 0, dropout: float = 0.0) -> Foreign:
    """Return a plain multilayer perceptron."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Dropout(dropout)]
    x = torch.randn(6, WIDTH, generator=_generator(seed))
    labels = torch.randint(0, CLASSES, (6,), generator=_generator(seed))
    model = nn.Sequential(*layers, nn.Linear(WIDTH, CLASSES))
    return Foreign(model.train(), {"x": x, "labels": labels}, classified)


BUILDERS: Mapping[str, Callable[..., Foreign]] = MappingProxyType(
    {
        build.__name__: build
        for build in (
            gpt2,
            llama,
            gemma2,
            olmo2,
            gpt_oss,
            bert,
            t5,
            vit,
            swin,
            whisper,
            x_transformers_lm,
            x_transformers_flash,
            x_transformers_vit,
            torch_encoder,
            torch_attention,
            nanogpt,
            resnet,
            mlp,
        )
    }
)
"""What a test may ask for by name; every builder takes ``seed`` and ``dropout``."""
