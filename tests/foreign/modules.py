"""Modules written by hand in the manner of other people's code, and the sizes of all foreign models."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY = 64
LENGTH = 24
WIDTH = 32
HEADS = 4
CLASSES = 5


class AttentionStack(nn.Module):
    """Bare attention modules in a list, added to a residual stream."""

    def __init__(self, dropout: float, need_weights: bool, **fields: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.MultiheadAttention(WIDTH, HEADS, dropout, batch_first=True, **fields) for _ in range(3)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after all layers."""
        for norm, layer in zip(self.norms, self.layers, strict=True):
            y = norm(x)
            x = x + layer(y, y, y, need_weights=self.need_weights)[0]
        return x


class NanoAttention(nn.Module):
    """Causal attention in the manner of nanoGPT: torch's fused call, or masked softmax by hand."""

    def __init__(self, dropout: float, flash: bool) -> None:
        super().__init__()
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH)
        self.c_proj = nn.Linear(WIDTH, WIDTH)
        self.dropout = dropout
        self.flash = flash
        self.register_buffer("bias", torch.ones(LENGTH, LENGTH).tril().view(1, 1, LENGTH, LENGTH))

    def forward(self, x: Tensor) -> Tensor:
        """Return what every position gathers."""
        q, k, v = (
            part.view(*x.shape[:2], HEADS, -1).transpose(1, 2) for part in self.c_attn(x).split(WIDTH, 2)
        )
        dropout = self.dropout if self.training else 0.0
        if self.flash:
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        else:
            att = (q @ k.transpose(-2, -1)) * k.size(-1) ** -0.5
            att = att.masked_fill(self.bias[:, :, : x.shape[1], : x.shape[1]] == 0, float("-inf"))
            y = F.dropout(F.softmax(att, dim=-1), dropout) @ v
        return self.c_proj(y.transpose(1, 2).flatten(2))


class NanoBlock(nn.Module):
    """A pre-norm block."""

    def __init__(self, dropout: float, flash: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.attn = NanoAttention(dropout, flash)
        self.ln_2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after both branches."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPT(nn.Module):
    """A small decoder whose modules sit in a dictionary, as nanoGPT's do."""

    def __init__(self, dropout: float, flash: bool) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(VOCABULARY, WIDTH),
                "wpe": nn.Embedding(LENGTH, WIDTH),
                "h": nn.ModuleList(NanoBlock(dropout, flash) for _ in range(3)),
                "ln_f": nn.LayerNorm(WIDTH),
            }
        )
        self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the next token."""
        parts = self.transformer
        y = parts["wte"](x) + parts["wpe"](torch.arange(x.shape[1]))
        for block in parts["h"]:
            y = block(y)
        return self.lm_head(parts["ln_f"](y))


class ResidualConvolution(nn.Module):
    """Two convolutions around a residual stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after the branch."""
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class ResidualNetwork(nn.Module):
    """Two stages of residual convolutions; the second is wider and half as large."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layer1 = nn.Sequential(ResidualConvolution(8), ResidualConvolution(8))
        self.down = nn.Conv2d(8, 16, 2, stride=2)
        self.layer2 = nn.Sequential(ResidualConvolution(16), ResidualConvolution(16))
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return class logits."""
        return self.fc(self.layer2(self.down(self.layer1(self.stem(x)))).mean((2, 3)))
