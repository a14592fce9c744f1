"""Several tasks or losses in one run, and games of two."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.detection.zoo.kinds import Training, kind
from benchmarks.detection.zoo.nets import WIDTH, Block, Encoder, patches, sequences, token_loss


@kind("two tasks in turn, one of them noise", looked_at=True)
def alternating(g: torch.Generator) -> Training:
    """One that is learned, one that cannot be."""
    model = Encoder(64, vocabulary=64, tokens=32, causal=True)

    def loss(step: int) -> Tensor:
        x, y = sequences(g, 4, 32)
        return token_loss(model(x), torch.randint(0, 64, y.shape, generator=g) if step % 2 else y)

    return Training(model, loss)


@kind("a mixture of tasks, a tenth of it hard", looked_at=True)
def rare(g: torch.Generator) -> Training:
    """Which task a batch is of is drawn."""
    model = Encoder(64, vocabulary=64, tokens=32, causal=True)

    def loss(step: int) -> Tensor:
        x, y = sequences(g, 4, 32)
        hard = torch.rand((), generator=g) < 0.1
        return token_loss(model(x), torch.randint(0, 64, y.shape, generator=g) if hard else y)

    return Training(model, loss)


@kind("four tasks of scales from 0.3 to 5, drawn")
def scales(g: torch.Generator) -> Training:
    """Regression of four scales."""
    model = Encoder(4, inputs=8, tokens=8)

    def loss(step: int) -> Tensor:
        task = int(torch.randint(0, 4, (), generator=g))
        x = torch.randn(4, 8, 8, generator=g)
        scale = (0.3, 1.0, 2.0, 5.0)[task]
        noise = torch.randn(4, generator=g)
        return F.mse_loss(model(x).mean(1)[:, task], scale**0.5 * (x[..., task].mean(1) + noise))

    return Training(model, loss)


@kind("every fifth batch of another, harder corpus")
def fifth(g: torch.Generator) -> Training:
    """In a fixed rhythm."""
    model = Encoder(64, vocabulary=64, tokens=32, causal=True)

    def loss(step: int) -> Tensor:
        x, y = sequences(g, 4, 32)
        if step % 5 == 4:
            y = torch.where(
                torch.rand(y.shape, generator=g) < 0.5, torch.randint(0, 64, y.shape, generator=g), y
            )
        return token_loss(model(x), y)

    return Training(model, loss)


class Experts(nn.Module):
    """Blocks whose feed-forward is the best of four experts, with the loss of their balance."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, WIDTH)
        self.blocks = nn.ModuleList(Block(causal=True) for _ in range(2))
        self.router = nn.Linear(WIDTH, 4, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH)) for _ in range(4)
        )
        self.head = nn.Linear(WIDTH, 64)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits, and the loss of the balance."""
        h = self.embed(ids)
        for block in self.blocks:
            h = block(h)
        gates = self.router(h).softmax(-1)
        best = gates.argmax(-1)
        out = torch.stack([expert(h) for expert in self.experts], -2)
        chosen = F.one_hot(best, 4).float()
        h = h + ((chosen * gates)[..., None] * out).sum(-2)
        balance = 4 * (chosen.mean((0, 1)) * gates.mean((0, 1))).sum()
        return self.head(h), balance


@kind("mixture of experts with a loss of their balance, batch 2")
def experts(g: torch.Generator) -> Training:
    """Text of two kinds."""
    model = Experts()

    def loss(step: int) -> Tensor:
        x, y = sequences(g, 2, 32)
        logits, balance = model(x)
        return token_loss(logits, y) + 0.5 * balance

    return Training(model, loss)


@kind("VAE whose KL warms up, batch 4", looked_at=True)
def vae(g: torch.Generator) -> Training:
    """Patches through a code of eight numbers; the weight of the KL grows over 150 steps."""
    encode, decode = Encoder(16, inputs=12, tokens=16), Encoder(12, inputs=8, tokens=16)
    model = nn.ModuleDict({"encode": encode, "decode": decode})

    def loss(step: int) -> Tensor:
        x = patches(g, 4)
        mean, log = encode(x).chunk(2, -1)
        z = mean + torch.exp(0.5 * log) * torch.randn(mean.shape, generator=g)
        kl = 0.5 * (mean.square() + log.exp() - 1 - log).sum((1, 2))
        return ((decode(z) - x).square().sum((1, 2)) + min(1.0, step / 150) * kl).mean()

    return Training(model, loss)


def _waves(g: torch.Generator) -> Tensor:
    return torch.sin(torch.arange(16.0)[None, :, None] + 6 * torch.rand(4, 1, 4, generator=g))


def _game(g: torch.Generator, wasserstein: bool) -> Training:
    maker, judge = Encoder(4, inputs=8, tokens=16), Encoder(1, inputs=4, tokens=16)
    model = nn.ModuleDict({"maker": maker, "judge": judge})
    optimizer = torch.optim.Adam(judge.parameters(), lr=5e-4, betas=(0.5, 0.9))

    def beside(step: int) -> None:
        real, made = _waves(g), maker(torch.randn(4, 16, 8, generator=g)).detach()
        good, bad = judge(real).mean(1), judge(made).mean(1)
        loss = (bad - good).mean() if wasserstein else F.softplus(-good).mean() + F.softplus(bad).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if wasserstein:
            for parameter in judge.parameters():
                parameter.data.clamp_(-0.3, 0.3)

    def loss(step: int) -> Tensor:
        out = judge(maker(torch.randn(4, 16, 8, generator=g))).mean(1)
        return -out.mean() if wasserstein else F.softplus(-out).mean()

    return Training(model, loss, lr=5e-4, watched=maker, beside=beside)


@kind("GAN, the generator's loss", looked_at=True)
def gan(g: torch.Generator) -> Training:
    """A game that does not settle."""
    return _game(g, wasserstein=False)


@kind("WGAN with clipped weights, the generator's loss")
def wgan(g: torch.Generator) -> Training:
    """A loss of either sign that wanders."""
    return _game(g, wasserstein=True)


@kind("policy gradient, rewards of 0 and 1, batch 4", looked_at=True)
def policy(g: torch.Generator) -> Training:
    """A surrogate that scatters about zero."""
    model = Encoder(8, vocabulary=8, tokens=8)

    def loss(step: int) -> Tensor:
        x = torch.randint(0, 8, (4, 8), generator=g)
        log = model(x).log_softmax(-1)
        taken = torch.multinomial(log.detach().exp().flatten(0, 1), 1, generator=g).view(4, 8)
        reward = (taken == (x + 1) % 8).float()
        advantage = (reward - reward.mean()) / (reward.std() + 1e-4)
        return -(advantage * log.gather(-1, taken[..., None])[..., 0]).mean()

    return Training(model, loss)


@kind("value function of sparse returns, batch 4")
def value(g: torch.Generator) -> Training:
    """Squared errors of returns that are mostly zero."""
    model = Encoder(1, inputs=4, tokens=8)

    def loss(step: int) -> Tensor:
        x = torch.randn(4, 8, 4, generator=g)
        paid = (torch.rand(4, 8, generator=g) < 0.05 + 0.1 * (x[..., 0] > 1)).float()
        returns = 5 * paid.flip(1).cumsum(1).flip(1)
        return F.mse_loss(model(x)[..., 0], returns)

    return Training(model, loss)


@kind("lengths that grow every 50 steps, batch 4")
def curriculum(g: torch.Generator) -> Training:
    """Longer counting with each stage."""
    model = Encoder(8, vocabulary=8, tokens=48, causal=True)

    def loss(step: int) -> Tensor:
        x = torch.randint(0, 8, (4, 8 + 8 * min(step // 50, 5)), generator=g)
        return token_loss(model(x), x.cumsum(1) % 8)

    return Training(model, loss)


@kind("language model, batch 2")
def plain(g: torch.Generator) -> Training:
    """Nothing out of the ordinary."""
    model = Encoder(64, vocabulary=64, tokens=32, blocks=3, causal=True)

    def loss(step: int) -> Tensor:
        x, y = sequences(g, 2, 32)
        return token_loss(model(x), y)

    return Training(model, loss)


@kind("set prediction of few boxes, batch 2")
def boxes(g: torch.Generator) -> Training:
    """Matched boxes: their number, from 0 to 4, makes the loss."""
    model = Encoder(5, inputs=12, tokens=16)

    def loss(step: int) -> Tensor:
        x = patches(g, 2)
        is_there = torch.rand(2, 16, generator=g) < 0.3 * torch.rand(2, 1, generator=g).square()
        x = x + 2.0 * is_there[..., None]
        out, target = model(x), x[..., :4]
        box = ((out[..., :4] - target).abs().sum(-1) * is_there).sum() / is_there.sum().clamp(min=1)
        return 5 * box + F.binary_cross_entropy_with_logits(out[..., 4], is_there.float())

    return Training(model, loss)
