"""The block structures that are watched: how to build each, and the blocks and sites to be found in it."""

from collections.abc import Callable

import torch
from foreign import structures as made
from foreign.models import Foreign, squared
from foreign.modules import VOCABULARY
from torch import nn

FULL = "resid_pre attn_norm_in attn_norm_out attn_out resid_mid mlp_norm_in mlp_norm_out mlp_out resid_post"
MIXED = "resid_pre norm1_in norm1_out mixer_out norm2_in norm2_out mlp_out resid_post"
BARE = "resid_pre attn_out mlp_out resid_post"
CROSS = (
    "resid_pre attn_norm_in attn_norm_out attn_out cross_attn_norm_in cross_attn_norm_out cross_attn_out "
    "mlp_norm_in mlp_norm_out mlp_out resid_post"
)
JOINT = (
    "resid_pre context.resid_pre norm_c_in norm_c_out norm_x_in norm_x_out attn_out norm_mlp_x_in "
    "norm_mlp_x_out mlp_out norm_mlp_c_in norm_mlp_c_out resid_post context.resid_post"
)
LINE = "resid_pre resid_post"

Blocks = list[tuple[str, str]]
"""Paths of the blocks' modules, and the sites in each."""
Case = tuple[Callable[[], nn.Module], dict[str, Blocks]]


def layers(n: int, sites: str, path: str = "layers") -> Blocks:
    return [(f"{path}.{i}", sites) for i in range(n)]


def block() -> made.Block:
    return made.Block()


CASES: dict[str, Case] = {
    "classes that alternate": (
        lambda: made.Decoder(block(), made.MixerBlock(), made.MixerBlock(), block(), made.MixerBlock()),
        {"": list(zip((f"layers.{i}" for i in range(5)), (FULL, MIXED, MIXED, FULL, MIXED), strict=True))},
    ),
    "one attention at the end": (
        lambda: made.Decoder(made.MixerBlock(), made.MixerBlock(), block()),
        {"": [("layers.0", MIXED), ("layers.1", MIXED), ("layers.2", FULL)]},
    ),
    "classes that alternate in a sequence": (
        lambda: made.Decoder(nn.Sequential(block(), made.MixerBlock(), block(), made.MixerBlock())),
        {"": list(zip((f"layers.0.{i}" for i in range(4)), (FULL, MIXED) * 2, strict=True))},
    ),
    "a loop": (lambda: made.Looped(block()), {"": [("layers.0", FULL)] * 3}),
    "a loop over two": (lambda: made.Looped(block(), block()), {"": layers(2, FULL) * 3}),
    "each twice": (
        lambda: made.Repeating(block(), block()),
        {"": [("layers.0", FULL)] * 2 + [("layers.1", FULL)] * 2},
    ),
    "a loop with a matrix in between": (lambda: made.Injected(block(), block()), {"": layers(2, FULL)}),
    "a fixed point": (lambda: made.Settling(block()), {"": layers(1, FULL)}),
    "only one block": (lambda: made.Decoder(block()), {"": layers(1, FULL)}),
    "packed experts": (
        lambda: made.Decoder(*(made.with_experts(made.PackedExperts()) for _ in range(2))),
        {"": layers(2, FULL)},
    ),
    "routed experts": (
        lambda: made.Decoder(*(made.with_experts(made.RoutedExperts()) for _ in range(2))),
        {"": layers(2, FULL)},
    ),
    "two streams": (made.Joint, {"": layers(3, JOINT)}),
    "a dataclass": (lambda: made.Stateful(made.StateBlock(), made.StateBlock()), {"": layers(2, FULL)}),
    "an object": (lambda: made.Objects(made.ObjectBlock(), made.ObjectBlock()), {"": layers(2, FULL)}),
    "norms as functions": (
        made.Functional,
        {"": [(f"layers.{i}", LINE if i == 2 else BARE) for i in range(4)]},
    ),
    "norms within matrices": (
        lambda: made.Fused(made.FusedBlock(), made.FusedBlock()),
        {"": layers(2, BARE)},
    ),
    "a dictionary": (made.Keyed, {"": [(f"layers.layer_{i}", FULL) for i in range(3)]}),
    "levels of a U-Net": (
        made.UNet,
        {
            "down.": [(f"down.attentions.{i}.blocks.0", CROSS) for i in range(2)],
            "middle_attentions_0_blocks_0.": [("middle.attentions.0.blocks.0", CROSS)],
            "up.": [(f"up.attentions.{i}.blocks.0", CROSS) for i in range(3)],
        },
    ),
    "two full blocks in one": (
        lambda: made.Decoder(made.Axial(), made.Axial()),
        {
            "": [
                (f"layers.{i}.layers.{name}", MIXED if name == "mixer" else FULL)
                for i in range(2)
                for name in ("mixer", "block_attention", "grid_attention")
            ]
        },
    ),
    "some tokens alone": (
        lambda: made.Decoder(block(), made.SomeTokens(), block(), made.SomeTokens()),
        {"": layers(4, FULL)},
    ),
}

TOKENS = torch.randint(0, VOCABULARY, (2, 24), generator=torch.Generator().manual_seed(1))


def built(name: str, seed: int) -> Foreign:
    """Return a model of a structure with a batch and a loss.

    Args:
        name: Of the structure.
        seed: Decides about its weights.
    """
    torch.manual_seed(seed)
    model = CASES[name][0]().train()
    return Foreign(model, {"x": TOKENS}, squared)
