"""Internal signals: of which readings each is made, and which way it is alarming."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.alarms.runs import Rows, Run, Series
from benchmarks.alarms.series import (
    ARMED,
    RULES,
    SMOOTH,
    Rule,
    growth,
    largest,
    last_known,
    trailing_median,
    z,
)

Direction = Literal[1, -1, 0]
"""1 where rising is alarming, -1 where falling is, 0 where either is."""

_NOTHING = 1e-12
"""What falls below this is gone; zero has no logarithm."""
_EVEN = 1e-6
"""What entropies in float32 may miss of their maximum."""


@dataclass(frozen=True)
class Signal:
    """One internal signal."""

    rows: Callable[[Run], Rows]
    """Its values, (n, sites): at any site it may alarm."""
    direction: Direction
    reads: tuple[str, ...]
    """The families of tags it is made of."""
    scale: Literal["log", "linear"] = "log"
    """``linear`` where values may be negative or are often zero."""


def known(run: Run, family: str, endings: tuple[str, ...] = ("",), blocks: bool = False) -> Rows:
    """Return the rows of a family, each site's last reading where it was not read; as ``Run.rows`` else."""
    places = run.places(family, endings, blocks)
    return last_known(run.values[:, places].astype(np.float64), run.missing[:, places])


def excess(run: Run) -> Series:
    """Return the loss less the unigram cross-entropy of the same batch, in nats."""
    # Beyond float32 both may be infinite: then nothing is known of the difference.
    with np.errstate(invalid="ignore"):
        return run.loss - run.unigram


def first_over_last(run: Run) -> Rows:
    """Return the gradient norm of the first block over that of the last, one column; none of one block."""
    norms = np.clip(known(run, "grad/norm", blocks=True), _NOTHING, 1 / _NOTHING)
    return norms[:, :1] / norms[:, -1:] if norms.shape[1] > 1 else norms[:, :0]


def _of(
    family: str,
    direction: Direction,
    endings: tuple[str, ...] = ("",),
    blocks: bool = False,
    scale: Literal["log", "linear"] = "log",
) -> Signal:
    return Signal(lambda run: known(run, family, endings, blocks), direction, (family,), scale)


SIGNALS: dict[str, Signal] = {
    "share falling": _of("grad/share", -1, blocks=True),
    "block gradient falling": _of("grad/norm", -1, blocks=True),
    "first/last gradient": Signal(first_over_last, 0, ("grad/norm",)),
    "RMS_t falling": _of("optim/rms_t", -1, blocks=True),
    "RMS_t rising": _of("optim/rms_t", 1),
    "staleness": _of("optim/staleness", 1),
    "token spread falling": _of("act/token_spread", -1),
    "residual RMS": _of("act/rms", 1, ("resid_post",)),
    "norm input RMS": _of("act/rms", 1, ("norm_in",)),
    "branch RMS": _of("act/rms", 1, ("attn_out", "mlp_out")),
    "max abs": _of("act/max_abs", 1),
    "headroom falling": _of("act/headroom", -1),
    "massive": _of("act/massive", 1),
    "kurtosis": _of("act/kurtosis", 1),
    "silent units": _of("act/silent_units", 1, scale="linear"),
    "nonfinite": _of("act/nonfinite", 1, scale="linear"),
    "max logit": _of("attn/logit_max", 1),
    "max logit bound": _of("attn/logit_max_bound", 1),
    "entropy falling": _of("attn/entropy", -1),
    "entropy rising": Signal(
        lambda run: np.maximum(1 - known(run, "attn/entropy"), _EVEN), -1, ("attn/entropy",)
    ),
    "entropy of a head falling": _of("attn/entropy_min", -1),
    "norm gain": _of("norm/gain_rms", 0),
    "log Z": _of("output/log_z", 0, scale="linear"),
    "update ratio": _of("optim/update_ratio", 1),
    "update norm": _of("optim/update_norm", 1),
    "gradient norm": _of("optim/grad_norm", 1),
    "clip factor falling": _of("optim/clip_factor", -1),
    "gradient cosine": _of("optim/grad_cosine", 0, scale="linear"),
    "group gradient cosine": _of("grad/cosine", 0, scale="linear"),
    "skipped steps": _of("optim/skipped", 1, scale="linear"),
    "loss scale falling": _of("optim/loss_scale", -1),
    "learning rate": _of("optim/lr", 1),
    "loss": Signal(lambda run: run.loss[:, None], 1, ("train/loss", "train/cross_entropy")),
    "loss over unigram": Signal(
        lambda run: excess(run)[:, None],
        1,
        ("train/loss", "train/cross_entropy", "train/unigram_cross_entropy"),
        "linear",
    ),
    "z-loss": _of("train/z_loss", 1),
    "sharpness": _of("train/preconditioned_sharpness", 1),
    "edge of stability": _of("train/edge_of_stability", 1),
}
"""What is measured beside the loss, and the loss."""


def scores_of(run: Run, names: Iterable[str] = SIGNALS) -> dict[tuple[str, Rule], Series]:
    """Return the score of every step by signal and rule, the largest over sites; higher is more alarming.

    ``z`` is the robust z-score against the 32 values before, ``growth`` the change of a 5-step median over 20
    steps, both of the logarithm where a signal has one; ``level`` is that median itself. Where falling is
    alarming, ``z`` and ``growth`` have the other sign, and ``level`` is 1/value, or -value on a linear scale.
    Where either is, the larger of both counts. NaN where a rule cannot say: before step 8, where the
    run lacks the signal, and where its readings are not numbers.

    Args:
        run: One run.
        names: Some of ``SIGNALS``; all unless given.
    """
    found = {(name, rule): np.full(run.n_steps, np.nan) for name in names for rule in RULES}
    made = {name: _scaled(SIGNALS[name], SIGNALS[name].rows(run)) for name in names}
    made = {name: rows for name, rows in made.items() if rows.shape[1]}
    if not made:
        return found
    widths = [rows.shape[1] for rows in made.values()]
    starts = [0, *np.cumsum(widths)[:-1].tolist()]
    signals = [SIGNALS[name] for name in made]
    direction = np.repeat([signal.direction for signal in signals], widths)
    is_log = np.repeat([signal.scale == "log" for signal in signals], widths)
    rows = np.hstack(list(made.values()))
    smoothed = trailing_median(rows, SMOOTH)
    level = _towards(smoothed, direction)
    np.exp(level, out=level, where=is_log)
    by_rule: dict[Rule, Rows] = {
        "z": _towards(z(rows), direction),
        "growth": _towards(growth(smoothed), direction),
        "level": level,
    }
    for rule, sites in by_rule.items():
        for name, score in zip(made, largest(sites[ARMED:], starts).T, strict=True):
            found[name, rule][ARMED:] = score
    return found


def _scaled(signal: Signal, rows: Rows) -> Rows:
    """Return values on the signal's scale."""
    if signal.scale == "linear":
        return rows
    if signal.direction < 0:
        return np.log(np.maximum(rows, _NOTHING))
    log = np.full_like(rows, np.nan)
    np.log(rows, out=log, where=rows > 0)
    return log


def _towards(rows: Rows, direction: np.ndarray) -> Rows:
    """Return rows so that higher is more alarming."""
    return np.where(direction == 0, np.abs(rows), np.where(direction < 0, -rows, rows))
