"""The bands that the alarms' limits were chosen from: one line a run.

For each run: the verdict, the final loss, the lowest share of a block in the gradient (5-step median) and
the largest growth of the residual stream within 20 steps, from step 8 on.

    python -m benchmarks.detection.bands                        # all cells, about 13 minutes on one core
    python -m benchmarks.detection.bands --only pre_norm-3e-2
"""

import argparse
import itertools
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from stabilitykit.lab.probe import build_spec, probe
from stabilitykit.store import Run, open_run

WIRINGS = ("post_norm", "pre_norm", "double_norm", "out_norm")
DEEP = ("model.n_layers=12",)


def cells() -> list[tuple[str, str, str, int, int, tuple[str, ...]]]:
    """Return name, wiring, LR, warmup, seed and overrides of every run."""
    found = []
    for wiring, lr, warmup, seed in itertools.product(WIRINGS, ("1e-3", "3e-3"), (0, 30), (0, 1)):
        found.append((wiring, lr, warmup, seed, ()))
    for seed in (0, 1):
        found += [("post_norm", "1e-2", 0, seed, ()), ("post_norm", "1.6e-2", 30, seed, ())]
        found += [("post_norm", "2.3e-2", 0, seed, ()), ("pre_norm", "1e-2", 0, seed, ())]
        found += [("pre_norm", "3e-2", 0, seed, ()), ("pre_norm", "0.128", 0, seed, ())]
        found += [("pre_norm", "0.3", 30, seed, ()), ("double_norm", "1e-2", 0, seed, ())]
        found += [("double_norm", "3e-2", 30, seed, ()), ("double_norm", "1.0", 0, seed, ())]
    found += [("post_norm", "1e-2", 0, 2, ())]
    found += [(wiring, "1e-3", 30, 0, DEEP) for wiring in ("pre_norm", "double_norm", "post_norm")]
    found += [("pre_norm", "1e-3", 30, 0, ("model.n_layers=32", "trainer.steps=120"))]
    return [(f"{w}-{lr}-w{n}-s{s}{'-deep' if o else ''}", w, lr, n, s, o) for w, lr, n, s, o in found]


def smooth_log(run: Run, family: str, endings: tuple[str, ...]) -> np.ndarray:
    """Return the 5-step medians of log readings, steps by sites."""
    tags = [tag for tag in run.tags if tag.startswith(family) and tag.endswith(endings)]
    rows = np.log(np.maximum(np.stack([run.column(tag)[1] for tag in tags], axis=1), 1e-30))
    return np.stack([np.median(rows[max(0, n - 4) : n + 1], axis=0) for n in range(len(rows))])


def describe(run: Run) -> str:
    """Return the two bands of a run."""
    share = smooth_log(run, "grad/share/blocks.", ("",))
    line = smooth_log(run, "act/rms/", ("resid_mid", "resid_post"))
    growth = np.stack([line[n] - line[max(0, n - 20)] for n in range(8, len(line))])
    return f"lowest share {np.exp(share.min()):.1e}, residual stream grew {np.exp(growth.max()):.3g}-fold"


def main() -> None:
    """Run the cells and print their bands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cells whose name holds this")
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory() as folder:
        for name, wiring, lr, warmup, seed, overrides in cells():
            if only not in name:
                continue
            given = [f"optimizer.lr={lr}", f"schedule.warmup={warmup}", f"seed={seed}", *overrides]
            result = probe(build_spec(wiring, overrides=given), Path(folder) / name)
            bands = describe(open_run(result.logdir))
            final = result.final_loss or float("nan")
            print(f"{name:34s} {result.verdict.outcome:9s} final {final:.2f}  {bands}", flush=True)


if __name__ == "__main__":
    main()
