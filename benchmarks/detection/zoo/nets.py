"""Small networks that the kinds of training share."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS = 32, 4


class Block(nn.Module):
    """A pre-norm transformer block, with a scale and shift from a condition where there is one."""

    def __init__(
        self, width: int = WIDTH, causal: bool = False, dropout: float = 0.0, condition: bool = False
    ):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)
        self.causal = causal
        self.modulation = nn.Linear(width, 4 * width) if condition else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map (batch, tokens, width) to the same; the condition is (batch, width)."""
        zero = torch.zeros(())
        scale1 = shift1 = scale2 = shift2 = zero
        if self.modulation is not None and condition is not None:
            scale1, shift1, scale2, shift2 = self.modulation(F.silu(condition))[:, None].chunk(4, -1)
        h = self.norm1(x) * (1 + scale1) + shift1
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in self.qkv(h).chunk(3, -1))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal).transpose(1, 2).flatten(2)
        x = x + self.drop(self.proj(h))
        h = self.norm2(x) * (1 + scale2) + shift2
        return x + self.drop(self.down(F.gelu(self.up(h))))


class Encoder(nn.Module):
    """Tokens or vectors through some blocks to one output a token."""

    def __init__(
        self,
        out: int,
        inputs: int = 0,
        vocabulary: int = 0,
        tokens: int = 64,
        blocks: int = 2,
        causal: bool = False,
        dropout: float = 0.0,
        condition: bool = False,
    ):
        super().__init__()
        self.inside = nn.Embedding(vocabulary, WIDTH) if vocabulary else nn.Linear(inputs, WIDTH)
        self.position = nn.Embedding(tokens, WIDTH)
        self.blocks = nn.ModuleList(
            Block(causal=causal, dropout=dropout, condition=condition) for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, out)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map (batch, tokens) or (batch, tokens, inputs) to (batch, tokens, out)."""
        h = self.inside(x) + self.position.weight[: x.shape[1]]
        for block in self.blocks:
            h = block(h, condition)
        out: Tensor = self.head(self.norm(h))
        return out


class Denoiser(nn.Module):
    """A diffusion transformer over a grid of patches; the time is a condition of every block."""

    def __init__(self, channels: int = 12, tokens: int = 16, blocks: int = 2):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.body = Encoder(channels, inputs=channels, tokens=tokens, blocks=blocks, condition=True)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Map (batch, tokens, channels) at times (batch,) in [0, 1] to the same shape."""
        out: Tensor = self.body(x, self.time(waves(t)))
        return out


class UNet(nn.Module):
    """A convolutional network with a skip at each of two resolutions, and the time added inside."""

    def __init__(self, channels: int = 3, width: int = 16):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(WIDTH, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width))
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(nn.Conv2d(2 * width, 2 * width, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.GroupNorm(4, 2 * width) for _ in range(2))
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.last = nn.Conv2d(2 * width, channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Map images at times (batch,) in [0, 1] to the same shape."""
        skip = F.silu(self.first(x))
        h = F.silu(self.down(skip)) + self.time(waves(t))[:, :, None, None]
        for conv, norm in zip(self.middle, self.norms, strict=True):
            h = h + F.silu(conv(norm(h)))
        h = self.up(F.interpolate(h, scale_factor=2.0))
        out: Tensor = self.last(torch.cat([h, skip], 1))
        return out


def waves(t: Tensor) -> Tensor:
    """Return sines and cosines of times, (batch, WIDTH)."""
    rates = torch.exp(torch.linspace(0, math.log(1000), WIDTH // 2))
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


def sequences(g: torch.Generator, batch: int, length: int, vocabulary: int = 64) -> tuple[Tensor, Tensor]:
    """Return inputs and next tokens of arithmetic progressions, which can be learned."""
    start = torch.randint(0, vocabulary, (batch, 1), generator=g)
    stride = torch.randint(1, 4, (batch, 1), generator=g)
    x = (start + torch.arange(length + 1) * stride) % vocabulary
    return x[:, :-1], x[:, 1:]


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def images(g: torch.Generator, batch: int, size: int = 16) -> Tensor:
    """Return smooth pictures, (batch, 3, size, size)."""
    line = torch.linspace(-1, 1, size)
    slope = torch.randn(batch, 3, 2, 1, 1, generator=g)
    return torch.tanh(slope[:, :, 0] * line[None, None, None] + slope[:, :, 1] * line[None, None, :, None])


def patches(g: torch.Generator, batch: int) -> Tensor:
    """Return smooth pictures of 8 by 8 as 16 patches of 12 numbers."""
    return F.unfold(images(g, batch, 8), 2, stride=2).transpose(1, 2)
