"""A GPT in plain torch, as people write it, and a bare training loop: what the benchmarks watch."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY = 256


@dataclass(frozen=True)
class Size:
    """How large a benchmark's model and batch are."""

    n_layers: int = 4
    d_model: int = 128
    n_heads: int = 4
    seq_len: int = 128
    batch: int = 8


SIZES = {
    "probe": Size(n_layers=6, d_model=64, seq_len=64),
    "gpt": Size(),
    "wide": Size(n_layers=4, d_model=384, n_heads=6, seq_len=256, batch=4),
}


class Attention(nn.Module):
    """Causal self-attention through torch's fused kernel."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.n_heads = size.n_heads
        self.qkv = nn.Linear(size.d_model, 3 * size.d_model)
        self.proj = nn.Linear(size.d_model, size.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return what every position gathers."""
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        return self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm block."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(size.d_model), nn.LayerNorm(size.d_model)
        self.attn = Attention(size)
        self.mlp = nn.Sequential(
            nn.Linear(size.d_model, 4 * size.d_model), nn.GELU(), nn.Linear(4 * size.d_model, size.d_model)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the line after the block."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """A decoder-only transformer."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, size.d_model)
        self.position = nn.Embedding(size.seq_len, size.d_model)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.n_layers))
        self.ln_f = nn.LayerNorm(size.d_model)
        self.head = nn.Linear(size.d_model, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of every next token."""
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))


class Loop:
    """A bare training loop; every instance starts from the same weights.

    Args:
        size: How large.
        device: Where it runs.
    """

    def __init__(self, size: Size, device: str = "cpu") -> None:
        torch.manual_seed(0)
        self.model = GPT(size).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=(0.9, 0.95))

    def forward_backward(self, batch: Tensor) -> Tensor:
        """Return the loss of a batch, its gradients in place and not clipped."""
        loss = F.cross_entropy(self.model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        return loss.detach()

    def update(self) -> None:
        """Clip and take the optimizer's step."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


def batches(size: Size, n: int) -> Tensor:
    """Return random batches."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, VOCABULARY, (n, size.batch, size.seq_len + 1), generator=generator)
