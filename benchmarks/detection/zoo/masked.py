"""Hidden parts and sequences of varying length: how much is asked for makes the loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.detection.zoo.kinds import Training, kind
from benchmarks.detection.zoo.nets import Encoder, patches, sequences, token_loss


@kind("masked autoencoder, ratios of 0.3 to 0.95, batch 4", looked_at=True)
def autoencoder(g: torch.Generator) -> Training:
    """Patches of smooth pictures."""
    model = Encoder(12, inputs=13, tokens=16)

    def loss(step: int) -> Tensor:
        x = patches(g, 4)
        ratio = 0.3 + 0.65 * torch.rand((), generator=g)
        hidden = torch.rand(4, 16, 1, generator=g) < ratio
        out = model(torch.cat([x * ~hidden, hidden.float()], -1))
        return ((out - x).square() * hidden).sum() / (12 * hidden.sum().clamp(min=1))

    return Training(model, loss)


@kind("masked language model, ratios of 0.05 to 1, batch 4")
def language(g: torch.Generator) -> Training:
    """The ratio is drawn evenly, as in masked diffusion of text, and divides the loss."""
    model = Encoder(64, vocabulary=65, tokens=32)

    def loss(step: int) -> Tensor:
        x, _ = sequences(g, 4, 32)
        ratio = 0.05 + 0.95 * torch.rand(4, 1, generator=g)
        hidden = torch.rand(x.shape, generator=g) < ratio
        each = F.cross_entropy(model(x.masked_fill(hidden, 64)).transpose(1, 2), x, reduction="none")
        return (each * hidden / ratio).mean()

    return Training(model, loss)


@kind("CTC, lengths of 8 to 48, batch 4", looked_at=True)
def ctc(g: torch.Generator) -> Training:
    """Frames that spell a word, each letter held for a while."""
    model = Encoder(17, inputs=16, tokens=48)
    sounds = torch.randn(17, 16, generator=g)

    def loss(step: int) -> Tensor:
        length = int(torch.randint(8, 49, (), generator=g))
        word = torch.randint(1, 17, (4, length // 4), generator=g)
        frames = word.repeat_interleave(4, 1)
        x = sounds[frames] + 0.5 * torch.randn(4, frames.shape[1], 16, generator=g)
        log = model(x).log_softmax(-1).transpose(0, 1)
        sizes = torch.full((4,), frames.shape[1]), torch.full((4,), length // 4)
        return F.ctc_loss(log, word, *sizes, zero_infinity=True)

    return Training(model, loss)


@kind("sum over the tokens of one sequence of 2 to 32")
def sums(g: torch.Generator) -> Training:
    """A batch of one, and no mean."""
    model = Encoder(64, vocabulary=64, tokens=32, causal=True)

    def loss(step: int) -> Tensor:
        x, y = sequences(g, 1, int(torch.randint(2, 33, (), generator=g)))
        return F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")

    return Training(model, loss)


@kind("fine-tuning with dropout 0.4, batch 2", looked_at=True)
def dropout(g: torch.Generator) -> Training:
    """Classification of short sequences by their stride."""
    model = Encoder(3, vocabulary=64, tokens=16, dropout=0.4)

    def loss(step: int) -> Tensor:
        x, y = sequences(g, 2, 16)
        return F.cross_entropy(model(x).mean(1), (y[:, 0] - x[:, 0]) % 64 - 1)

    return Training(model, loss, lr=5e-4)


@kind("classification of one example a step, 5 % of labels wrong")
def single(g: torch.Generator) -> Training:
    """A loss that is near zero or large."""
    model = Encoder(3, vocabulary=64, tokens=16)

    def loss(step: int) -> Tensor:
        x, y = sequences(g, 1, 16)
        label = (y[:, 0] - x[:, 0]) % 64 - 1
        if torch.rand((), generator=g) < 0.05:
            label = (label + 1) % 3
        return F.cross_entropy(model(x).mean(1), label)

    return Training(model, loss)


@kind("regression with heavy-tailed targets, batch 4")
def regression(g: torch.Generator) -> Training:
    """Squared errors where the noise of the targets is Student's with three degrees."""
    model = Encoder(1, inputs=4, tokens=8)
    weights = torch.randn(4, generator=g)

    def loss(step: int) -> Tensor:
        x = torch.randn(4, 8, 4, generator=g)
        normal = torch.randn(4, 4, generator=g)
        noise = 0.5 * normal[:, 0] / (normal[:, 1:].square().mean(1)).sqrt()
        return F.mse_loss(model(x).mean(1)[:, 0], (x @ weights).tanh().mean(1) + noise)

    return Training(model, loss)


@kind("recurrent classifier of sequences of 4 to 64", looked_at=True)
def recurrent(g: torch.Generator) -> Training:
    """An LSTM that counts; batch 4."""
    embed, body, head = nn.Embedding(8, 32), nn.LSTM(32, 32, batch_first=True), nn.Linear(32, 8)
    model = nn.ModuleDict({"embed": embed, "body": body, "head": head})

    def loss(step: int) -> Tensor:
        x = torch.randint(0, 8, (4, int(torch.randint(4, 65, (), generator=g))), generator=g)
        return token_loss(head(body(embed(x))[0]), x.cumsum(1) % 8)

    return Training(model, loss, lr=3e-3)
