"""The presets of T5 against transformers' decoder stack, without its cross-attention."""

import pytest
import torch
import torch.nn.functional as F
import transformers
from transformers.models.t5.modeling_t5 import T5Stack

from stabilitykit.lab.model import Transformer, preset
from stabilitykit.lab.model.huggingface import translated
from stabilitykit.lab.model.huggingface.weights import Names

VOCABULARY, WIDTH, LENGTH = 61, 32, 40
SELF, FEEDFORWARD = "block.{i}.layer.0", "block.{i}.layer.2"
NAMES = Names(
    {
        "embed.token": ("embed_tokens",),
        "logit_bias": ("block.0.layer.0.SelfAttention.relative_attention_bias",),
        "blocks.{i}.attn_norm": (f"{SELF}.layer_norm",),
        **{f"blocks.{{i}}.attn.{part}_proj": (f"{SELF}.SelfAttention.{part}",) for part in "qkvo"},
        "blocks.{i}.mlp_norm": (f"{FEEDFORWARD}.layer_norm",),
        "blocks.{i}.mlp.gate_proj": (f"{FEEDFORWARD}.DenseReluDense.wi_0",),
        "blocks.{i}.mlp.up_proj": tuple(f"{FEEDFORWARD}.DenseReluDense.{w}" for w in ("wi_1", "wi")),
        "blocks.{i}.mlp.down_proj": (f"{FEEDFORWARD}.DenseReluDense.wo",),
        "final_norm": ("final_layer_norm",),
        "head.linear": ("lm_head",),
    }
)


class Decoder(torch.nn.Module):
    """T5's decoder stack, with the head that ``T5ForConditionalGeneration`` puts on it."""

    def __init__(self, feed_forward: str, tied: bool) -> None:
        super().__init__()
        config = transformers.T5Config(
            vocab_size=VOCABULARY,
            d_model=WIDTH,
            d_kv=16,
            d_ff=48,
            num_layers=3,
            num_heads=4,
            feed_forward_proj=feed_forward,
            is_decoder=True,
            use_cache=False,
        )
        config._attn_implementation = "eager"
        self.stack, self.scale = T5Stack(config), WIDTH**-0.5 if tied else 1.0
        self.lm_head = torch.nn.Linear(WIDTH, VOCABULARY, bias=False)
        if tied:
            self.lm_head.weight = self.stack.embed_tokens.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.lm_head(self.stack(tokens).last_hidden_state * self.scale)

    def tensors(self, gradients: bool) -> dict[str, torch.Tensor]:
        """Return the weights, or their gradients, that self-attention and feed-forward have."""
        own = self.named_parameters(remove_duplicate=False)
        kept = {name.removeprefix("stack."): p for name, p in own if ".layer.1." not in name}
        return {name: p.grad if gradients else p.detach() for name, p in kept.items()}


@pytest.mark.parametrize(
    ("name", "feed_forward", "tied"), [("t5", "relu", True), ("t5_v1_1", "gated-gelu", False)]
)
def test_a_preset_of_t5_is_its_decoder_stack(name, feed_forward, tied):
    theirs = Decoder(feed_forward, tied).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in theirs.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.15 if parameter.dim() > 1 else 1 + 0.3 * noise)
        if tied:
            # The scaled-down logits would otherwise be too small for an error to show.
            theirs.lm_head.weight.mul_(4)
    dims = {"vocab_size": VOCABULARY, "d_model": WIDTH, "n_heads": 4, "head_dim": 16, "d_ff": 48}
    ours = Transformer(preset(name, n_layers=3, seq_len=LENGTH, **dims)).eval()
    ours.load_state_dict(translated(theirs.tensors(False), ours.state_dict(), NAMES, ours.config))
    tokens = torch.randint(VOCABULARY, (2, LENGTH + 1), generator=generator)
    logits = []
    for model in (theirs, ours):
        logits.append(model(tokens[:, :-1]))
        F.cross_entropy(logits[-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    assert (logits[0] - logits[1]).abs().max() <= 1e-5
    assert logits[0].abs().max() > 2
    expected = translated(theirs.tensors(True), ours.state_dict(), NAMES, ours.config)
    for parameter, tensor in ours.named_parameters(remove_duplicate=False):
        error = (tensor.grad - expected[parameter]).abs().max() / expected[parameter].abs().max()
        assert error <= 1e-4, parameter
