"""Where cells are trained: on this machine, or on a cluster. No torch in the process that plans."""

from stabilitykit.experiments.backends.config import BackendConfig, backend_config
from stabilitykit.experiments.backends.factory import make_pool
from stabilitykit.experiments.backends.pool import Ended, Job, Pool

__all__ = ["BackendConfig", "Ended", "Job", "Pool", "backend_config", "make_pool"]
