"""``stabilitykit probe``: one short training run that ends in a verdict."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stabilitykit.errors import ConfigError
from stabilitykit_cli import consoles, exits
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.listen import listener_for
from stabilitykit_cli.options import Debug, FailOn, Json, a_number, a_whole_number

if TYPE_CHECKING:
    from stabilitykit.lab.probe import ProbeResult, ProbeSpec

HELP = """Train a small transformer briefly and say whether it held, and what left its band first.

Progress goes to stderr, the verdict to stdout; everything seen is kept in a folder. With --check nothing is
trained or kept: the learning rate is looked up in a table of measured edges, and the first step is looked at.

Examples:
  stabilitykit probe --arch post_norm --lr 1e-2 --warmup 0
  stabilitykit probe --arch pre_norm --lr 0.1 --set model.n_layers=12
  stabilitykit probe --arch out_norm --json --fail-on unstable
  stabilitykit probe --check --arch post_norm --lr 1e-2 --warmup 0
"""


Arch = Annotated[
    str | None,
    typer.Option(
        "--arch", "-a", metavar="NAME", help="Norm placement or preset: pre_norm, gpt2, …; see presets."
    ),
]
Rate = Annotated[
    float | None,
    typer.Option("--lr", metavar="NUMBER", parser=a_number, help="Peak learning rate, above 0."),
]
Warmup = Annotated[
    int | None,
    typer.Option(
        metavar="N", parser=a_whole_number, help="Steps of linear warmup; by default a tenth of the steps."
    ),
]
Steps = Annotated[int | None, typer.Option(metavar="N", parser=a_whole_number, help="Optimizer steps.")]
Seed = Annotated[
    int | None, typer.Option(metavar="N", parser=a_whole_number, help="Seed of weights and data order.")
]
Data = Annotated[Path | None, typer.Option(metavar="PATH", help="Text to train on: a file or a folder.")]
Recipe = Annotated[Path | None, typer.Option(metavar="FILE", help="YAML file with settings.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any setting by its path, such as model.n_layers=12; may be repeated. "
        "Roots: model data optimizer schedule trainer monitor fault.",
    ),
]
Logdir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of this run; by default a new one under runs/.")
]

Check = Annotated[
    bool, typer.Option("--check", help="Train nothing: say in seconds what is expected, and why.")
]


def probe(
    arch: Arch = None,
    lr: Rate = None,
    warmup: Warmup = None,
    steps: Steps = None,
    seed: Seed = None,
    data: Data = None,
    recipe: Recipe = None,
    overrides: Overrides = None,
    logdir: Logdir = None,
    check: Check = False,
    json: Json = False,
    fail_on: FailOn = None,
    debug: Debug = False,
) -> int:
    """Run the probe and return the exit status."""
    named = {
        "optimizer.lr": lr,
        "schedule.warmup": warmup,
        "trainer.steps": steps,
        "seed": seed,
        "data.path": None if data is None else str(data),
    }
    flags = {path: value for path, value in named.items() if value is not None}
    if check:
        return _check(arch, recipe, overrides or [], flags, logdir, json, fail_on)
    spec, result = _train(arch, recipe, overrides or [], flags, logdir)
    if json:
        print_document(result.to_json())
    else:
        _show(spec, result)
    return _status(result, fail_on)


def _check(
    arch: str | None,
    recipe: Path | None,
    overrides: list[str],
    flags: dict[str, Any],
    logdir: Path | None,
    json: bool,
    fail_on: str | None,
) -> int:
    from stabilitykit.lab.probe import build_spec

    if logdir is not None:
        raise ConfigError(f"--logdir: got {logdir}; --check trains nothing and keeps no folder")
    spec = build_spec(arch, recipe, overrides, flags)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from stabilitykit.lab.probe import check

    report = check(spec)
    if json:
        print_document(report.to_json())
    else:
        from stabilitykit_cli.render.check import check_report

        consoles.show(check_report(report, spec.arch))
    return exits.UNSTABLE if fail_on == "unstable" and report.expected == "unstable" else exits.OK


def _train(
    arch: str | None, recipe: Path | None, overrides: list[str], flags: dict[str, Any], logdir: Path | None
) -> "tuple[ProbeSpec, ProbeResult]":
    from stabilitykit.lab.probe import build_spec

    spec = build_spec(arch, recipe, overrides, flags)
    # Two OpenMP threads on a shared machine spin and lose; only the first import of torch looks here.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with listener_for(spec.arch, consoles.progress()) as listener:
        from stabilitykit.lab.probe import probe as train

        return spec, train(spec, logdir=logdir, listener=listener)


def _show(spec: "ProbeSpec", result: "ProbeResult") -> None:
    from stabilitykit.store.tensorboard import tensorboard_command, tensorboard_url
    from stabilitykit_cli.render import folder_lines, probe_summary, verdict_report

    summary = probe_summary(spec.arch, result.steps, result.final_loss, result.best_loss)
    consoles.show(verdict_report(result.verdict, summary))
    consoles.show(
        folder_lines(result.logdir, tensorboard_command(result.logdir), tensorboard_url()), whole_lines=True
    )


def _status(result: "ProbeResult", fail_on: str | None) -> int:
    if result.disk_failed:
        exits.complain(f"the disk refused to be written; {result.logdir} holds only the steps before that")
        return exits.FAILED
    if not result.verdict.complete:
        return exits.interrupted(result.signal)
    return exits.stability_status([result.verdict.outcome], fail_on)
