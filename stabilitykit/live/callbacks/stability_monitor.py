"""The Lightning callback: a thin adapter from the Trainer's hooks to the monitor."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from stabilitykit.guard import ends_no_training
from stabilitykit.live.callbacks.lightning_packages import callback_class, is_lightning, say
from stabilitykit.live.callbacks.run_folders import choose_folder, tell
from stabilitykit.live.callbacks.scalars import is_name_of_loss, scalar, scalars
from stabilitykit.live.callbacks.watched_run import WatchedRun, harmless
from stabilitykit.live.loop import hook_gradients
from stabilitykit.live.monitor import Monitor
from stabilitykit.observe.coverage import summary
from stabilitykit.observe.steppers import Removable

if TYPE_CHECKING:
    from lightning import Callback, LightningModule, Trainer
else:
    Callback, Trainer, LightningModule = callback_class(), Any, Any

_LOGGED = ("optim/grad_norm", "output/log_z")
_LOG_EVERY = 10


@ends_no_training
class StabilityMonitor(WatchedRun, Callback):
    """Watches a training run: residual stream, attention, gradients, updates, loss.

    Add it to a Trainer and nothing else: ``L.Trainer(callbacks=[StabilityMonitor()])``. It keeps the run in
    ``<trainer.log_dir or default_root_dir>/stability``, which TensorBoard and ``stabilitykit diagnose`` read,
    and gives the Trainer's loggers a handful of ``stability/*`` scalars. Every scalar in the dictionary
    that ``training_step`` returns is recorded; ``unigram_cross_entropy`` among them takes the data's part
    out of the loss. Under a strategy of several processes all see the same readings, of the whole batch,
    and the first one keeps the run.

    A step is a batch in which an optimizer stepped, whoever called it: Lightning, an ``optimizer_step`` of
    one's own, or a loop over bare optimizers. A step that a loss scaler skips is a step: ``optim/skipped`` is
    1 there. Gradients are read unscaled and before the Trainer's clipping. Under manual optimization, and
    where the module steps by itself, they are read as each backward pass ends, so before clipping of one's
    own; of each optimizer those of the last pass before it stepped count. Where a batch runs several passes,
    as SAM does, activations are of all of them, and the loss is what the last ``training_step`` returned.

    Where manual optimization returns no loss, the one number that is logged under the name of one (``loss``,
    ``train_loss``) is taken; else none is recorded, and ``coverage()`` says so. A second fit by a Trainer
    that goes on goes on with the run; any other gets a folder of its own.

    Keyword arguments are the fields of ``WatchOptions``, and ``logdir``: the run's folder, new or empty,
    instead of the default one.
    """

    _resumed: dict[str, Any] | None = None
    _stepping = False
    _hooks: Sequence[Removable] = ()

    @property
    def state_key(self) -> str:
        """Name of the state in a checkpoint; two monitors with other arguments keep theirs apart."""
        return f"StabilityMonitor{{every_n_steps={self._options.every_n_steps}, logdir={self._logdir}}}"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attach to the model and its optimizers, before any forward runs."""
        state, self._resumed = self._resumed, None
        before, self._monitor = self._monitor, None
        if state is None and before is not None and trainer.global_step > 0:
            state = before.state_dict()
        self.interrupted = self._stepping = False
        self._release()
        # All processes must agree, and may see other disks: the first one looks.
        usual, versioned = _default_folder(trainer)
        chosen = choose_folder(self._logdir, usual, state, before is not None, versioned)
        place = trainer.strategy.broadcast(chosen)
        self._monitor = Monitor(
            pl_module,
            trainer.optimizers,
            scaler=_scaler(trainer),
            **self._keeping(place),
        )
        if trainer.is_global_zero:
            tell(place, self._monitor.folder)
        if state:
            self._monitor.load_state_dict(state)
        self._logged: dict[str, Any] = {}
        if not pl_module.automatic_optimization:
            self._monitor.why_no_loss = "training_step returned none and logged none under the name of one"
        else:
            self._monitor.why_no_loss = "training_step returned none"
        if not pl_module.automatic_optimization or not is_lightning(pl_module.optimizer_step):
            with harmless("gradients of steps that the module takes"):
                self._hooks = hook_gradients(self._monitor, trainer.optimizers)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget a state that was loaded since fitting started: a search for a learning rate went back."""
        self._resumed = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Observe the batch that begins, if its step is to be observed."""
        if self._monitor:
            self._monitor.arm()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Read the gradients under automatic optimization: not clipped yet, and unscaled as a rule."""
        monitor, inner = self._monitor, _unwrapped(optimizer)
        if monitor is None:
            return
        if pl_module.automatic_optimization:
            monitor.read_gradients(scaled=_is_scaled(optimizer, _scaler(trainer)))
        monitor.before_step(inner)
        self._stepping = True

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take the batch's scalars, and end the step if an optimizer took one."""
        monitor = self._monitor
        if monitor is None:
            return
        if monitor.is_observed:
            with harmless("what training_step returned"):
                monitor.add_scalars(self._scalars(trainer, pl_module, outputs))
        monitor.disarm()
        if not self._stepping and not monitor.has_stepped:
            return
        self._stepping = False
        n_incidents = len(monitor.incidents)
        was_covered = monitor.is_covered
        monitor.finish_step()
        if monitor.is_covered and not was_covered:
            # Lightning shows these; the library's own log of it is for those who ask for it.
            say(trainer, f"StabilityMonitor: {summary(monitor.coverage())}; coverage() lists them")
        if monitor.should_stop:
            trainer.should_stop = True
        if monitor.steps % _LOG_EVERY == 1 or len(monitor.incidents) > n_incidents:
            with harmless("the Trainer's loggers"):
                self._log(trainer)

    def _scalars(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any
    ) -> dict[str, Tensor | float]:
        """Return a batch's numbers; Lightning has divided the loss under automatic optimization."""
        found = scalars(outputs)
        if pl_module.automatic_optimization:
            accumulated = trainer.accumulate_grad_batches
            if "loss" in found and accumulated > 1:
                found["loss"] = found["loss"] * accumulated
        elif "loss" not in found:
            found |= self._logged_loss(trainer)
        return found

    def _logged_loss(self, trainer: Trainer) -> dict[str, Tensor | float]:
        """Return what this batch logged under the name of a loss, if that is one number."""
        logged = {
            name: value
            for name, value in trainer.callback_metrics.items()
            if is_name_of_loss(name) and isinstance(value, Tensor)
        }
        # What was logged earlier is still there. Kept, it takes up memory that nothing new can have.
        before, self._logged = {value.data_ptr() for value in self._logged.values()}, logged
        new = {value.data_ptr(): value for value in logged.values() if value.data_ptr() not in before}
        loss = scalar(next(iter(new.values()))) if len(new) == 1 else None
        return {} if loss is None else {"loss": loss}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the verdict and remove every hook."""
        self._release()
        if self._monitor:
            self._monitor.close(complete=not self.interrupted)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write what there is and remove every hook."""
        self.interrupted = True
        self._release()
        if self._monitor:
            self._monitor.close(complete=False)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove every hook, whatever happened."""
        self._release()
        if self._monitor and stage == "fit":
            self._monitor.close(complete=False)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs for the run to go on as if unbroken."""
        return self._monitor.state_dict() if self._monitor else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a checkpoint's state; it is used when fitting starts."""
        self._resumed = state_dict or None

    def _release(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = ()

    def _log(self, trainer: Trainer) -> None:
        record = self.latest()
        if record is None:
            return
        metrics = {
            f"stability/{tag.rpartition('/')[2]}": record.readings[tag]
            for tag in _LOGGED
            if tag in record.readings
        }
        metrics["stability/incidents"] = len(self.incidents)
        metrics["stability/open_incidents"] = sum(incident.is_open for incident in self.incidents)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=record.step)


def _unwrapped(optimizer: Any) -> Optimizer:
    """Return the optimizer that Lightning may have wrapped."""
    inner: Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner


def _scaler(trainer: Trainer) -> torch.amp.GradScaler | None:
    return getattr(trainer.precision_plugin, "scaler", None)


def _is_scaled(optimizer: Optimizer, scaler: Any) -> bool:
    """Return whether gradients are still multiplied by the loss's scale.

    Lightning divides by it before the step, but not for optimizers that do so inside of it (``fused=True``),
    unless somebody has asked for it.
    """
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        return False
    states = getattr(scaler, "_per_optimizer_states", {})
    stage = states[id(optimizer)].get("stage") if id(optimizer) in states else None
    return getattr(stage, "name", "") != "UNSCALED"


def _default_folder(trainer: Trainer) -> tuple[Path, bool]:
    """Return where a run is kept, and whether that lies in a folder which its logger numbers."""
    log_dir = trainer.log_dir
    root = getattr(trainer.logger, "root_dir", None)
    versioned = bool(log_dir and root) and Path(str(log_dir)).resolve().parent == Path(str(root)).resolve()
    return Path(log_dir or trainer.default_root_dir) / "stability", versioned
