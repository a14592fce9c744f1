"""One block, for every placement of norms."""

import math
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.lab.model.attention import Attention
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.context import Context
from stabilitykit.lab.model.feedforward import FeedForward
from stabilitykit.lab.model.norms import build_norm
from stabilitykit.lab.model.residual import Gpas, build_gate
from stabilitykit.lab.model.sections import ResidualConfig
from stabilitykit.lab.model.wirings import Slots

Sublayer = Literal["attn", "mlp"]

_DATA_ORDER = ("line_in", "branch_in", "function", "branch_out", "gate", "mark", "line_out", "gpas")


class Block(nn.Module):
    """Attention and feed-forward, each a branch off the residual stream.

    Each sublayer ``f`` has up to four norms; an absent one is no module at all::

        u = N_line_in(x);  x' = N_line_out(a·u + s·N_branch_out(f(N_branch_in(u))))

    In parallel order both branches read the same u and are added at once; the stream's norms act once.

    The identity modules ``resid_pre``, ``attn_out``, ``resid_mid`` (in serial order), ``mlp_out`` and
    ``resid_post`` mark the places that others may want to look at: the stream, and what is added to it. A
    sublayer's first norm in data order is ``attn_norm`` or ``mlp_norm``; a second one carries its slot,
    ``attn_out_norm``.
    """

    def __init__(self, config: TransformerConfig, layer: int = 0) -> None:
        super().__init__()
        self._parallel = config.order == "parallel"
        self._sections = {name: config.residual_of(name) for name in ("attn", "mlp")}
        self._first_scales = {name: first_scale(each, layer) for name, each in self._sections.items()}
        self._branch_scales = {name: branch_scale(each, config) for name, each in self._sections.items()}
        self._slots = {name: config.slots(layer, name) for name in ("attn", "mlp")}
        self._skips = {name: skip_scale(config, name, slots) for name, slots in self._slots.items()}
        self._norms = {
            name: norm_names(name, own_slots(config, name, slots)) for name, slots in self._slots.items()
        }
        self._gated: set[str] = set()
        self.resid_pre = nn.Identity()
        self._add_sublayer("attn", Attention(config, config.layer_kind(layer)), config)
        if not self._parallel:
            self.resid_mid = nn.Identity()
        self._add_sublayer("mlp", FeedForward(config), config)
        self.resid_post = nn.Identity()

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], context: Context | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return the residual stream after the block.

        Args:
            x: The line before it.
            context: What its attention needs to know; plainly causal when left out.
        """
        x = self.resid_pre(x)
        if self._parallel:
            x = self._both(x, context)
        else:
            x = self.resid_mid(self._sublayer("attn", x, context))
            x = self._sublayer("mlp", x, context)
        after: Tensor = self.resid_post(x)
        return after

    def _add_sublayer(self, name: Sublayer, function: nn.Module, config: TransformerConfig) -> None:
        """Register a sublayer's modules in data order, so that listing modules lists sites by depth."""
        modules = {"function": (name, function), "mark": (f"{name}_out", nn.Identity())}
        for slot, norm_name in self._norms[name].items():
            modules[slot] = (norm_name, build_norm(config.norm_of(name), config.d_model))
        gate = build_gate(config, name, self._slots[name].skip)
        if gate is not None:
            self._gated.add(name)
            modules["gate"] = (f"{name}_gate", gate)
        if self._sections[name].gpas and not (self._parallel and name == "attn"):
            modules["gpas"] = (f"{name}_gpas", Gpas())
        for place in _DATA_ORDER:
            if place in modules:
                self.add_module(*modules[place])

    def _sublayer(
        self, name: str, x: Float[Tensor, "batch seq d_model"], context: Context | None
    ) -> Float[Tensor, "batch seq d_model"]:
        line = self._norm(name, "line_in", x)
        added = self._branch(name, line, self._first_norm(name, line), context)
        return self._joined(name, line, added)

    def _both(
        self, x: Float[Tensor, "batch seq d_model"], context: Context | None
    ) -> Float[Tensor, "batch seq d_model"]:
        line = self._norm("attn", "line_in", x)
        read = self._first_norm("attn", line)
        added = self._branch("attn", line, read, context)
        if "branch_in" in self._norms["mlp"]:
            read = self._first_norm("mlp", line)
        return self._joined("mlp", line, added + self._branch("mlp", line, read, context))

    def _first_norm(
        self, name: str, line: Float[Tensor, "batch seq d_model"]
    ) -> Float[Tensor, "batch seq d_model"]:
        read = self._norm(name, "branch_in", line)
        scale = self._first_scales[name]
        return read * scale if scale != 1 and "branch_in" in self._norms[name] else read

    def _branch(
        self,
        name: str,
        line: Float[Tensor, "batch seq d_model"],
        read: Float[Tensor, "batch seq d_model"],
        context: Context | None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return what is added to the stream."""
        function = getattr(self, name)
        branch = function(read, context) if name == "attn" else function(read)
        branch = self._norm(name, "branch_out", branch)
        if self._slots[name].skip == "lerp":
            # (1 − s)·u + s·b, written as u plus what is added.
            branch = branch - line
        if self._branch_scales[name] != 1:
            branch = branch * self._branch_scales[name]
        if name in self._gated:
            branch = getattr(self, f"{name}_gate")(branch)
        if self._sections[name].dropout:
            branch = F.dropout(branch, self._sections[name].dropout, self.training)
        added: Tensor = getattr(self, f"{name}_out")(branch)
        return added

    def _joined(
        self, name: str, line: Float[Tensor, "batch seq d_model"], added: Float[Tensor, "batch seq d_model"]
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return the stream with the branch added to it, after the norm on the stream."""
        if self._skips[name] != 1:
            line = line * self._skips[name]
        line = self._norm(name, "line_out", line + added)
        return getattr(self, f"{name}_gpas")(line) if self._sections[name].gpas else line

    def _norm(
        self, sublayer: str, slot: str, x: Float[Tensor, "batch seq d_model"]
    ) -> Float[Tensor, "batch seq d_model"]:
        name = self._norms[sublayer].get(slot)
        return x if name is None else getattr(self, name)(x)


def own_slots(config: TransformerConfig, sublayer: str, slots: Slots) -> tuple[str, ...]:
    """Return the slots a sublayer holds itself: parallel branches share the stream's, maybe their first.

    Args:
        config: The model's configuration.
        sublayer: ``attn`` or ``mlp``.
        slots: What its wiring has.
    """
    if config.order == "serial":
        return slots.names
    elsewhere = {"attn": {"line_out"}, "mlp": {"line_in"} | ({"branch_in"} if config.shared_norm else set())}
    return tuple(slot for slot in slots.names if slot not in elsewhere[sublayer])


def norm_names(sublayer: str, slots: tuple[str, ...]) -> dict[str, str]:
    """Return the module name of every norm a sublayer has, by slot, in data order.

    Args:
        sublayer: ``attn`` or ``mlp``.
        slots: The slots that hold a norm, in data order.
    """
    names = {slot: f"{sublayer}_{slot.removeprefix('branch_')}_norm" for slot in slots}
    return {**names, **dict.fromkeys(slots[:1], f"{sublayer}_norm")}


def first_scale(section: ResidualConfig, layer: int) -> float:
    """Return the factor on what a branch's first norm gives.

    Args:
        section: How the branch joins the stream.
        layer: The layer's number, from 0.
    """
    return (layer + 1) ** -0.5 if section.depth_scale == "inv_sqrt_layer" else 1.0


def branch_scale(section: ResidualConfig, config: TransformerConfig) -> float:
    """Return the constant factor on a branch (with an exponent, CompleteP, Dey et al. 2505.01618).

    Args:
        section: How the branch joins the stream.
        config: The model's configuration.
    """
    return float(section.branch_scale * config.n_layers**-section.branch_depth_exponent)


def skip_scale(config: TransformerConfig, sublayer: str, slots: Slots) -> float:
    """Return the factor on the stream past a sublayer.

    Args:
        config: The model's configuration.
        sublayer: ``attn`` or ``mlp``.
        slots: What its wiring has.
    """
    if slots.skip == "deepnorm":
        return math.sqrt(math.sqrt(2 * config.n_layers))
    return config.residual_of(sublayer).skip_scale
