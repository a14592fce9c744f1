"""One thread for every test: two processes that spin for two cores are slower than one."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
