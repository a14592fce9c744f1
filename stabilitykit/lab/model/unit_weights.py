"""Weights on the unit sphere, as in nGPT (Loshchilov et al. 2410.01131)."""

import torch
import torch.nn.functional as F
from torch import nn

_ENDS_BRANCH = ("o_proj", "down_proj")


@torch.no_grad()
def normalise_weights(model: nn.Module) -> None:
    """Divide every vector along d_model, of matrices and token embeddings, by its length, in place.

    Those are the rows of what reads the residual stream, and the columns of what is added to it. With
    ``unit_weights`` this belongs behind each optimizer step; ``TransformerModule`` does it by itself, a
    loop of one's own calls it.

    Args:
        model: A ``Transformer``.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            along = 0 if name.endswith(_ENDS_BRANCH) else 1
            module.weight.copy_(F.normalize(module.weight, dim=along))
