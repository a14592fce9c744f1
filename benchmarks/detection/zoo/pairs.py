"""Contrastive losses and preferences: the batch decides how hard it is."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.detection.zoo.kinds import Training, kind
from benchmarks.detection.zoo.nets import Encoder, sequences, token_loss


class Towers(nn.Module):
    """Two encoders into one space, with a scale and a bias that are learned."""

    def __init__(self, scale: float, bias: float):
        super().__init__()
        self.image = Encoder(16, inputs=12, tokens=8)
        self.text = Encoder(16, vocabulary=64, tokens=8)
        self.scale, self.bias = nn.Parameter(torch.tensor(math.log(scale))), nn.Parameter(torch.tensor(bias))

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return the logits of all pairs, (batch, batch)."""
        one, other = (F.normalize(e.mean(1), dim=-1) for e in (self.image(images), self.text(texts)))
        return self.scale.exp() * one @ other.T + self.bias


def _pairs(g: torch.Generator, batch: int, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures and captions of a few topics; alike topics in a batch make it hard."""
    topics = int(torch.randint(1, 9, (), generator=g))
    about = torch.randint(0, 8 * topics, (batch,), generator=g)
    pictures = seen[about] + 0.5 * torch.randn(batch, 8, 12, generator=g)
    return pictures, (about[:, None] * 5 + torch.arange(8) * (1 + about[:, None] % 3)) % 64


@kind("CLIP, batch 8 of few or many topics", looked_at=True)
def clip(g: torch.Generator) -> Training:
    """InfoNCE both ways."""
    model, seen = Towers(14.0, 0.0), torch.randn(64, 8, 12, generator=g)

    def loss(step: int) -> Tensor:
        logits, diagonal = model(*_pairs(g, 8, seen)), torch.arange(8)
        return 0.5 * (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal))

    return Training(model, loss)


@kind("SigLIP, batch 8 of few or many topics")
def siglip(g: torch.Generator) -> Training:
    """A sigmoid for each pair."""
    model, seen = Towers(10.0, -10.0), torch.randn(64, 8, 12, generator=g)

    def loss(step: int) -> Tensor:
        logits = model(*_pairs(g, 8, seen))
        return -F.logsigmoid(logits * (2 * torch.eye(8) - 1)).sum(-1).mean()

    return Training(model, loss)


@kind("triplets with the hardest negative")
def triplets(g: torch.Generator) -> Training:
    """A margin that most triplets soon keep: the loss is often near zero."""
    model, seen = Encoder(16, inputs=12, tokens=8), torch.randn(16, 8, 12, generator=g)

    def loss(step: int) -> Tensor:
        about = torch.randint(0, 16, (6,), generator=g)

        def look(which: Tensor) -> Tensor:
            noisy = seen[which] + 0.7 * torch.randn(len(which), 8, 12, generator=g)
            return F.normalize(model(noisy).mean(1), dim=-1)

        anchor, same = look(about), look(about)
        far = torch.cdist(anchor, same) + 10.0 * (about[:, None] == about)
        return F.relu(0.3 + (anchor - same).norm(dim=-1) - far.min(1).values).mean()

    return Training(model, loss)


@kind("DPO, batch 2")
def preferences(g: torch.Generator) -> Training:
    """Log-sigmoids of sums over answers of varying length, against a frozen copy."""
    torch.manual_seed(int(torch.randint(0, 10**6, (), generator=g)))
    model, frozen = (Encoder(64, vocabulary=64, tokens=32, causal=True) for _ in range(2))
    frozen.load_state_dict(model.state_dict())

    def said(of: nn.Module, x: Tensor, y: Tensor, length: int) -> Tensor:
        return of(x).log_softmax(-1).gather(-1, y[..., None])[:, :length, 0].sum(1)

    def loss(step: int) -> Tensor:
        length = int(torch.randint(4, 33, (), generator=g))
        x, y = sequences(g, 2, 32)
        worse = (y + torch.randint(0, 2, y.shape, generator=g)) % 64
        margins = []
        for answer in (y, worse):
            with torch.no_grad():
                before = said(frozen, x, answer, length)
            margins.append(said(model, x, answer, length) - before)
        return -F.logsigmoid(0.1 * (margins[0] - margins[1])).mean()

    return Training(model, loss, lr=3e-4)


@kind("distillation at temperature 4, batch 2", looked_at=True)
def distillation(g: torch.Generator) -> Training:
    """Hard labels, and a teacher of the same size that was drawn at random."""
    model = Encoder(64, vocabulary=64, tokens=16, causal=True)
    teacher = Encoder(64, vocabulary=64, tokens=16, causal=True)
    with torch.no_grad():
        teacher.head.weight *= 8

    def loss(step: int) -> Tensor:
        x, y = sequences(g, 2, 16)
        logits = model(x)
        with torch.no_grad():
            soft = (teacher(x) / 4).softmax(-1)
        gap = F.kl_div((logits / 4).log_softmax(-1), soft, reduction="none").sum(-1).mean()
        return 0.5 * token_loss(logits, y) + 0.5 * 16 * gap

    return Training(model, loss)
