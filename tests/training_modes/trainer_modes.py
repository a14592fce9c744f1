"""Ways of training with Hugging Face's Trainer."""

import math
from pathlib import Path
from typing import Any

import torch
from foreign.models import BUILDERS
from transformers import Trainer, TrainerCallback, TrainingArguments

from stabilitykit import StabilityTrainerCallback
from stabilitykit.afterwards.replay import replay

from .kit import SEED, batches, close, grad_norm, hooks_of, mode, quiet, records


class Norms(TrainerCallback):  # type: ignore[misc]
    """Notes the gradients' norm after clipping."""

    def __init__(self) -> None:
        self.clipped: list[float] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.clipped.append(grad_norm(model))


class OwnLoss(Trainer):  # type: ignore[misc]
    """Passes labels to the model, and trains on a loss of its own."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        outputs = model(**inputs)
        loss = 100 + 2 * outputs.loss
        return (loss, outputs) if return_outputs else loss


def train(
    folder: Path,
    *callbacks: TrainerCallback,
    kind: type[Trainer] = Trainer,
    lr: float = 1e-2,
    steps: int = 4,
    resume: str | None = None,
    **options: Any,
) -> Trainer:
    """Train a tiny Llama."""
    with quiet():
        settings = {
            "output_dir": str(folder),
            "max_steps": steps,
            "per_device_train_batch_size": 2,
            "learning_rate": lr,
            "lr_scheduler_type": "constant",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "save_strategy": "no",
            "logging_strategy": "steps",
            "logging_steps": 1,
            "seed": 0,
            **options,
        }
        examples = [
            {key: value[i] for key, value in batch.items()} for batch in batches("llama", 8) for i in (0, 1)
        ]
        model = BUILDERS["llama"](seed=SEED).model
        trainer = kind(
            model,
            TrainingArguments(**settings),
            train_dataset=examples,
            eval_dataset=examples[:2],
            callbacks=list(callbacks),
        )
        trainer.remove_callback(
            next(
                type(c)
                for c in trainer.callback_handler.callbacks
                if "Printer" in type(c).__name__ or "Progress" in type(c).__name__
            )
        )
        trainer.train(resume_from_checkpoint=resume)
    return trainer


@mode("Hugging Face Trainer", "gradient norm before the clip equals the Trainer's own; loss equals its log")
def trainer(folder: Path) -> None:
    norms, monitor = Norms(), StabilityTrainerCallback()
    run = train(folder, norms, monitor, max_grad_norm=1e-3)
    found = records(folder / "stability")
    logs = [entry for entry in run.state.log_history if "loss" in entry]
    assert [r.step for r in found] == [0, 1, 2, 3]
    assert max(norms.clipped) < 2e-3
    for record, entry in zip(found, logs, strict=True):
        close(record.readings["optim/grad_norm"], entry["grad_norm"], 1e-3)
        close(record.readings["train/loss"], entry["loss"], 1e-3)
        assert record.readings["optim/skipped"] == 0
    assert {"blocks.02.resid_post", "head.logits"} <= {row.site for row in monitor.coverage()}
    assert monitor.verdict().complete


@mode(
    "Hugging Face Trainer, gradient accumulation",
    "one step a window; loss and gradients equal the Trainer's own",
)
def accumulation(folder: Path) -> None:
    monitor = StabilityTrainerCallback()
    run = train(folder, monitor, gradient_accumulation_steps=2)
    logs = [entry for entry in run.state.log_history if "loss" in entry]
    found = records(folder / "stability")
    assert len(found) == 4
    for record, entry in zip(found, logs, strict=True):
        close(record.readings["train/loss"], entry["loss"], 1e-3)
        close(record.readings["optim/grad_norm"], entry["grad_norm"], 1e-3)


@mode(
    "Hugging Face Trainer, `compute_loss` of one's own, label smoothing, accumulated too",
    "loss and gradient norm equal the Trainer's log",
    slow=True,
)
def own_losses(folder: Path) -> None:
    kinds: list[tuple[type[Trainer], dict[str, Any]]] = [
        (OwnLoss, {}),
        (OwnLoss, {"gradient_accumulation_steps": 2}),
        (Trainer, {"label_smoothing_factor": 0.1, "gradient_accumulation_steps": 2}),
    ]
    for n, (kind, options) in enumerate(kinds):
        run = train(folder / str(n), StabilityTrainerCallback(), kind=kind, **options)
        logs = [entry for entry in run.state.log_history if "loss" in entry]
        for record, entry in zip(records(folder / str(n) / "stability"), logs, strict=True):
            close(record.readings["train/loss"], entry["loss"], 1e-5)
            close(record.readings["optim/grad_norm"], entry["grad_norm"], 1e-3)


class Interrupt(TrainerCallback):  # type: ignore[misc]
    """Interrupts training, as Ctrl-C does."""

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.model = model
        if state.global_step == 2:
            raise KeyboardInterrupt


@mode(
    "Hugging Face Trainer, an interrupt",
    "what there is is kept, no hook is left; the verdict says incomplete",
)
def interrupted(folder: Path) -> None:
    monitor, interrupt = StabilityTrainerCallback(), Interrupt()
    try:
        train(folder, monitor, interrupt)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("the interrupt did not come through")
    assert len(records(folder / "stability")) == 2
    assert not monitor.verdict().complete
    assert hooks_of(interrupt.model) == 0


@mode(
    "Hugging Face Trainer, bf16, gradient checkpointing, evaluation in between",
    "a record a step, evaluation not recorded",
    slow=True,
)
def options(folder: Path) -> None:
    monitor = StabilityTrainerCallback()
    train(folder, monitor, bf16=True, gradient_checkpointing=True, eval_strategy="steps", eval_steps=1)
    plain = StabilityTrainerCallback(logdir=folder / "plain")
    train(folder, plain)
    assert len(records(folder / "stability")) == 4
    pairs = zip(records(folder / "stability"), records(folder / "plain"), strict=True)
    for one, other in list(pairs)[1:]:
        close(
            one.readings["act/rms/blocks.01.resid_post"], other.readings["act/rms/blocks.01.resid_post"], 0.1
        )


@mode(
    "Hugging Face Trainer, a run that diverges", "the incident stops it; `diagnose` says the same", slow=True
)
def diverging(folder: Path) -> None:
    monitor = StabilityTrainerCallback(on_incident="stop")

    class Poison(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if state.global_step == 5:
                with torch.no_grad():
                    model.lm_head.weight.mul_(math.inf)

    run = train(folder, Poison(), monitor, steps=20)
    assert run.state.global_step == 6
    assert monitor.incidents[0].kind == "nonfinite"
    assert monitor.verdict().outcome == "diverged"
    assert repr(replay(folder / "stability").verdict) == repr(monitor.verdict())


@mode(
    "Hugging Face Trainer, resume from a checkpoint",
    "one run in one folder; loss and gradients of an unbroken one",
    slow=True,
)
def resume(folder: Path) -> None:
    train(folder / "whole", StabilityTrainerCallback(), steps=6)
    saving = {"save_strategy": "steps", "save_steps": 3}
    train(folder / "parts", StabilityTrainerCallback(), steps=3, **saving)
    again = StabilityTrainerCallback()
    train(folder / "parts", again, steps=6, resume=str(folder / "parts" / "checkpoint-3"), **saving)
    assert again.folder == folder / "parts" / "stability"
    found = records(folder / "parts" / "stability")
    assert [r.step for r in found] == list(range(6))
    whole = records(folder / "whole" / "stability")
    assert found[:3] == whole[:3]
    for one, other in zip(found[3:], whole[3:], strict=True):
        for tag in ("train/loss", "optim/grad_norm"):
            close(one.readings[tag], other.readings[tag], 1e-5)
