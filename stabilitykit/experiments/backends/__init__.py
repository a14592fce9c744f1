"""Where cells are trained: on this machine, or on a cluster. No torch in the process that plans."""

from stabilitykit.experiments.backends.pool import Ended, Job, Pool

__all__ = ["Ended", "Job", "Pool"]
