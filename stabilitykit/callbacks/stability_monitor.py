"""The Lightning callback: a thin adapter from the Trainer's hooks to the monitor."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from stabilitykit.callbacks.run_folders import choose_folder, tell
from stabilitykit.callbacks.watched_run import WatchedRun
from stabilitykit.guard import ends_no_training
from stabilitykit.monitor import Monitor
from stabilitykit.observe.coverage import summary

_LOGGED = ("optim/grad_norm", "output/log_z")
_LOG_EVERY = 10


@ends_no_training
class StabilityMonitor(WatchedRun, L.Callback):
    """Watches a training run: residual stream, attention, gradients, updates, loss.

    Add it to a Trainer and nothing else: ``L.Trainer(callbacks=[StabilityMonitor()])``. It keeps the run in
    ``<trainer.log_dir or default_root_dir>/stability``, which TensorBoard and ``stabilitykit diagnose`` read,
    and gives the Trainer's loggers a handful of ``stability/*`` scalars. Every scalar in the dictionary
    that ``training_step`` returns is recorded; ``unigram_cross_entropy`` among them takes the data's part
    out of the loss. Under a strategy of several processes all see the same readings, of the whole batch,
    and the first one keeps the run.

    A step is an optimizer step; with several optimizers it is a batch in which any of them stepped. Gradients
    are read unscaled and before the Trainer's clipping; under manual optimization as each backward pass ends,
    so before clipping of one's own. A step that a loss scaler skips is a step: ``optim/skipped`` is 1 there.
    A second fit by a Trainer that goes on goes on with the run; any other gets a folder of its own.

    The arguments are those of ``WatchedRun``.
    """

    _resumed: dict[str, Any] | None = None
    _stepping = False

    @property
    def state_key(self) -> str:
        """Name of the state in a checkpoint; two monitors with other arguments keep theirs apart."""
        return f"StabilityMonitor{{every_n_steps={self._options['every_n_steps']}, logdir={self._logdir}}}"

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Attach to the model and its optimizers, before any forward runs."""
        state, self._resumed = self._resumed, None
        before, self._monitor = self._monitor, None
        if state is None and before is not None and trainer.global_step > 0:
            state = before.state_dict()
        self.interrupted = self._stepping = False
        # All processes must agree, and may see other disks: the first one looks.
        usual, versioned = _default_folder(trainer)
        chosen = choose_folder(self._logdir, usual, state, before is not None, versioned)
        place = trainer.strategy.broadcast(chosen)
        self._monitor = Monitor(
            pl_module,
            trainer.optimizers,
            scaler=getattr(trainer.precision_plugin, "scaler", None),
            **self._keeping(place),
        )
        if trainer.is_global_zero:
            tell(place, self._monitor.folder)
        if state:
            self._monitor.load_state_dict(state)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Observe the batch that begins, if its step is to be observed."""
        self._watching().arm()

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the gradients under manual optimization, where the user may clip them next."""
        if not pl_module.automatic_optimization:
            self._watching().read_gradients(scaled=True)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Read the gradients under automatic optimization: unscaled here, and not clipped yet."""
        monitor = self._watching()
        if pl_module.automatic_optimization:
            monitor.read_gradients()
        monitor.before_step(_unwrapped(optimizer))
        self._stepping = True

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take the batch's scalars, and end the step if the optimizer took one."""
        monitor = self._watching()
        monitor.add_scalars(_scalars(outputs, trainer.accumulate_grad_batches))
        monitor.disarm()
        if not self._stepping:
            return
        self._stepping = False
        n_incidents = len(monitor.incidents)
        was_covered = monitor.is_covered
        monitor.finish_step()
        if monitor.is_covered and not was_covered:
            # Lightning shows these; the library's own log of it is for those who ask for it.
            rank_zero_info(f"StabilityMonitor: {summary(monitor.coverage())}; coverage() lists them")
        if monitor.should_stop:
            trainer.should_stop = True
        if monitor.steps % _LOG_EVERY == 1 or len(monitor.incidents) > n_incidents:
            self._log(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the verdict and remove every hook."""
        self._watching().close(complete=not self.interrupted)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Write what there is and remove every hook."""
        self.interrupted = True
        if self._monitor:
            self._monitor.close(complete=False)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove every hook, whatever happened."""
        if self._monitor and stage == "fit":
            self._monitor.close(complete=False)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs for the run to go on as if unbroken."""
        return self._monitor.state_dict() if self._monitor else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a checkpoint's state; it is used when fitting starts."""
        self._resumed = state_dict or None

    def _log(self, trainer: L.Trainer) -> None:
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


def _unwrapped(optimizer: Any) -> torch.optim.Optimizer:
    """Return the optimizer that Lightning may have wrapped."""
    inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner


def _default_folder(trainer: L.Trainer) -> tuple[Path, bool]:
    """Return where a run is kept, and whether that lies in a folder which its logger numbers."""
    log_dir = trainer.log_dir
    root = getattr(trainer.logger, "root_dir", None)
    versioned = bool(log_dir and root) and Path(str(log_dir)).resolve().parent == Path(str(root)).resolve()
    return Path(log_dir or trainer.default_root_dir) / "stability", versioned


def _scalars(outputs: Any, accumulated: int) -> dict[str, Tensor | float]:
    """Return the scalars that ``training_step`` returned; Lightning has divided the loss."""
    if isinstance(outputs, Tensor):
        outputs = {"loss": outputs}
    found: dict[str, Tensor | float] = {}
    if isinstance(outputs, Mapping):
        for name, value in outputs.items():
            if isinstance(value, Tensor) and value.numel() == 1:
                found[str(name)] = value.detach().reshape(())
            elif isinstance(value, int | float):
                with contextlib.suppress(OverflowError):
                    found[str(name)] = float(value)
    if "loss" in found and accumulated > 1:
        found["loss"] = found["loss"] * accumulated
    return found
