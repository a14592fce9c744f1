"""Logistic regression for few features, by Newton's method."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Logistic:
    """A fitted model."""

    mean: Numbers
    scale: Numbers
    weights: Numbers
    """Intercept first, then one a standardised feature."""

    def log_odds(self, features: Numbers) -> Numbers:
        """Return the log odds of each row."""
        return np.asarray(self.weights[0] + ((features - self.mean) / self.scale) @ self.weights[1:])


def fit(features: Numbers, failed: NDArray[np.bool_], ridge: float = 1.0) -> Logistic:
    """Return the model of greatest penalised likelihood.

    Args:
        features: (runs, features). One that never varies gets no weight.
        failed: What is to be told from them.
        ridge: Half of it times the squared weights of the standardised features is what they cost; the
            intercept is free. It also holds weights finite where the classes can be told apart exactly.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x = np.column_stack([np.ones(len(features)), (features - mean) / scale])
    y = failed.astype(np.float64)
    penalty = np.full(x.shape[1], ridge)
    # All failed or none: a trace of a penalty keeps the intercept finite.
    penalty[0] = 1e-3
    weights = np.zeros(x.shape[1])
    for _ in range(100):
        p = _sigmoid(x @ weights)
        gradient = x.T @ (y - p) - penalty * weights
        curvature = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        # A full step may overshoot far from the optimum; bounded ones still get there.
        step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    return Logistic(mean, scale, weights)


def log_likelihood(log_odds: Numbers, failed: NDArray[np.bool_]) -> Numbers:
    """Return the log-likelihood of each outcome, in nats."""
    return np.asarray(-np.logaddexp(0.0, np.where(failed, -log_odds, log_odds)))


def _sigmoid(values: Numbers) -> Numbers:
    return np.asarray(0.5 * (1 + np.tanh(values / 2)))
