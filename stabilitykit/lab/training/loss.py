"""Cross-entropy with z-loss, on one log-sum-exp."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable


class LossParts(NamedTuple):
    """A batch's loss and what it is made of; a gradient flows from the total alone."""

    total: Float[Tensor, ""]
    """What is optimised: the sum of cross_entropy and z_loss."""
    cross_entropy: Float[Tensor, ""]
    """Mean −log p of the targets, in nats a token."""
    log_z: Float[Tensor, ""]
    """Mean log Z, the log-sum-exp of a token's logits."""
    z_loss: Float[Tensor, ""]
    """The coefficient times the mean of (log Z)²."""


def next_token_losses(
    logits: Float[Tensor, "token vocab"], targets: Int[Tensor, "token"], coefficient: float
) -> dict[str, Tensor]:
    """Return ``loss``, which is optimised; with a z-loss also ``cross_entropy`` and ``z_loss``, its parts.

    Args:
        logits: One a token of the vocabulary.
        targets: Indices below the vocabulary's size.
        coefficient: Weight of the z-loss; 0 for none.
    """
    if not coefficient:
        return {"loss": F.cross_entropy(logits, targets)}
    parts = cross_entropy_with_z_loss(logits, targets, coefficient)
    return {"loss": parts.total, "cross_entropy": parts.cross_entropy, "z_loss": parts.z_loss}


def cross_entropy_with_z_loss(
    logits: Float[Tensor, "token vocab"], targets: Int[Tensor, "token"], coefficient: float
) -> LossParts:
    """Return the mean cross-entropy plus ``coefficient · mean (log Z)²`` (PaLM 2204.02311), and its parts.

    With ``p = softmax(x)`` and ``n`` tokens the gradient of the logits is
    ``((1 + 2·coefficient·log Z)·p − onehot(y)) / n``, in closed form. Halves are computed in float32: a
    log Z of a few hundred has no fraction left in them.

    Args:
        logits: One a token of the vocabulary.
        targets: Indices below the vocabulary's size.
        coefficient: Weight of the z-loss, not negative; 1e-4 and 1e-5 are usual.
    """
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    parts = _CrossEntropyWithZLoss.apply(logits, targets, coefficient)  # type: ignore[no-untyped-call]
    return LossParts(*parts)


class _CrossEntropyWithZLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Float[Tensor, "token vocab"], targets: Int[Tensor, "token"], coefficient: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        p, rows = torch.softmax(logits, 1), targets.unsqueeze(1)
        # log Z = max x − log max p: the softmax's own log-sum-exp, and max p is at least 1/V, never 0.
        largest, log_p = logits.amax(1, keepdim=True), p.amax(1, keepdim=True).log_()
        # In this order: max x − x_y is exact where the target is the favourite, and loss would cancel.
        cross_entropy = largest.sub(logits.gather(1, rows)).sub_(log_p).mean()
        log_z = largest.sub_(log_p)
        z_loss = log_z.square().mean().mul_(coefficient)
        ctx.save_for_backward(p, rows, log_z)
        ctx.coefficient = coefficient
        parts = (cross_entropy, log_z.mean(), z_loss)
        ctx.mark_non_differentiable(*parts)
        return cross_entropy + z_loss, *parts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *of_parts: None) -> tuple[Tensor, None, None]:
        p, rows, log_z = ctx.saved_tensors
        share = grad / len(rows)
        gradient = p * torch.addcmul(share, share, log_z, value=2 * ctx.coefficient)
        return gradient.scatter_add_(1, rows, share.neg().expand_as(rows)), None, None
