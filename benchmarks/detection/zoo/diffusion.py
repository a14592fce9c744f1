"""Denoising, by several weightings of the noise levels: the level drawn makes the loss."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.zoo.kinds import Training, kind
from benchmarks.detection.zoo.nets import Denoiser, UNet, images, patches


def _each(difference: Tensor) -> Tensor:
    return difference.square().flatten(1).mean(1)


def _cosine(t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares of signal and noise at some times."""
    angle = (t * (math.pi / 2)).view(-1, *[1] * (like.dim() - 1))
    return angle.cos(), angle.sin()


@kind("UNet, noise prediction, batch 4", looked_at=True)
def unet(g: torch.Generator) -> Training:
    """The loss of a sample spans two decades, the small times being hard."""
    model = UNet()

    def loss(step: int) -> Tensor:
        x = images(g, 4)
        n, t = torch.randn(x.shape, generator=g), torch.rand(4, generator=g)
        a = (1 - t)[:, None, None, None]
        return _each(model(a.sqrt() * x + (1 - a).sqrt() * n, t) - n).mean()

    return Training(model, loss)


@kind("DiT, noise prediction, batch 4", looked_at=True)
def dit(g: torch.Generator) -> Training:
    """A transformer with a cosine schedule."""
    model = Denoiser()

    def loss(step: int) -> Tensor:
        x = patches(g, 4)
        n, t = torch.randn(x.shape, generator=g), torch.rand(4, generator=g)
        signal, noise = _cosine(t, x)
        return _each(model(signal * x + noise * n, t) - n).mean()

    return Training(model, loss)


@kind("diffusion, v prediction, batch 2")
def velocity(g: torch.Generator) -> Training:
    """Two samples a batch."""
    model = Denoiser()

    def loss(step: int) -> Tensor:
        x = patches(g, 2)
        n, t = torch.randn(x.shape, generator=g), torch.rand(2, generator=g)
        signal, noise = _cosine(t, x)
        return _each(model(signal * x + noise * n, t) - (signal * n - noise * x)).mean()

    return Training(model, loss)


@kind("diffusion, min-SNR weights, batch 4")
def min_snr(g: torch.Generator) -> Training:
    """Signal prediction weighted by the ratio of signal to noise, at most 5."""
    model = UNet()

    def loss(step: int) -> Tensor:
        x = images(g, 4)
        n, t = torch.randn(x.shape, generator=g), torch.rand(4, generator=g)
        signal, noise = _cosine(t, x)
        ratio = (signal / noise.clamp(min=1e-3)).square().flatten().clamp(max=5.0)
        return (ratio * _each(model(signal * x + noise * n, t) - x)).mean()

    return Training(model, loss)


@kind("flow matching, logit-normal times, batch 4")
def flow(g: torch.Generator) -> Training:
    """Rectified flow."""
    model = Denoiser(blocks=3)

    def loss(step: int) -> Tensor:
        x = patches(g, 4)
        n, t = torch.randn(x.shape, generator=g), torch.randn(4, generator=g).sigmoid()
        level = t[:, None, None]
        return F.mse_loss(model((1 - level) * x + level * n, t), n - x)

    return Training(model, loss)


@kind("EDM, lognormal noise levels, batch 2")
def edm(g: torch.Generator) -> Training:
    """Levels over three decades, weighted so that each begins alike."""
    model = UNet()

    def loss(step: int) -> Tensor:
        x = images(g, 2)
        sigma = torch.exp(1.2 * torch.randn(2, generator=g) - 1.2)
        n, s = torch.randn(x.shape, generator=g), sigma[:, None, None, None]
        total = (s**2 + 0.25).sqrt()
        out = model((x + s * n) / total, sigma.log() / 8 + 0.5)
        denoised = 0.25 / total**2 * (x + s * n) + 0.5 * s / total * out
        return ((sigma**2 + 0.25) / (0.5 * sigma) ** 2 * _each(denoised - x)).mean()

    return Training(model, loss)
