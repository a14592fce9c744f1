"""The table of norm placements. No torch."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from stabilitykit.errors import ConfigError, closest

WiringName = Literal[
    "post_norm", "pre_norm", "double_norm", "out_norm", "line_norm", "no_norm", "deepnorm", "lerp"
]
"""How norms and residual stream are wired."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Where a sublayer has norms, in the order the data meets them, and what carries the stream past it.

    ``u = N_line_in(x);  x' = N_line_out(a·u + s·N_branch_out(f(N_branch_in(u))))``
    """

    line_in: bool = False
    branch_in: bool = False
    branch_out: bool = False
    line_out: bool = False
    skip: Literal["plain", "deepnorm", "lerp"] = "plain"
    """``a`` and ``s``: 1 and 1; (2·n_layers)^¼ and 1; or 1 − s and a learned s."""

    @property
    def names(self) -> tuple[str, ...]:
        """The slots that hold a norm, in data order."""
        return tuple(
            name for name in ("line_in", "branch_in", "branch_out", "line_out") if getattr(self, name)
        )


WIRINGS: dict[WiringName, Slots] = {
    "post_norm": Slots(line_out=True),
    "pre_norm": Slots(branch_in=True),
    "double_norm": Slots(branch_in=True, branch_out=True),
    "out_norm": Slots(branch_out=True),
    "line_norm": Slots(line_in=True),
    "no_norm": Slots(),
    "deepnorm": Slots(line_out=True, skip="deepnorm"),
    "lerp": Slots(branch_out=True, line_out=True, skip="lerp"),
}
"""The norm slots of every wiring."""

ARCHS: tuple[str, ...] = get_args(WiringName)
"""What ``--arch`` takes."""

_ARCH_EXTRAS: dict[str, dict[str, Any]] = {
    # Attention reads the bare stream there: without QK-norm logits grow with the stream's mean square.
    "out_norm": {"attention": {"qk_norm": "head"}},
    # Nothing else holds the stream: every branch starts closed (ReZero, 2003.04887).
    "no_norm": {"residual": {"gate": "scalar"}},
    # The placement is half of it; the other half are small values and outputs at the start (2203.00555).
    "deepnorm": {"initialization": {"scheme": "deepnorm"}},
    # The line lives on a sphere, from the embedding on (nGPT, 2410.01131; there of radius 1, here √d_model).
    "lerp": {"norm": {"gain": False}, "embedding": {"norm": True}},
}


def arch_config(arch: str) -> dict[str, Any]:
    """Return the nested fields of ``TransformerConfig`` that an architecture's name stands for.

    Args:
        arch: One of ``ARCHS``.

    Raises:
        ConfigError: There is no such architecture; the closest names are given.
    """
    if arch not in ARCHS:
        raise ConfigError(f"arch: got {arch!r}; {closest(arch, ARCHS)}")
    extras = {section: dict(fields) for section, fields in _ARCH_EXTRAS.get(arch, {}).items()}
    return {"wiring": arch, **extras}
