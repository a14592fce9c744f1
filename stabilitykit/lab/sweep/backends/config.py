"""Where a sweep runs, as it is asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from stabilitykit.errors import ConfigError
from stabilitykit.lab.probe.spec import parse_override
from stabilitykit.lab.validation import Config, refusal, validated

Kind = Literal["local", "ray", "slurm"]

_OPTIONS = {"kind": "--backend", "workers": "--workers", "address": "--address"}
_ONLY_RAY = ("address",)
_ONLY_SLURM = ("executor", "minutes", "memory_gb", "sbatch", "logs")


class BackendConfig(Config):
    """Where the runs of a sweep are trained; none of it changes a result."""

    kind: Kind = "local"
    """Processes of this machine, Ray, or Slurm."""
    workers: int | None = Field(None, gt=0)
    """Runs at a time; when left out, as many as fit on the machine or Ray's cluster, or 32 jobs of Slurm."""
    cpus: int | None = Field(None, gt=0)
    """CPUs that a run takes; when left out, trainer.threads for each of its devices."""
    gpus: int | None = Field(None, ge=0)
    """GPUs that a run takes; when left out, trainer.devices where trainer.accelerator is gpu or cuda."""
    address: str | None = Field(None, min_length=1)
    """A running Ray cluster (HOST:PORT, or auto for that of this machine); when left out, one is started."""
    executor: Literal["slurm", "local"] = "slurm"
    """How submitit starts a job: by sbatch, or as a process of this machine, to try it out."""
    minutes: int = Field(60, gt=0)
    """Slurm ends a job after so long."""
    memory_gb: float | None = Field(None, gt=0)
    """Memory of a Slurm job; when left out, the cluster's default."""
    sbatch: Mapping[str, str] = {}
    """Further parameters of sbatch by their long names, such as partition, account or constraint."""
    logs: Path | None = None
    """Folder of submitit's files, shared like the runs; when left out, .slurm beside the runs."""

    @model_validator(mode="after")
    def _refuse_what_is_not_for_it(self) -> Self:
        for kind, names in (("ray", _ONLY_RAY), ("slurm", _ONLY_SLURM)):
            for name in names:
                if self.kind != kind and getattr(self, name) != type(self).model_fields[name].default:
                    raise refusal(
                        name, f"got {getattr(self, name)}; needs the backend {kind}, not {self.kind}"
                    )
        return self


def backend_config(
    kind: str = "local", workers: int | None = None, address: str | None = None, options: Sequence[str] = ()
) -> BackendConfig:
    """Return where a sweep shall run, from what was typed.

    Args:
        kind: ``local``, ``ray`` or ``slurm``.
        workers: Runs at a time.
        address: A running Ray cluster.
        options: Any other field, as ``"gpus=1"`` or ``"sbatch.partition=long"``.

    Raises:
        ConfigError: Something is unknown or out of range; names the field.
    """
    named = {"kind": kind, "workers": workers, "address": address}
    fields: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    for option in options:
        path, value = parse_override(option, "--backend-option", "gpus=1")
        if path in named:
            raise ConfigError(f"--backend-option: {path} has an option of its own: {_OPTIONS[path]}")
        section, _, name = path.partition(".")
        fields[section] = {**fields.get(section, {}), name: value} if name else value
    return validated(BackendConfig, fields, where="backend")
