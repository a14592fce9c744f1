"""Ways of training in a plain loop, with Fabric, and compiled."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from foreign.models import BUILDERS, Foreign
from lightning.fabric import Fabric
from torch import Tensor

from stabilitykit import Statistic, watch

from .kit import SEED, agree, batches, close, grad_norm, mode, quiet, records


def plain(
    folder: Path, data: list[dict[str, Tensor]], foreign: Foreign, statistics: Sequence[Statistic] = ()
) -> None:
    """Train in a plain loop under a monitor that keeps its run in ``folder``."""
    optimizer = torch.optim.AdamW(foreign.model.parameters(), lr=1e-2)
    with watch(foreign.model, optimizer, folder, statistics=statistics) as monitor:
        for batch in data:
            loss = foreign.loss(foreign.model, batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.step(loss)


@mode(
    "plain loop, `GradScaler`",
    "gradients in their true scale before the clip; a skipped step is recorded with `optim/skipped` 1",
)
def scaler(folder: Path) -> None:
    foreign, norms = BUILDERS["nanogpt"](seed=SEED), []
    optimizer = torch.optim.AdamW(foreign.model.parameters(), lr=1e-2)
    amp = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with watch(foreign.model, optimizer, folder / "run", scaler=amp) as monitor:
        for n, batch in enumerate(batches()):
            with torch.autocast("cpu", torch.float16):
                loss = foreign.loss(foreign.model, batch)
            scaled = amp.scale(loss)
            if n == 2:
                scaled.register_hook(lambda gradient: gradient * float("inf"))
            scaled.backward()
            amp.unscale_(optimizer)
            norms.append(grad_norm(foreign.model))
            torch.nn.utils.clip_grad_norm_(foreign.model.parameters(), 1e-3)
            amp.step(optimizer)
            amp.update()
            optimizer.zero_grad()
            monitor.step(loss)
        assert not monitor.incidents
    found = records(folder / "run")
    assert [r.readings["optim/skipped"] for r in found] == [0, 0, 1, 0]
    assert [r.readings["optim/loss_scale"] for r in found] == [1024, 1024, 1024, 512]
    for n in (0, 1, 3):
        close(found[n].readings["optim/grad_norm"], norms[n])


@mode("plain loop, several optimizers", "one step a call of `step`; updates of all, `optim/lr` the first's")
def several(folder: Path) -> None:
    foreign = BUILDERS["nanogpt"](seed=SEED)
    parameters = list(foreign.model.parameters())
    one = torch.optim.AdamW([p for p in parameters if p.dim() > 1], lr=1e-2)
    two = torch.optim.SGD([p for p in parameters if p.dim() <= 1], lr=1e-1)
    norms = []
    with watch(foreign.model, [one, two], folder / "run") as monitor:
        for batch in batches():
            loss = foreign.loss(foreign.model, batch)
            loss.backward()
            norms.append(grad_norm(foreign.model))
            torch.nn.utils.clip_grad_norm_(parameters, 1e-3)
            for optimizer in (one, two):
                optimizer.step()
                optimizer.zero_grad()
            monitor.step(loss)
    for record, norm in list(zip(records(folder / "run"), norms, strict=True))[1:]:
        assert len(set(record.tags)) == len(record.tags)
        close(record.readings["optim/grad_norm"], norm)
        close(record.readings["optim/lr"], 1e-2)
        assert record.readings["optim/update_ratio/blocks.01"] > 0


@mode("Lightning Fabric", "equal to the plain loop: its wrappers are looked through")
def fabric(folder: Path) -> None:
    foreign = BUILDERS["nanogpt"](seed=SEED)
    with quiet():
        runner = Fabric(accelerator="cpu", devices=1)
        model, optimizer = runner.setup(foreign.model, torch.optim.AdamW(foreign.model.parameters(), lr=1e-2))
        with watch(model, optimizer, folder / "fabric") as monitor:
            for batch in batches():
                loss = foreign.loss(model, batch)
                runner.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                monitor.step(loss)
    plain(folder / "plain", batches(), BUILDERS["nanogpt"](seed=SEED))
    for one, other in zip(records(folder / "fabric"), records(folder / "plain"), strict=True):
        agree(one, other, 1e-6, skip=())


@cache
def wrong_when_compiled() -> dict[str, str]:
    """Return what is wrong with each way of compiling; one process for all, since it takes long to start."""
    paths = [str(Path(__file__).parents[1]), *sys.path]
    with TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, "-m", "training_modes.compiled", folder],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
        )
    if run.returncode:
        raise AssertionError(run.stderr[-2000:])
    found: dict[str, str] = json.loads(run.stdout)
    return found


def compiled(how: str, folder: Path) -> None:
    """Compare compiled with eager."""
    wrong = wrong_when_compiled()[how]
    if wrong:
        raise AssertionError(wrong)


for _how, _words in {
    "before": "before attaching",
    "in_place": "in place, before attaching",
    "per_block": "block by block, before attaching",
    "after": "after attaching",
    "in_place_after": "in place, after attaching",
}.items():
    _right = "equal to eager from the third step on; nothing is compiled after the second"
    mode(f"`torch.compile`, {_words}", _right, slow=True, process="compiled")(partial(compiled, _how))
