"""Sharpness as Adam meets it: the largest eigenvalue of the preconditioned Hessian of the training loss."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer

from stabilitykit.lab.model.transformer import Transformer

_MOST_PRODUCTS = 20
_TOLERANCE = 0.01
"""Of the eigenvalue: Lanczos ends once it is known that well."""

Vector = Float[Tensor, "parameters"]


class Eigenpair(NamedTuple):
    """An eigenvalue and its eigenvector, of length 1."""

    value: float
    vector: Vector


def stability_threshold(lr: float, beta1: float) -> float:
    """Return the sharpness above which Adam at a fixed preconditioner diverges on a quadratic.

    It is (2 + 2·β1)/((1 − β1)·η), 38/η at β1 = 0.9 (Cohen et al. 2207.14484, section 2).

    Args:
        lr: Learning rate η, above 0.
        beta1: Decay of the first moment, in [0, 1).
    """
    return (2 + 2 * beta1) / ((1 - beta1) * lr)


def largest_eigenvalue(product: Callable[[Vector], Vector], start: Vector) -> Eigenpair:
    """Return the largest eigenvalue of a symmetric matrix by Lanczos, to about 1 %, from at most 20 products.

    The largest, not the one of largest size: early in training a Hessian has large negative ones.

    Args:
        product: The matrix times a vector.
        start: Where to begin, not zero; the last eigenvector where the matrix has changed little.
    """
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        image = product(basis[-1])
        diagonal.append(float(image @ basis[-1]))
        if not math.isfinite(diagonal[-1]):
            return Eigenpair(math.nan, basis[0])
        span = torch.stack(basis)
        # Twice is enough: once leaves what rounding took from orthogonality.
        for _ in range(2):
            image = image - span.mT @ (span @ image)
        rest = float(image.norm())
        matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        off = torch.tensor(beside, dtype=torch.float64)
        values, vectors = torch.linalg.eigh(matrix + torch.diag(off, 1) + torch.diag(off, -1))
        value, weights = float(values[-1]), vectors[:, -1]
        # The residual's norm bounds the distance to an eigenvalue.
        unknown = rest * abs(float(weights[-1]))
        if unknown <= _TOLERANCE * abs(value) or len(basis) in (_MOST_PRODUCTS, len(start)):
            return Eigenpair(value, span.mT @ weights.to(span.dtype))
        beside.append(rest)
        basis.append(image / rest)


class Sharpness:
    """Measures a transformer's preconditioned sharpness λ₁(P⁻¹H) beside its training.

    H is the Hessian of the training loss on one batch, and P = (1 − β1ᵗ)·(√(v/(1 − β2ᵗ)) + ε) what Adam
    divides by after t steps (2207.14484, section 2). A parameter whose learning rate is not the first
    group's counts with the share it has of it. The model that is trained is not called: a copy computes with
    its weights, without dropout and without anything that hangs on the original.
    """

    def __init__(self, model: Transformer) -> None:
        """Make the copy.

        Args:
            model: The model that will be trained.
        """
        self._copy = Transformer(model.config).to(next(model.parameters()).device).eval()
        self._vector: Vector | None = None

    def measure(self, model: Transformer, optimizer: Optimizer, batch: Int[Tensor, "batch window"]) -> float:
        """Return the sharpness at the model's weights.

        Args:
            model: The model in training.
            optimizer: Its Adam or AdamW, which has stepped.
            batch: Windows of one token more than is predicted.
        """
        weights = dict(model.named_parameters())
        inverse = _inverse_root_of_preconditioner(optimizer, list(weights.values()))
        copies = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        # The fused kernels have no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            loss = self._loss(copies, batch)
            gradients = torch.autograd.grad(loss, list(copies.values()), create_graph=True, allow_unused=True)
        used = [(copy, g) for copy, g in zip(copies.values(), gradients, strict=True) if g is not None]
        root = torch.cat([r.flatten() for r, g in zip(inverse, gradients, strict=True) if g is not None])
        flat = torch.cat([g.flatten() for _, g in used])

        def product(vector: Vector) -> Vector:
            # A matrix similar to P⁻¹H, and symmetric: P^-½ H P^-½.
            seconds = torch.autograd.grad(
                flat,
                [copy for copy, _ in used],
                root * vector,
                retain_graph=True,
                materialize_grads=True,
            )
            return root * torch.cat([second.flatten() for second in seconds])

        start = self._vector
        if start is None:
            generator = torch.Generator().manual_seed(0)
            start = torch.randn(len(root), generator=generator).to(root)
        value, self._vector = largest_eigenvalue(product, start)
        return value

    def _loss(self, weights: dict[str, Tensor], batch: Int[Tensor, "batch window"]) -> Float[Tensor, ""]:
        """Return the loss that is optimised, of operations that have second derivatives."""
        logits = functional_call(self._copy, weights, (batch[:, :-1],)).flatten(0, 1)
        loss = F.cross_entropy(logits, batch[:, 1:].flatten())
        coefficient = self._copy.config.head.z_loss
        return loss + coefficient * logits.logsumexp(1).square().mean() if coefficient else loss


def _inverse_root_of_preconditioner(optimizer: Optimizer, weights: list[Tensor]) -> list[Tensor]:
    """Return P^-½ of each weight."""
    groups = {id(weight): group for group in optimizer.param_groups for weight in group["params"]}
    base = optimizer.param_groups[0]["lr"]
    roots = []
    for weight in weights:
        state, group = optimizer.state[weight], groups[id(weight)]
        (beta1, beta2), t = group["betas"], float(state["step"])
        divisor = (state["exp_avg_sq"] / (1 - beta2**t)).sqrt() + group["eps"]
        roots.append((divisor * (1 - beta1**t) * (base / group["lr"])).rsqrt())
    return roots
