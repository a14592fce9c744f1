"""The learning rate as a pure function of the step."""

import math
from dataclasses import dataclass

from stabilitykit.errors import ConfigError
from stabilitykit.lab.training.config import ScheduleConfig

_DECAY_RATIO = 0.2


@dataclass(frozen=True, slots=True)
class Phases:
    """The lengths of a schedule's parts, in steps; what is left between the two is at the peak."""

    warmup: int
    decay: int
    """Last steps whose rate is below the peak; only wsd has them."""


def resolve_phases(schedule: ScheduleConfig, total_steps: int) -> Phases:
    """Return the lengths of a schedule's parts: what is configured, and a rule for what is not.

    A warmup left out is a tenth of the run, a decay left out a fifth (Hägele et al. 2405.18392), and what
    is left out never takes steps from what is configured.

    Args:
        schedule: The schedule's configuration.
        total_steps: Optimizer steps of the whole run.

    Raises:
        ConfigError: What is configured is longer than the run.
    """
    warmup, decay = schedule.warmup, _configured_decay(schedule, total_steps)
    if warmup is not None:
        _refuse_longer("warmup", f"{warmup}", warmup, total_steps, "the run's steps")
    if decay is not None:
        left = total_steps - (warmup or 0)
        what = f"what schedule.warmup {warmup} leaves of" if warmup else ""
        _refuse_longer(*_decay_as_typed(schedule, decay), decay, left, f"{what} the run's steps".strip())
    if warmup is None:
        warmup = min(total_steps // 10, total_steps - (decay or 0))
    if decay is None:
        wanted = max(round(_DECAY_RATIO * total_steps), 1) if schedule.kind == "wsd" else 0
        decay = min(wanted, total_steps - warmup)
    return Phases(warmup, decay)


def resolve_warmup(schedule: ScheduleConfig, total_steps: int) -> int:
    """Return the warmup in steps: what is configured, or a tenth of the run.

    Args:
        schedule: The schedule's configuration.
        total_steps: Optimizer steps of the whole run.

    Raises:
        ConfigError: An explicit warmup or decay, or both together, are longer than the run.
    """
    return resolve_phases(schedule, total_steps).warmup


def resolve_schedule(schedule: ScheduleConfig, total_steps: int) -> ScheduleConfig:
    """Return the same schedule with every length that was left to a rule written out in steps.

    Args:
        schedule: The schedule's configuration.
        total_steps: Optimizer steps of the whole run.

    Raises:
        ConfigError: What is configured is longer than the run.
    """
    phases = resolve_phases(schedule, total_steps)
    lengths: dict[str, int | None] = {"warmup": phases.warmup}
    if phases.decay:
        lengths |= {"decay_steps": phases.decay, "decay_ratio": None}
    return schedule.model_copy(update=lengths)


def lr_factor(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    """Return the learning rate at a step over its peak.

    In the warmup of ``w`` steps it is ``(step + 1)/w``, so that no step is lost to a rate of 0. Cosine and
    linear leave the peak right after it; wsd stays there until its last ``decay_steps``. All three reach
    ``final_ratio`` at the run's last step and stay there.

    Args:
        step: Optimizer steps finished before this one.
        schedule: The schedule's configuration.
        total_steps: Optimizer steps of the whole run.
    """
    phases = resolve_phases(schedule, total_steps)
    if step < phases.warmup:
        return (step + 1) / phases.warmup
    if schedule.kind == "constant":
        return 1.0
    if schedule.kind == "wsd":
        shape, length = schedule.decay_shape, phases.decay
    else:
        shape, length = schedule.kind, total_steps - 1 - phases.warmup
    return schedule.final_ratio + (1 - schedule.final_ratio) * _left(shape, step, length, total_steps)


def _left(shape: str, step: int, length: int, total_steps: int) -> float:
    """Return the share of the way down that is still ahead, 1 on the step before the decay begins."""
    done = (step - (total_steps - 1 - length)) / max(length, 1)
    done = min(max(done, 0.0), 1.0)
    if shape == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    return 1 - (math.sqrt(done) if shape == "sqrt" else done)


def _configured_decay(schedule: ScheduleConfig, total_steps: int) -> int | None:
    if schedule.decay_ratio is not None:
        return max(round(schedule.decay_ratio * total_steps), 1)
    return schedule.decay_steps


def _decay_as_typed(schedule: ScheduleConfig, decay: int) -> tuple[str, str]:
    if schedule.decay_ratio is not None:
        return "decay_ratio", f"{schedule.decay_ratio:g}, {decay} steps"
    return "decay_steps", f"{decay}"


def _refuse_longer(field: str, typed: str, length: int, limit: int, what: str) -> None:
    if length > limit:
        raise ConfigError(f"schedule.{field}: got {typed}; must be at most {what}, {limit}")
