"""Whether a bisection finds what a grid finds, and with how many of its runs, on a finished sweep of a grid.

    python -m benchmarks.science.bisection runs/science/norm_placement.sweep.json

The bisection ends at the grid's own spacing, so that all the cells it asks for are there: nothing is trained.
"""

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from stabilitykit.lab.sweep.compare import Results
from stabilitykit.lab.sweep.compare.rates import stable_lr_maxima
from stabilitykit.lab.sweep.compare.results import LR, lr_grid
from stabilitykit.lab.sweep.compare.summary import settings
from stabilitykit.lab.sweep.grid import open_sweep, read_sweep


def main() -> None:
    """Print how many cells each asks for, and how often both find the same largest stable rate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path, help="NAME.sweep.json of a finished grid of learning rates")
    grid = open_sweep(parser.parse_args().plan)
    rates = lr_grid(grid.plan)
    spacing = max(high / low for low, high in pairwise(rates))
    plan = replace(grid.plan, bisect=LR, resolution=1.01 * spacing)
    halved = read_sweep(plan, grid.folder)
    print(f"grid: {len(grid.runs)} cells; bisection: {len(halved.runs)}, {len(halved.done)} of them there")
    same = total = 0
    for (values, ours), (_, theirs) in zip(settings(grid), settings(halved), strict=True):
        whole = stable_lr_maxima(Results(grid), ours)
        found = stable_lr_maxima(Results(halved), theirs)
        agree = sum(whole[seed] == found.get(seed) for seed in whole)
        print(f"  {', '.join(map(str, values.values()))}: the same for {agree} of {len(whole)} seeds")
        same, total = same + agree, total + len(whole)
    print(f"the same largest stable rate for {same} of {total} settings and seeds")


if __name__ == "__main__":
    main()
