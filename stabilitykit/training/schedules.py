"""The learning rate as a pure function of the step."""

import math

from stabilitykit.errors import ConfigError
from stabilitykit.training.config import ScheduleConfig


def resolve_warmup(schedule: ScheduleConfig, total_steps: int) -> int:
    """Return the warmup in steps: what is configured, or a tenth of the run.

    Args:
        schedule: The schedule's configuration.
        total_steps: Optimizer steps of the whole run.

    Raises:
        ConfigError: An explicit warmup is longer than the run.
    """
    if schedule.warmup is None:
        return total_steps // 10
    if schedule.warmup > total_steps:
        raise ConfigError(
            f"schedule.warmup: got {schedule.warmup}; must be at most the run's steps, {total_steps}"
        )
    return schedule.warmup


def lr_factor(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    """Return the learning rate at a step over its peak.

    In the warmup of ``w`` steps it is ``(step + 1)/w``, so that no step is lost to a rate of 0. Cosine
    reaches ``final_ratio`` at the run's last step and stays there.

    Args:
        step: Optimizer steps finished before this one.
        schedule: The schedule's configuration.
        total_steps: Optimizer steps of the whole run.
    """
    warmup = resolve_warmup(schedule, total_steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule.kind == "constant":
        return 1.0
    progress = min((step - warmup) / max(total_steps - 1 - warmup, 1), 1.0)
    return schedule.final_ratio + (1 - schedule.final_ratio) * (1 + math.cos(math.pi * progress)) / 2
