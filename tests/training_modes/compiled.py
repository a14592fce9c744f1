"""Trains compiled models under ``watch``, in a process of its own: tests' type checks cannot be compiled.

python -m training_modes.compiled FOLDER prints what was wrong with each way of compiling, as JSON.
"""

import json
import sys
import traceback
from pathlib import Path

import torch
from foreign.models import BUILDERS, Foreign
from torch._dynamo.utils import counters

from stabilitykit import Statistic, watch

from .kit import SEED, agree, batches, records
from .loop_modes import plain

WAYS = ("before", "in_place", "per_block", "after", "in_place_after")

STATISTICS = [
    Statistic("mine/mean_abs", lambda x: x.abs().mean(), sites="blocks.*.resid_post"),
    Statistic("mine/highest", torch.amax, "max", "*_norm_out"),
]


def two_blocks() -> Foreign:
    """Return nanoGPT with as few blocks as can be told to be repeated: compiling takes long."""
    foreign = BUILDERS["nanogpt"](seed=SEED)
    del foreign.model.transformer["h"][2:]
    return foreign


def compare(how: str, folder: Path) -> None:
    """Require the readings of a compiled model to be those of an eager one.

    Args:
        how: When and how it is compiled.
        folder: Where the runs are kept.
    """
    torch._dynamo.reset()
    counters.clear()
    foreign = two_blocks()
    model = target = foreign.model
    if how == "before":
        target = torch.compile(model, backend="aot_eager")
    elif how == "in_place":
        model.compile(backend="aot_eager")
    elif how == "per_block":
        for block in model.transformer["h"]:
            block.compile(backend="aot_eager")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    graphs = []
    with watch(target, optimizer, folder / "compiled", statistics=STATISTICS) as monitor:
        if how == "after":
            target = torch.compile(model, backend="aot_eager")
        elif how == "in_place_after":
            model.compile(backend="aot_eager")
        for batch in batches(count=4):
            loss = foreign.loss(target, batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.step(loss)
            graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[1] == graphs[-1] > 0, f"compiled anew: {graphs}"
    plain(folder / "eager", batches(count=4), two_blocks(), STATISTICS)
    found, expected = records(folder / "compiled"), records(folder / "eager")
    for one, other in zip(found[2:], expected[2:], strict=True):
        agree(one, other, 1e-3, skip=("optim/lr", "optim/rms_t"))


def wrong_with(how: str, folder: Path) -> str:
    """Return what ``compare`` raises for one way, or nothing."""
    try:
        compare(how, folder)
    except Exception:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({how: wrong_with(how, Path(sys.argv[1]) / how) for how in WAYS}))
