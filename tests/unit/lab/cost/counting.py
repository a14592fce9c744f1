"""Count what a model really does, on the meta device: no memory, no arithmetic, the real operations."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.lab.training.loss import cross_entropy_with_z_loss


class Counted(NamedTuple):
    """What torch's flop counter and autograd's hooks say."""

    forward: int
    """FLOPs of products of matrices."""
    backward: int
    saved: int
    """Bytes that autograd keeps, parameters aside."""
    parameters: int


def count(config: TransformerConfig, batch: int, length: int) -> Counted:
    """Return the counts of one training step's forward and backward.

    On the meta device torch's attention runs matrix by matrix, so that every product is counted.
    """
    with torch.device("meta"):
        model = Transformer(config)
    own = {id(each) for each in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in own and (tensor._base is None or id(tensor._base) not in own):
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    tokens = torch.zeros(batch, length, dtype=torch.int64, device="meta")
    with (
        FlopCounterMode(display=False) as forward,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x),
    ):
        logits = model(tokens).flatten(0, 1)
        loss = cross_entropy_with_z_loss(logits, tokens.flatten(), config.head.z_loss).total
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    saved = sum(each.untyped_storage().nbytes() for each in kept.values())
    return Counted(
        forward.get_total_flops(),
        backward.get_total_flops(),
        saved,
        sum(each.numel() for each in model.parameters()),
    )
