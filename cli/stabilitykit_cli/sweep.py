"""``stabilitykit sweep``: a grid of probes and its comparison."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stabilitykit.errors import ConfigError
from stabilitykit_cli import consoles, exits
from stabilitykit_cli.backends import Address, Backend, BackendOptions, Workers, pool_for
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.options import Debug, FailOn, Json, a_number, a_whole_number

if TYPE_CHECKING:
    from stabilitykit.lab.sweep.grid import Sweep, SweepPlan

HELP = """Train a grid of small transformers and compare them: which held, at which learning rate.

What varies is a list (1e-3,1e-2), or a range that is even in the logarithm,
FROM:TO:COUNT. Every cell is trained once: a sweep that was killed, extended
or repeated trains what is missing, and ends with the same numbers. Without
anything said it is post_norm, pre_norm and double_norm at 13 learning rates
from 1e-3 to 1, with and without warmup, with 3 seeds.

Examples:
  stabilitykit sweep recipes/norm_placement.yaml
  stabilitykit sweep --arch pre_norm,post_norm --lr 1e-3:1:7 --warmup 0,30
  stabilitykit sweep --arch out_norm --vary model.attention.qk_norm=none,head
  stabilitykit sweep --arch post_norm --lr 1e-3:1:2 --bisect lr --seeds 5
  stabilitykit sweep --backend slurm --workers 64 --backend-option sbatch.partition=long
"""

_FIELDS = {"lr": "optimizer.lr", "warmup": "schedule.warmup"}
"""Fields that have a name of their own."""


def sweep(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE]", help="YAML file with axes, seeds and claims.")
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", "-a", metavar="NAMES", help="Norm placements or presets.")
    ] = None,
    lr: Annotated[
        str | None, typer.Option("--lr", metavar="VALUES", help="Peak learning rates, such as 1e-3:1:13.")
    ] = None,
    warmup: Annotated[
        str | None, typer.Option("--warmup", metavar="VALUES", help="Steps of linear warmup, such as 0,30.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="KEY=VALUES", help="Any other field that varies; may be repeated."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="N", help="How many, or which: 3 is 0,1,2.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", parser=a_whole_number, help="Optimizer steps of a run.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Text to train on: a file or a folder.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of all runs; may be repeated."),
    ] = None,
    bisect: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Search for the largest value that holds, between the ends of what varies: lr.",
        ),
    ] = None,
    resolution: Annotated[
        float | None,
        typer.Option(metavar="RATIO", parser=a_number, help="How close --bisect comes; 1.19 by default."),
    ] = None,
    logdir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the sweep, which others may share; by default under runs/."
        ),
    ] = None,
    backend: Backend = "local",
    workers: Workers = None,
    address: Address = None,
    backend_options: BackendOptions = None,
    stop_when_certain: Annotated[
        bool,
        typer.Option(
            "--stop-when-certain", help="End a run whose verdict is as good as certain, and count it."
        ),
    ] = False,
    retry_crashed: Annotated[
        bool, typer.Option("--retry-crashed", help="Try cells again that crashed.")
    ] = False,
    json: Json = False,
    fail_on: FailOn = None,
    debug: Debug = False,
) -> int:
    """Run the sweep and return the exit status."""
    axes = {"arch": arch, "schedule.warmup": warmup, "optimizer.lr": lr, **_varied(vary or [])}
    settings = {"trainer.steps": steps, "data.path": None if data is None else str(data)}
    plan = _plan(recipe, axes, settings, overrides or [], seeds)
    plan = _bisecting(plan, bisect, resolution)
    plan.cells()
    # Imported here: what it draws with loads numpy, which --help does without.
    from stabilitykit_cli.sweep_listen import sweep_listener

    with sweep_listener(consoles.progress()) as listener:
        from stabilitykit.lab.claims import sweep as run

        pool = pool_for(plan, backend, workers, address, backend_options)
        try:
            swept = run(
                plan,
                pool,
                logdir,
                listener,
                stop_when_certain=stop_when_certain,
                retry_crashed=retry_crashed,
            )
        finally:
            pool.close()
    if json:
        print_document(_document(swept))
    else:
        _show(swept)
    outcomes = [run.result.outcome for run in swept.done if run.result]
    return exits.stability_status(outcomes, fail_on)


def _varied(vary: list[str]) -> dict[str, str]:
    """Return the values typed for each field that varies."""
    found = {}
    for text in vary:
        path, equals, values = text.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"--vary: got {text!r}; must be a field and values, as in model.n_layers=4,8")
        found[path.strip()] = values
    return found


def _plan(
    recipe: Path | None,
    axes: Mapping[str, str | None],
    settings: Mapping[str, Any],
    overrides: list[str],
    seeds: str | None,
) -> "SweepPlan":
    from stabilitykit.lab.probe.spec import parse_override
    from stabilitykit.lab.sweep.grid import DEFAULT_AXES, SweepPlan, read_plan, read_seeds

    given = {name: values for name, values in axes.items() if values is not None}
    plan = read_plan(recipe) if recipe else SweepPlan()
    if not recipe:
        # A grid of one's own varies what was typed, and the placements; without anything typed, the default.
        given = {"arch": DEFAULT_AXES["arch"], **given} if given else dict(DEFAULT_AXES)
    plan = _changed(plan, given) if given else plan
    typed = {path: value for path, value in settings.items() if value is not None}
    plan = replace(plan, settings={**dict(map(parse_override, overrides)), **typed})
    return replace(plan, seeds=read_seeds(seeds)) if seeds is not None else plan


def _changed(plan: "SweepPlan", given: Mapping[str, str]) -> "SweepPlan":
    """Return a plan with the axes that were typed, and those of its claims that still fit."""
    from stabilitykit.lab.claims import check_claims, fitting_claims

    check_claims(plan)
    changed = plan.with_axes(given)
    fitting = fitting_claims(changed)
    if len(fitting) < len(plan.claims):
        left_out = f"{len(plan.claims) - len(fitting)} of the recipe's {len(plan.claims)} claims"
        consoles.progress().print(f"note: {left_out} are about other values, and left out")
    return replace(changed, claims=fitting)


def _bisecting(plan: "SweepPlan", bisect: str | None, resolution: float | None) -> "SweepPlan":
    from stabilitykit.lab.sweep.grid import RESOLUTION

    if bisect is None:
        if resolution is not None:
            raise ConfigError("--resolution: is how close --bisect comes, which is not given")
        return plan
    if resolution is not None and not 1 < resolution < float("inf"):
        raise ConfigError(f"--resolution: got {resolution:g}; must be a ratio above 1, such as 1.1")
    plan = replace(plan, bisect=_FIELDS.get(bisect, bisect), resolution=resolution or RESOLUTION)
    plan.ends(plan.bisect or "")
    return plan


def _document(swept: "Sweep") -> dict[str, Any]:
    from stabilitykit.lab.claims import comparison_json

    return {
        **comparison_json(swept),
        "name": swept.plan.name,
        "cells": len(swept.runs),
        "stopped_early": sum(run.result.stopped_early for run in swept.done if run.result),
        "logdir": str(swept.folder),
    }


def _show(swept: "Sweep") -> None:
    from stabilitykit.lab.claims import judge
    from stabilitykit.lab.sweep.compare import summarise
    from stabilitykit.store.tensorboard import tensorboard_command
    from stabilitykit_cli.render.comparison import Comparison
    from stabilitykit_cli.render.sweep import swept_lines

    consoles.show(Comparison(swept, summarise(swept), judge(swept)))
    consoles.show(swept_lines(swept.folder, tensorboard_command(swept.folder)), whole_lines=True)
