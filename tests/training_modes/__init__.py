"""Ways of training, each with a check that what is read under it is right."""

from . import lightning_modes, lightning_runs, loop_modes, odd_loops, own_steps, trainer_modes
from .kit import MODES, Mode

__all__ = [
    "MODES",
    "Mode",
    "lightning_modes",
    "lightning_runs",
    "loop_modes",
    "odd_loops",
    "own_steps",
    "trainer_modes",
]
