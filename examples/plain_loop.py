"""A plain training loop in the manner of nanoGPT, with a statistic of one's own.

pip install stabilitykit
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stabilitykit import Statistic, watch

TEXT = Path(json.__file__).read_bytes() + Path(argparse.__file__).read_bytes()
LENGTH, WIDTH, HEADS, DEPTH = 64, 64, 4, 4


class Block(nn.Module):
    """Attention and a feed-forward layer on a residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after the block."""
        parts = self.qkv(self.ln_1(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """A small decoder over bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(256, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.h = nn.ModuleList(Block() for _ in range(DEPTH))
        self.ln_f, self.lm_head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 256, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of every next byte."""
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


def kurtosis(x: Tensor) -> Tensor:
    """Return how much of the fourth moment is outliers; 3 for a normal distribution."""
    centred = x - x.mean()
    return centred.pow(4).mean() / centred.square().mean().square()


def main(steps: int, folder: Path) -> None:
    """Train, and say how it went."""
    torch.manual_seed(0)
    text = torch.frombuffer(bytearray(TEXT), dtype=torch.uint8).long()
    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    outliers = Statistic("outliers/kurtosis", kurtosis, sites="blocks.*.resid_post")
    with watch(model, optimizer, folder, statistics=[outliers]) as monitor:
        for _ in range(steps):
            starts = torch.randint(len(text) - LENGTH - 1, (8,)).tolist()
            batch = torch.stack([text[s : s + LENGTH + 1] for s in starts])
            loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            monitor.step(loss)
    verdict = monitor.verdict()
    print(f"{verdict.outcome}: {verdict.reason}")
    print(f"look at it:  stabilitykit diagnose {folder}   or   tensorboard --logdir {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("runs/plain_loop"))
    arguments = parser.parse_args()
    main(arguments.steps, arguments.folder)
