"""Language models of transformers, from their configuration files: counted without weights, and built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from stabilitykit.errors import ConfigError, DataError, MissingExtraError
from stabilitykit.lab.cost.counted.count import Count, count
from stabilitykit.lab.cost.device import measuring_device
from stabilitykit.lab.cost.memory import Memory, memory_available, require_memory
from stabilitykit.lab.cost.pricing import OnProgress, Priced
from stabilitykit.lab.cost.profiling import profiled
from stabilitykit.lab.cost.task import Task
from stabilitykit.lab.cost.workload import Workload
from stabilitykit.store.disk import read_file, reason
from stabilitykit.store.documents import parse_json

PublicOptimizer = Literal["adamw", "sgd"]

OPTIMIZERS: tuple[PublicOptimizer, ...] = get_args(PublicOptimizer)

MODES = ("train", "prefill")

LENGTH = 128
"""Tokens of a sequence, where nothing else is said and the model takes so many."""

_RATE, _MOMENTUM = 1e-4, 0.9
_STATES: dict[PublicOptimizer, int] = {"adamw": 2, "sgd": 1}
"""Numbers that are kept for each parameter."""
_ADVICE = "a smaller --batch or --seq, or --predict, which runs nothing"


@dataclass(frozen=True)
class PublicModel:
    """A model's configuration."""

    label: str
    """Its type, and the folder or file that it was read from."""
    config: Any
    """Of transformers."""

    @property
    def longest(self) -> int | None:
        """Tokens that it takes at most; None where the configuration does not tell."""
        return getattr(self.config.get_text_config(), "max_position_embeddings", None)


def read_public(path: str | Path) -> PublicModel:
    """Return what a configuration file says; nothing is fetched, and no code that comes with it runs.

    Args:
        path: A ``config.json`` under any name, or the folder that holds one.

    Raises:
        ConfigError: There is none, or transformers does not know its model.
        MissingExtraError: transformers is not installed.
    """
    if find_spec("transformers") is None:
        raise MissingExtraError("--hf: needs the package transformers: pip install 'stabilitykit[hf]'")
    from transformers import AutoConfig

    file = Path(path)
    file = file / "config.json" if file.is_dir() else file
    try:
        fields = parse_json(read_file(file))
        kind = fields["model_type"]
    except OSError as error:
        raise ConfigError(f"--hf: {file}: {reason(error)}; a config.json or its folder") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"--hf: {file}: no configuration of transformers, which names its model_type"
        ) from None
    try:
        config = type(AutoConfig.for_model(kind)).from_dict(fields)
    except Exception as error:  # each configuration class refuses in its own way
        raise ConfigError(f"--hf: {file}: model_type {kind}: {error}") from None
    return PublicModel(f"{kind} ({file.parent.name if file.name == 'config.json' else file.name})", config)


def priced_public(
    models: list[PublicModel],
    workload: Workload,
    optimizer: PublicOptimizer,
    seconds: float | None,
    on_progress: OnProgress | None = None,
) -> list[Priced]:
    """Return what models cost: counted on the meta device, which holds no numbers, then built and measured.

    On the meta device torch's attention runs matrix by matrix, and so keeps other tensors than a fused kernel
    does. Where a model cannot run there, memory is asked for weights, gradients and optimizer alone.

    Args:
        models: What is compared, the first with the others.
        workload: What they are asked to do.
        optimizer: What steps, in training.
        seconds: About how long each of them is measured; None to count alone.
        on_progress: Called while measuring with the share that is done.

    Raises:
        ConfigError: A sequence is too long for a model, or transformers has no causal language model for it.
        DataError: All of them together do not fit in memory, and nothing was allocated; or one is to be
            counted alone, and does not run on the meta device.
    """
    for each in models:
        if each.longest is not None and workload.length > each.longest:
            raise ConfigError(f"--seq: got {workload.length}; {each.label} takes at most {each.longest}")
    if seconds is None:
        return [Priced(each.label, _counted(each, workload, optimizer)) for each in models]
    needed = sum((_needed(each, workload, optimizer) for each in models), Memory(0))
    require_memory(needed, memory_available(), _ADVICE)
    device = measuring_device().type
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tasks = [(each.label, _task(each, workload, optimizer, device)) for each in models]
        sides = profiled(tasks, seconds, on_progress)
    return [replace(each, prediction=_asked(cast(Count, each.prediction), workload)) for each in sides]


class _Affirmed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Says yes where a model asks its numbers whether all of them are so, as if there were any.

    Models ask whether a sequence is one text, without padding: then they need no mask. Here every one is.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        asked = func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta
        if asked and args[0].dtype == torch.bool:
            return True
        return func(*args, **(kwargs or {}))


def _counted(model: PublicModel, workload: Workload, optimizer: PublicOptimizer) -> Count:
    task = _task(model, workload, optimizer, "meta")
    try:
        with task.as_found(), _Affirmed():  # type: ignore[no-untyped-call]
            return _asked(count(task), workload)
    except (NotImplementedError, RuntimeError) as error:
        told = str(error).partition("\n")[0]
        raise DataError(
            f"--hf: {model.label} does not run without numbers, and cannot be counted alone: {told}"
        ) from error


def _needed(model: PublicModel, workload: Workload, optimizer: PublicOptimizer) -> Memory:
    try:
        return _counted(model, workload, optimizer).memory
    except DataError:
        module = _built(model, workload, "meta")
        weights = sum(each.numel() * each.itemsize for each in module.parameters())
        return (
            Memory(weights, weights, _STATES[optimizer] * weights)
            if workload.mode == "train"
            else Memory(weights)
        )


def _asked(counted: Count, workload: Workload) -> Count:
    return replace(counted, task={**counted.task, "mode": workload.mode})


def _task(model: PublicModel, workload: Workload, optimizer: PublicOptimizer, device: str) -> Task:
    built = _built(model, workload, device)
    vocabulary = model.config.get_text_config().vocab_size
    tokens = torch.randint(vocabulary, (workload.batch, workload.length)).to(device)
    if workload.mode == "prefill":
        return Task(built.eval(), {"input_ids": tokens}, mode="forward")
    return Task(
        built.train(), {"input_ids": tokens, "labels": tokens}, optimizer=_optimizer(built, optimizer)
    )


def _built(model: PublicModel, workload: Workload, device: str) -> nn.Module:
    from transformers import AutoModelForCausalLM

    # Training keeps no keys and values for later tokens.
    model.config.get_text_config().use_cache = workload.mode == "prefill"
    try:
        with torch.device(device):
            built: nn.Module = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                model.config, dtype=getattr(torch, workload.dtype)
            )
    except ValueError as error:
        raise ConfigError(f"--hf: {model.label}: {str(error).partition(chr(10))[0]}") from None
    return built


def _optimizer(module: nn.Module, kind: PublicOptimizer) -> Optimizer:
    if kind == "sgd":
        return SGD(module.parameters(), lr=_RATE, momentum=_MOMENTUM)
    return AdamW(module.parameters(), lr=_RATE)
