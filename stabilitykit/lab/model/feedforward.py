"""The feed-forward sublayer."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.lab.model.activations import build_activation
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.norms import build_norm


class FeedForward(nn.Module):
    """``act(x W_up) W_down``, or gated ``(act(x W_gate) ⊗ x W_up) W_down`` (Shazeer 2002.05202)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        section, width, hidden = config.feedforward, config.d_model, config.d_ff
        scale = section.pre_scale
        self._scale = width**0.5 if scale == "sqrt_d" else float(scale)
        self.gate_proj = nn.Linear(width, hidden, bias=section.bias) if section.gated else None
        self.gate_gain = nn.Parameter(torch.ones(hidden)) if section.gated and section.pre_gain else None
        self.up_proj = nn.Linear(width, hidden, bias=section.bias)
        self.up_gain = nn.Parameter(torch.ones(hidden)) if section.pre_gain else None
        self.mid_norm = build_norm(config.norm_of("mlp"), hidden) if section.mid_norm else None
        self.down_proj = nn.Linear(hidden, width, bias=section.bias)
        self.activation = build_activation(section)
        self._clamp, self._offset, self._dropout = section.clamp, section.up_offset, section.dropout

    @torch.no_grad()
    def reset(self) -> None:
        """Set the features' factors to 1, in place."""
        for gain in (self.gate_gain, self.up_gain):
            if gain is not None:
                gain.fill_(1.0)

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        """Return the sublayer's output, each position on its own."""
        hidden = self._hidden(x)
        if self.mid_norm is not None:
            hidden = self.mid_norm(hidden)
        if self._dropout:
            hidden = F.dropout(hidden, self._dropout, self.training)
        out: Tensor = self.down_proj(hidden)
        return out

    def _hidden(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_ff"]:
        if self.gate_proj is None:
            return self.activation(self._clamped(self._scaled(self.up_proj(x), self.up_gain)))
        gate = self._scaled(self.gate_proj(x), self.gate_gain)
        if self._clamp is not None:
            gate = gate.clamp(max=self._clamp)
        up = self._clamped(self._scaled(self.up_proj(x), self.up_gain))
        return self.activation(gate) * (up + self._offset if self._offset else up)

    def _scaled(
        self, x: Float[Tensor, "batch seq d_ff"], gain: Float[Tensor, "d_ff"] | None
    ) -> Float[Tensor, "batch seq d_ff"]:
        return self._gained(x * self._scale if self._scale != 1 else x, gain)

    def _gained(
        self, x: Float[Tensor, "batch seq d_ff"], gain: Float[Tensor, "d_ff"] | None
    ) -> Float[Tensor, "batch seq d_ff"]:
        return x if gain is None else x * gain.to(x.dtype)

    def _clamped(self, x: Float[Tensor, "batch seq d_ff"]) -> Float[Tensor, "batch seq d_ff"]:
        return x if self._clamp is None else x.clamp(-self._clamp, self._clamp)
