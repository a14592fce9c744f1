"""One block, for every placement of norms."""

from jaxtyping import Float
from torch import Tensor, nn

from stabilitykit.model.attention import Attention
from stabilitykit.model.config import Slots, TransformerConfig
from stabilitykit.model.feedforward import FeedForward
from stabilitykit.model.norms import build_norm


class Block(nn.Module):
    """Attention, then feed-forward, each a branch off the residual line.

    Each sublayer ``f`` has up to four norms; an absent one is no module at all::

        u = N_line_in(x);  x' = N_line_out(u + N_branch_out(f(N_branch_in(u))))

    The identity modules ``resid_pre``, ``attn_out``, ``resid_mid``, ``mlp_out`` and ``resid_post`` mark the
    places that others may want to look at. A sublayer's first norm in data order is ``attn_norm`` or
    ``mlp_norm``; a second one carries its slot, ``attn_out_norm``.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self._norms = {name: norm_names(name, config.slots(0, name)) for name in ("attn", "mlp")}
        self.resid_pre = nn.Identity()
        self._add_sublayer("attn", Attention(config), config)
        self.resid_mid = nn.Identity()
        self._add_sublayer("mlp", FeedForward(config), config)
        self.resid_post = nn.Identity()

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        """Return the residual line after the block."""
        x = self.resid_mid(self._sublayer("attn", self.resid_pre(x)))
        after: Tensor = self.resid_post(self._sublayer("mlp", x))
        return after

    def _add_sublayer(self, name: str, function: nn.Module, config: TransformerConfig) -> None:
        """Register a sublayer's modules in data order, so that listing modules lists sites by depth."""
        modules = {"function": (name, function), "mark": (f"{name}_out", nn.Identity())}
        for slot, norm_name in self._norms[name].items():
            modules[slot] = (norm_name, build_norm(config.norm, config.d_model))
        for place in ("line_in", "branch_in", "function", "branch_out", "mark", "line_out"):
            if place in modules:
                self.add_module(*modules[place])

    def _sublayer(
        self, name: str, x: Float[Tensor, "batch seq d_model"]
    ) -> Float[Tensor, "batch seq d_model"]:
        line = self._norm(name, "line_in", x)
        branch = self.get_submodule(name)(self._norm(name, "branch_in", line))
        added = self.get_submodule(f"{name}_out")(self._norm(name, "branch_out", branch))
        return self._norm(name, "line_out", line + added)

    def _norm(
        self, sublayer: str, slot: str, x: Float[Tensor, "batch seq d_model"]
    ) -> Float[Tensor, "batch seq d_model"]:
        name = self._norms[sublayer].get(slot)
        return x if name is None else self.get_submodule(name)(x)


def norm_names(sublayer: str, slots: Slots) -> dict[str, str]:
    """Return the module name of every norm a sublayer has, by slot, in data order.

    Args:
        sublayer: ``attn`` or ``mlp``.
        slots: The wiring's row of the table.
    """
    names = {slot: f"{sublayer}_{slot.removeprefix('branch_')}_norm" for slot in slots.names}
    return {**names, **dict.fromkeys(slots.names[:1], f"{sublayer}_norm")}
