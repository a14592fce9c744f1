"""The callback of Hugging Face's Trainer: a thin adapter from its events to the monitor."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from stabilitykit.callbacks.kept_state import keep_state, kept_state
from stabilitykit.callbacks.run_folders import choose_folder, tell
from stabilitykit.callbacks.watched_run import WatchedRun
from stabilitykit.guard import ends_no_training
from stabilitykit.loop import hook_gradients
from stabilitykit.monitor import Monitor

_STATE = "stability.pt"


@ends_no_training
class StabilityTrainerCallback(WatchedRun, TrainerCallback):
    """Watches a run of Hugging Face's Trainer: residual stream, attention, gradients, updates, loss.

    Add it and nothing else: ``Trainer(callbacks=[StabilityTrainerCallback()])``. It keeps the run in
    ``<output_dir>/stability``. Gradients are read as a backward pass ends, so before clipping. The loss is
    the one that the model's output names; where the Trainer computes one of its own, none is recorded. The
    Trainer tells callbacks of no exception: a run that ends in one stays without a verdict.

    The arguments are those of ``WatchedRun``.
    """

    _hooks: Sequence[RemovableHandle] = ()
    _losses: list[Tensor]
    _sums = False

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Attach to the model and its optimizer."""
        self._close(complete=False)
        if model is None or optimizer is None:
            return
        kept = _kept(args, state)
        usual = Path(args.output_dir or ".") / "stability"
        place = choose_folder(self._logdir, usual, kept, self._monitor is not None)
        inner = _unwrapped(optimizer)
        self._monitor = Monitor(
            model,
            [inner],
            scaler=getattr(optimizer, "scaler", None),
            **self._keeping(place),
        )
        tell(place, self._monitor.folder)
        if kept:
            self._monitor.load_state_dict(kept)
        self._losses = []
        note = model.register_forward_hook(self._note_loss, with_kwargs=True)
        self._hooks = [*hook_gradients(self._monitor, [inner]), note]

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Observe the step that begins, if it is to be observed."""
        if self._monitor:
            self._losses.clear()
            self._monitor.arm()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End the step."""
        monitor = self._monitor
        if monitor is None:
            return
        if self._losses:
            together = torch.stack(self._losses)
            monitor.add_scalars({"loss": together.sum() if self._sums else together.mean()})
        monitor.disarm()
        monitor.finish_step()
        if monitor.should_stop:
            control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put beside a checkpoint what it takes to go on as if unbroken."""
        checkpoint = _checkpoint(args, state)
        if self._monitor and checkpoint.is_dir():
            keep_state(checkpoint / _STATE, self._monitor.state_dict())

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the verdict and remove every hook."""
        self._close(complete=True)

    def _note_loss(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        """Keep the loss of a microbatch."""
        loss = output.get("loss") if isinstance(output, Mapping) else None
        counts = module.training and torch._C._current_graph_task_id() == -1
        if counts and isinstance(loss, Tensor) and loss.numel() == 1:
            # Of a loss that is divided by the targets of all microbatches, these are parts; else means.
            self._sums = kwargs.get("num_items_in_batch") is not None
            self._losses.append(loss.detach().reshape(()).float())

    def _close(self, complete: bool) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = ()
        if self._monitor:
            self._monitor.close(complete)


def _unwrapped(optimizer: Any) -> Optimizer:
    """Return the optimizer inside those of accelerate."""
    while isinstance(getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = optimizer.optimizer
    found: Optimizer = optimizer
    return found


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"


def _kept(args: TrainingArguments, state: TrainerState) -> dict[str, Any] | None:
    """Return the state that lies beside the checkpoint from which training goes on."""
    return kept_state(_checkpoint(args, state) / _STATE) if state.global_step else None
