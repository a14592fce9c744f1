"""Every kind of norm, with the same choice of gain and bias."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.lab.model.rms_norm import rms_norm
from stabilitykit.lab.model.sections import NormConfig, NormKind


class Norm(nn.Module):
    """Base of the norms: ``(weight + offset) ⊗ normalise(x) + bias``, weight and bias where configured.

    Half precision is computed in float32 and returned in the input's type.
    """

    def __init__(self, width: int, config: NormConfig | None = None) -> None:
        super().__init__()
        config = config or NormConfig()
        self.eps, self.offset = config.eps, config.gain_offset
        self.weight = nn.Parameter(torch.full((width,), 1.0 - self.offset)) if config.gain else None
        self.bias = nn.Parameter(torch.zeros(width)) if config.bias else None

    @torch.no_grad()
    def reset(self) -> None:
        """Set all parameters to where they start, in place: the gain to 1, the bias to 0."""
        if self.weight is not None:
            self.weight.fill_(1.0 - self.offset)
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Return ``x`` normalised along its last axis."""
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        normed = self._scaled(wide, self._gain(wide.dtype))
        if self.bias is not None:
            normed = normed + self.bias.to(wide.dtype)
        return normed.to(x.dtype)

    def normalise(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Return ``x`` normalised, before gain and bias."""
        raise NotImplementedError

    def _scaled(
        self, x: Float[Tensor, "*rows width"], gain: Float[Tensor, "width"] | None
    ) -> Float[Tensor, "*rows width"]:
        normed = self.normalise(x)
        return normed if gain is None else normed * gain

    def _gain(self, dtype: torch.dtype) -> Float[Tensor, "width"] | None:
        if self.weight is None:
            return None
        weight = self.weight.to(dtype)
        return weight + self.offset if self.offset else weight


class RMSNorm(Norm):
    """Divides by ``√(mean(x²) + eps)`` (Zhang & Sennrich 1910.07467)."""

    def normalise(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Return ``x`` at unit mean square."""
        return rms_norm(x, None, self.eps)

    def _scaled(
        self, x: Float[Tensor, "*rows width"], gain: Float[Tensor, "width"] | None
    ) -> Float[Tensor, "*rows width"]:
        return rms_norm(x, gain, self.eps)


class LayerNorm(Norm):
    """Subtracts the mean and divides by ``√(var(x) + eps)`` (Ba et al. 1607.06450)."""

    def normalise(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Return ``x`` at zero mean and unit variance."""
        return self._scaled(x, None)

    def _scaled(
        self, x: Float[Tensor, "*rows width"], gain: Float[Tensor, "width"] | None
    ) -> Float[Tensor, "*rows width"]:
        return F.layer_norm(x, x.shape[-1:], gain, None, self.eps)


class L2Norm(Norm):
    """Divides by the vector's length, or by eps where that is larger."""

    def normalise(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Return ``x`` at length 1."""
        return F.normalize(x, dim=-1, eps=self.eps)


class DyT(Norm):
    """Takes ``tanh(αx)``, α learned: no statistics at all (Zhu et al. 2503.10622)."""

    def __init__(self, width: int, config: NormConfig | None = None) -> None:
        super().__init__(width, config)
        self.alpha0 = (config or NormConfig()).alpha0
        self.alpha = nn.Parameter(torch.tensor(self.alpha0))

    @torch.no_grad()
    def reset(self) -> None:
        """Set all parameters to where they start, in place."""
        super().reset()
        self.alpha.fill_(self.alpha0)

    def normalise(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Return ``x`` squashed between -1 and 1."""
        return torch.tanh(self.alpha.to(x.dtype) * x)


class Derf(DyT):
    """Takes ``erf(αx + s)``, α and s learned (Chen et al. 2512.10938)."""

    def __init__(self, width: int, config: NormConfig | None = None) -> None:
        super().__init__(width, config)
        self.shift = nn.Parameter(torch.tensor(0.0))

    @torch.no_grad()
    def reset(self) -> None:
        """Set all parameters to where they start, in place."""
        super().reset()
        self.shift.zero_()

    def normalise(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Return ``x`` squashed between -1 and 1."""
        return torch.erf(self.alpha.to(x.dtype) * x + self.shift.to(x.dtype))


class PerHeadNorm(nn.Module):
    """Normalises each head over its own width, with a gain of its own for every head."""

    def __init__(self, n_heads: int, width: int, config: NormConfig) -> None:
        super().__init__()
        self.offset = config.gain_offset
        self.inner = build_norm(config.model_copy(update={"gain": False, "gain_offset": 0.0}), width)
        self.weight = nn.Parameter(torch.full((n_heads, width), 1.0 - self.offset))

    @torch.no_grad()
    def reset(self) -> None:
        """Set the gains to 1, in place."""
        self.weight.fill_(1.0 - self.offset)

    def forward(self, x: Float[Tensor, "batch seq heads width"]) -> Float[Tensor, "batch seq heads width"]:
        """Return every head normalised, times its gain."""
        gain = (self.weight + self.offset).to(x.dtype)
        normed: Tensor = self.inner(x)
        return normed * gain


NORMS: dict[NormKind, type[Norm]] = {
    "rmsnorm": RMSNorm,
    "layernorm": LayerNorm,
    "l2": L2Norm,
    "dyt": DyT,
    "derf": Derf,
}
"""The class of every kind."""


def build_norm(config: NormConfig, width: int) -> Norm:
    """Return a new norm of the configured kind over ``width`` features."""
    return NORMS[config.kind](width, config)
