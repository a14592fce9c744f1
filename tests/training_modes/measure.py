"""Writes docs/coverage.md: runs every check, and says what came of it.

``PYTHONPATH=tests python -m training_modes.measure`` from the repository's root.
"""

import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from foreign.models import BUILDERS
from foreign.structure_cases import CASES

from . import MODES, Mode
from .models_seen import Seen, seen_in, seen_in_structure

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"

_INTRODUCTION = """# What is watched, and where that is checked

`PYTHONPATH=tests python -m training_modes.measure` runs every check and writes this page; the tests run the
same checks, and require the same rows. All of it is float32 on one CPU process and one thread unless a row
says otherwise.

## Ways of training

Each row is a small run whose readings are compared with what autograd, hooks of the test's own, the trainer's
own log or an equal run without that mode gives.

| way of training | what is checked | holds |
|---|---|---|"""

_MODELS = """
## Models

Tiny, with random weights, found by watching their first forward pass. Of the residual stream and norms every
site's root mean square and largest value agree with hooks of the test's own within 1e-5, `output/log_z` with
the logits' log-sum-exp, the gradients' norm with autograd's, each group's update ratio with a copy of the
weights within 0.1 %. Attention counts the sites at which something was read, and how.

| model | residual stream | norms | attention | head | groups of parameters |
|---|---|---|---|---|---|"""

_STRUCTURES = """
## Block structures

Written by hand, one for each way in which blocks are put together, and compared in the same way. Blocks and
their parameters are found in order, and training is the same bit for bit
(`tests/foreign/test_structures.py`).

| blocks | residual stream | norms | attention | head | groups of parameters |
|---|---|---|---|---|---|"""

_LIMITS = """
## What is bounded, sampled or missing

- The first step of a model without conventional names has no attention and no output logits: that forward
  pass shows what there is to watch. With several optimizers it has no gradients and no updates either, as one
  backward pass may not have reached everything.
- `output/log_z`, `attn/entropy` and `attn/entropy_min` are means over samples; `attn/logit_max` is exact only
  where `attn/logit_max_bound` equals it. Under autocast, dropout and on devices other than the CPU attention
  is a sample. Accumulated microbatches sample other positions than one big batch does.
- Of several optimizers, `optim/lr` is that of the first which stepped; where one steps more than once in a
  step, its last update is read.
- Parameters that are frozen when training begins and unfrozen later are not read.
- A `nn.TransformerEncoderLayer` that is in evaluation mode when the monitor is attached is not looked into
  while the model is found: torch turns its fast path off where any module in it has a hook. For the same
  reason validation of a watched `nn.TransformerEncoder` may differ in the last bits from that of a bare one.
- A model that is compiled when the monitor is attached cannot be seen running: its sites are taken from the
  order of its modules. Where the monitor is attached after the first compiled call, hooks may never run;
  sites that never fired are named in the log and in `coverage()`.
- Compiled models are checked with `aot_eager`, on one model; `inductor`, and compilation together with
  checkpointing, are not.
- Of Hugging Face's Trainer the loss is what its `training_step` returns; a Trainer that trains without it
  (a loop of its own) has none recorded, and `coverage()` says so. Its fp16 needs a GPU and is not checked.
- Where a batch has several passes before its step (SAM), gradients are those of the last one, activations
  are of all of them, and the loss is what the last `training_step` returned. Where manual optimization under
  Lightning only logs its loss, what the progress bar shows is read from the device once more a step.
- What a loss scaler skips of bare optimizers under Lightning's manual optimization is no step.
- In an environment of its own every site of a litgpt 0.5.13 model was seen
  (`python tests/foreign/elsewhere.py litgpt`). timm could not be tried: torchvision does not import beside
  the CPU build of torch pinned here.
- Nothing here was checked on a GPU; `docs/design/observing.md` lists what only one can show.
"""


def mode_row(mode: Mode, failure: str = "") -> str:
    """Return a way of training as a row."""
    return f"| {mode.name} | {mode.right} | {f'**no**: {failure}' if failure else 'yes'} |"


def model_row(seen: Seen) -> str:
    """Return a model as a row."""
    cells = (
        seen.residual,
        seen.norms,
        seen.attention,
        f"`{seen.head}`" if seen.head != "none" else "none",
        seen.updates,
    )
    return f"| {seen.model} | {' | '.join(cells)} |"


def page(modes: Sequence[str], models: Sequence[str], structures: Sequence[str]) -> str:
    """Return the page."""
    return "\n".join([_INTRODUCTION, *modes, _MODELS, *models, _STRUCTURES, *structures, _LIMITS])


def failure_of(mode: Mode) -> str:
    """Run a check; return what failed, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            mode.check(Path(folder))
        except Exception as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return ""


def main() -> None:
    """Run everything and write the page."""
    torch.set_num_threads(1)
    logging.getLogger("stabilitykit").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    modes = [mode_row(mode, failure_of(mode)) for mode in MODES.values()]
    models = [model_row(seen_in(name)) for name in BUILDERS]
    structures = [model_row(seen_in_structure(name)) for name in CASES]
    PAGE.write_text(page(modes, models, structures), encoding="utf-8")


if __name__ == "__main__":
    main()
