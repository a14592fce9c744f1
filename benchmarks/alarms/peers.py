"""Baselines on the loss, the gradient norm and clipping, and what peers' rules announce."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.alarms.announcing import Alarms, begun
from benchmarks.alarms.fixed import FIXED, FixedRule
from benchmarks.alarms.runs import Run, Series
from benchmarks.alarms.series import ARMED, LAG
from benchmarks.alarms.signals import known, scores_of
from benchmarks.detection import peer_deviations as deviations
from benchmarks.detection.baselines import BASELINES
from benchmarks.detection.log import Log, Tool, Values
from benchmarks.detection.peer_ratios import Flags

CLIPPED = 50
"""Steps over which the share of clipped ones is taken."""

Score = Callable[[Run], Series]
"""Takes a run and returns one number a step, to be held against a threshold; higher is more alarming."""


def loss_slope(run: Run) -> Series:
    """Return the slope of the least-squares line through the last 20 losses, in nats a step.

    Of all there are from step 8 on; NaN where a loss among them is not finite.
    """
    found = np.full(run.n_steps, np.nan)
    loss = np.where(np.isfinite(run.loss), run.loss, np.nan)
    for place in range(ARMED, min(LAG - 1, run.n_steps)):
        found[place] = _slopes(loss[None, : place + 1])[0]
    if run.n_steps >= LAG:
        found[LAG - 1 :] = _slopes(np.lib.stride_tricks.sliding_window_view(loss, LAG))
    return found


def clip_share(run: Run) -> Series:
    """Return the share of the last 50 steps at which the gradient was clipped; of all there are before."""
    factor = known(run, "optim/clip_factor")
    if not factor.shape[1]:
        return np.full(run.n_steps, np.nan)
    clipped = np.concatenate([[0], np.cumsum(factor[:, 0] < 1)])
    to = np.arange(1, run.n_steps + 1)
    since = np.maximum(to - CLIPPED, 0)
    share: Series = (clipped[to] - clipped[since]) / (to - since)
    share[:ARMED] = np.nan
    return share


SCORES: dict[str, Score] = {
    "loss z": lambda run: scores_of(run, ["loss"])["loss", "z"],
    "loss slope": loss_slope,
    "log gradient norm z": lambda run: scores_of(run, ["gradient norm"])["gradient norm", "z"],
    "clip share": clip_share,
}
"""Baselines whose threshold is set on other runs, as those of the signals are."""


def trainscope_crossing(values: Values, base: int = 40, sigmas: float = 3.0, hold: int = 3) -> Alarms:
    """Return where trainscope 1.8.1's rule for internal signals is met (``first_crossing_step``).

    The rule: a value above the median of the first ``base`` by ``sigmas`` times 1.4826 MAD of them, for
    ``hold`` steps in a row; both are the upper of the two middle values. Its report names the first of these
    steps; here the last one, at which it is known, and every later stretch as well.
    """
    if len(values) <= base or not np.isfinite(values[:base]).all():
        return np.empty(0, np.int64)
    center = np.sort(values[:base])[base // 2]
    noise = 1.4826 * np.sort(np.abs(values[:base] - center))[base // 2]
    flags = np.isfinite(values) & (values > center + sigmas * noise)
    flags[:base] = False
    return begun(flags.astype(float), 0.0, hold)


def _peer(tool: Tool) -> FixedRule:
    """Return what a tool of the detectors' benchmark announces on a run."""

    def announces(run: Run) -> Alarms:
        log = Log(run.steps, run.loss, _gradient_norm(run))
        if getattr(log, tool.needs) is None:
            return np.empty(0, np.int64)
        # An infinite loss makes its window's mean and scatter no numbers, which the rules put up with. And
        # a rule that is given numbers does not look at the file.
        with np.errstate(invalid="ignore", over="ignore"):
            said = tool.judge(Path(), log)
        return np.array([incident["detected"] for incident in said.incidents], np.int64)

    return announces


def _on_gradient_norm(rule: Callable[[Values], Flags]) -> FixedRule:
    """Return what a rule for the loss announces on the gradient norm, once a stretch."""

    def announces(run: Run) -> Alarms:
        norm = _gradient_norm(run)
        if norm is None:
            return np.empty(0, np.int64)
        with np.errstate(invalid="ignore", over="ignore"):
            return run.steps[begun(rule(norm).astype(float), 0.0, hold=1)]

    return announces


def _crossing(run: Run, family: str) -> Alarms:
    rows = known(run, family)
    if not rows.shape[1]:
        return np.empty(0, np.int64)
    places: Alarms = np.unique(np.concatenate([trainscope_crossing(site) for site in rows.T]))
    return run.steps[places]


def _gradient_norm(run: Run) -> Values | None:
    norm = known(run, "optim/grad_norm")
    return norm[:, 0] if norm.shape[1] else None


def _all() -> Iterator[tuple[str, FixedRule]]:
    yield from ((tool.name, _peer(tool)) for tool in BASELINES)
    yield "OLMo-core monitor 6σ, gradient norm", _on_gradient_norm(deviations.olmo_monitor)
    yield "OLMo-core skip-step 6σ, gradient norm", _on_gradient_norm(deviations.olmo_skip_step)
    # trainscope's is the excess kurtosis of all elements; the channels' is what a run records.
    yield "trainscope 3σ, kurtosis of channels", partial(_crossing, family="act/kurtosis")
    yield "trainscope 3σ, gradient norm", partial(_crossing, family="optim/grad_norm")
    yield from ((name, rule) for name, rule in FIXED.items() if name.startswith("max logit"))


PEERS: dict[str, FixedRule] = dict(_all())
"""Rules with their own limits, by name; each takes a run and returns the steps it announces."""


def _slopes(rows: Values) -> Values:
    """Return the slope of the least-squares line through each row."""
    at = np.arange(rows.shape[1]) - (rows.shape[1] - 1) / 2
    return np.asarray(rows @ at / (at @ at))
