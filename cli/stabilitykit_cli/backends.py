"""Options of where a sweep runs, and the workers that they stand for."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stabilitykit_cli.options import a_whole_number

if TYPE_CHECKING:
    from stabilitykit.lab.sweep.backends import Pool
    from stabilitykit.lab.sweep.grid import SweepPlan

Backend = Annotated[
    Literal["local", "ray", "slurm"],
    typer.Option("--backend", help="Where runs are trained: this machine, a Ray cluster, or Slurm."),
]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", parser=a_whole_number, help="Runs at a time; by default as many as have room."),
]
Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="A running Ray cluster; by default one is started here."),
]
BackendOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--backend-option",
        metavar="KEY=VALUE",
        help="What else the backend takes: cpus, gpus, minutes, memory_gb, executor, logs, "
        "sbatch.partition and the like; may be repeated.",
    ),
]


def pool_for(
    plan: "SweepPlan", backend: str, workers: int | None, address: str | None, options: list[str] | None
) -> "Pool":
    """Return the workers for a sweep; whoever asked for them closes them.

    Args:
        plan: What is to be trained: a worker has room for any of it.
        backend: ``local``, ``ray`` or ``slurm``.
        workers: Runs at a time.
        address: A running Ray cluster.
        options: What was typed for ``--backend-option``.

    Raises:
        ConfigError: Something is unknown or out of range, or there is no such cluster or no room in it.
        MissingExtraError: The backend's package is not installed.
    """
    from stabilitykit.lab.sweep.backends import backend_config, make_pool
    from stabilitykit.lab.sweep.grid import asked_for

    config = backend_config(backend, workers, address, options or [])
    return make_pool(config, [cell.spec.trainer for cell in asked_for(plan, lambda cell: None)])
