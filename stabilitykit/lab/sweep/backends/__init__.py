"""Where cells are trained: on this machine, or on a cluster. No torch in the process that plans."""

from stabilitykit.lab.sweep.backends.config import BackendConfig, backend_config
from stabilitykit.lab.sweep.backends.factory import make_pool
from stabilitykit.lab.sweep.backends.pool import Ended, Pool
from stabilitykit.lab.sweep.job import Job

__all__ = ["BackendConfig", "Ended", "Job", "Pool", "backend_config", "make_pool"]
