"""The callback of Hugging Face's Trainer: a thin adapter from its events to the monitor."""

import logging
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from stabilitykit.guard import ends_no_training
from stabilitykit.live.callbacks.kept_state import keep_state, kept_state
from stabilitykit.live.callbacks.passed_calls import PassedCalls, caller_with
from stabilitykit.live.callbacks.run_folders import choose_folder, tell
from stabilitykit.live.callbacks.scalars import scalar
from stabilitykit.live.callbacks.watched_run import WatchedRun, harmless
from stabilitykit.live.loop import hook_gradients
from stabilitykit.live.monitor import Monitor
from stabilitykit.observe.steppers import Removable

log = logging.getLogger("stabilitykit")

_STATE = "stability.pt"


@ends_no_training
class StabilityTrainerCallback(WatchedRun, TrainerCallback):
    """Watches a run of Hugging Face's Trainer: residual stream, attention, gradients, updates, loss.

    Add it and nothing else: ``Trainer(callbacks=[StabilityTrainerCallback()])``. It keeps the run in
    ``<output_dir>/stability``. Gradients are read as a backward pass ends, so before clipping. The loss is
    what the Trainer's ``training_step`` returns, summed over the microbatches of a step, as the Trainer logs
    it: also where the Trainer, a subclass or a function of one's own computes it. Values that are not finite
    are recorded as they are. A Trainer that trains without ``training_step`` has no loss recorded, and
    ``coverage()`` says so.

    The Trainer tells callbacks neither of a loss nor of an exception: some of its methods are listened to
    while it trains, by replacing them on this one Trainer with what calls them. A run that an exception or an
    interrupt ends has its verdict and is not complete; no hook and no replaced method stays.

    Keyword arguments are the fields of ``WatchOptions``, and ``logdir``: the run's folder, new or empty,
    instead of the default one.
    """

    _hooks: Sequence[Removable] = ()
    _losses: list[Tensor]
    _calls: PassedCalls | None = None
    _running: Monitor | None = None
    _waits = False
    """Whether training has begun, and no step of it yet."""
    _left = False
    """Whether an exception has left the Trainer's loop."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Await the first step: until then any other callback may end training, which is told to nobody."""
        self._end(complete=False)
        self.interrupted = self._left = False
        self._waits = True

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Listen to the Trainer, from before its first epoch."""
        if self._waits and self._calls is None:
            self._listen()

    def _listen(self) -> None:
        """Hear of losses and of exceptions, through methods of the Trainer that is calling."""
        self._calls = calls = PassedCalls()
        with harmless("the Trainer's calls"):
            found = caller_with("callback_handler")
            if found is None:
                return
            trainer, code = found
            calls.listen(trainer, "training_step", returned=self._note_loss)
            calls.listen(trainer.callback_handler, "call_event", raised=self._leave)
            # What the loop itself calls: what is raised there and not caught in there ends the loop.
            for name in code.co_names:
                if isinstance(getattr(type(trainer), name, None), FunctionType):
                    calls.listen(trainer, name, raised=self._leave)

    def _attach(
        self,
        args: TrainingArguments,
        state: TrainerState,
        model: nn.Module | None = None,
        optimizer: Any = None,
    ) -> None:
        """Attach to the model and its optimizer."""
        self._waits = False
        if model is None or optimizer is None:
            log.warning("not watched: the Trainer names no %s", "model" if model is None else "optimizer")
            return
        if self._calls is None:
            self._listen()
        kept = _kept(args, state)
        usual = Path(args.output_dir or ".") / "stability"
        place = choose_folder(self._logdir, usual, kept, self._monitor is not None)
        inner = _unwrapped(optimizer)
        self._monitor = self._running = Monitor(
            model,
            [inner],
            scaler=getattr(optimizer, "scaler", None),
            **self._keeping(place),
        )
        tell(place, self._monitor.folder)
        if kept:
            self._monitor.load_state_dict(kept)
        self._monitor.why_no_loss = "the Trainer's training_step gave none"
        self._hooks = hook_gradients(self._monitor, [inner])

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Observe the step that begins, if it is to be observed."""
        if self._waits:
            self._attach(args, state, model, optimizer)
        if self._left:
            self._left = False
            log.warning("the Trainer goes on after an exception: its run is not watched any more")
        if self._running:
            self._losses = []
            self._running.arm()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End the step."""
        monitor = self._running
        if monitor is None:
            return
        if self._losses:
            # Each is divided by the number of microbatches already, or by the targets of all of them.
            monitor.add_scalars({"loss": torch.stack(self._losses).sum()})
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
        """Write the verdict, remove every hook, and listen no more."""
        self._end(complete=not self.interrupted)

    def _note_loss(self, returned: Any) -> None:
        """Keep the part of the loss that a microbatch has."""
        if self._running and self._running.is_observed:
            with harmless("the loss"):
                loss = scalar(returned)
                if loss is not None:
                    self._losses.append(torch.as_tensor(loss).float())

    def _leave(self) -> None:
        """Write what there is and remove every hook: an exception has left the loop."""
        self._left = self.interrupted = True
        self._end(complete=False)

    def _end(self, complete: bool) -> None:
        if self._calls:
            self._calls.end()
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._calls = (), None
        self._waits, self._running = False, None
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
