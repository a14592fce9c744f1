"""The callback of Hugging Face's Trainer on real runs: which loss is recorded, and what is left."""

import copy
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from stabilitykit import StabilityTrainerCallback
from stabilitykit.errors import IncidentError
from stabilitykit.store import open_run

pytestmark = pytest.mark.filterwarnings("ignore")

slow = pytest.mark.slow

N_CLASSES = 4
Run = Callable[..., tuple[Trainer, StabilityTrainerCallback]]


class Classifier(nn.Module):
    """Has a loss of its own, which only some Trainers train on."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Linear(6, 8), nn.Linear(8, N_CLASSES)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.head(torch.tanh(self.embed(x)))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Tuples(Classifier):
    """Returns its loss first, without a name."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        return tuple(super().forward(x, labels).values())


class Own(Trainer):  # type: ignore[misc]
    """Passes the labels on, and trains on something else."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        outputs = model(**inputs)
        loss = 1000 * outputs["loss"] + outputs["logits"].square().mean()
        return (loss, outputs) if return_outputs else loss


class Steps(Trainer):  # type: ignore[misc]
    """Runs its own backward pass, and tells its loss as a number of Python's."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        loss = 3 * self.compute_loss(model.train(), self._prepare_inputs(inputs))
        self.accelerator.backward(loss)
        return loss.detach()


def own_loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    return 7 + nn.functional.cross_entropy(outputs["logits"], labels)


def poisoned(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    return nn.functional.cross_entropy(outputs["logits"], labels) * float("nan")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    examples = [
        {"x": torch.randn(6, generator=torch.Generator().manual_seed(n)), "labels": n % N_CLASSES}
        for n in range(24)
    ]

    def train(
        *callbacks: TrainerCallback,
        kind: type[Trainer] = Trainer,
        model: nn.Module | None = None,
        watch: dict[str, Any] | None = None,
        given: dict[str, Any] | None = None,
        **options: Any,
    ) -> tuple[Trainer, StabilityTrainerCallback]:
        settings = {
            "output_dir": str(tmp_path),
            "max_steps": 3,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-2,
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "save_strategy": "no",
            "logging_steps": 1,
            **options,
        }
        monitor = StabilityTrainerCallback(**(watch or {}))
        trainer = kind(
            model or Classifier(),
            TrainingArguments(**settings),
            train_dataset=examples,
            eval_dataset=examples[:2],
            callbacks=[monitor, *callbacks],
            **(given or {}),
        )
        return trainer, monitor

    return train


def losses(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def recorded(monitor: StabilityTrainerCallback) -> list[float | None]:
    assert monitor.folder
    return [record.readings.get("train/loss") for record in open_run(monitor.folder).records()]


def left_behind(trainer: Trainer) -> list[str]:
    model = trainer.model
    hooks = [
        f"{type(m).__name__}: {kind}"
        for m in model.modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks")
        if getattr(m, kind)
    ]
    hooks += ["parameter" for p in model.parameters() if p._post_accumulate_grad_hooks]
    if trainer.optimizer is not None:
        inner = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        hooks += ["optimizer"] * (
            len(inner._optimizer_step_pre_hooks) + len(inner._optimizer_step_post_hooks)
        )
    for owner in (trainer, trainer.callback_handler):
        hooks += [name for name in vars(owner) if callable(getattr(type(owner), name, None))]
    return hooks


@pytest.mark.parametrize(
    ("kind", "model", "given", "options"),
    [
        (Own, Classifier, {}, {"gradient_accumulation_steps": 2}),
        pytest.param(Own, Classifier, {}, {}, marks=slow),
        pytest.param(Steps, Classifier, {}, {"gradient_accumulation_steps": 2}, marks=slow),
        pytest.param(
            Trainer,
            Classifier,
            {"compute_loss_func": own_loss},
            {"gradient_accumulation_steps": 2},
            marks=slow,
        ),
        pytest.param(Trainer, Tuples, {}, {}, marks=slow),
        pytest.param(Trainer, Classifier, {}, {"bf16": True}, marks=slow),
    ],
)
def test_the_loss_is_the_one_that_is_trained_on(
    run: Run, kind: type[Trainer], model: type[nn.Module], given: dict[str, Any], options: dict[str, Any]
) -> None:
    trainer, monitor = run(kind=kind, model=model(), given=given, **options)
    trainer.train()
    assert recorded(monitor) == pytest.approx(losses(trainer), rel=1e-5)
    assert len(losses(trainer)) == 3
    assert not left_behind(trainer)
    assert not [row for row in monitor.coverage() if "loss" in row.dark]


def test_a_loss_that_is_not_a_number_is_recorded_as_it_is(run: Run) -> None:
    trainer, monitor = run(given={"compute_loss_func": poisoned})
    trainer.train()
    assert losses(trainer) == [0, 0, 0], "the Trainer leaves such losses out of its log"
    assert monitor.verdict().outcome == "diverged"


@slow
def test_where_no_loss_can_be_had_none_is_recorded_and_it_is_said(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    class Telling(Trainer):  # type: ignore[misc]
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            return torch.stack([super().training_step(*args, **kwargs)] * 2).mean().expand(2)

        def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
            self._tr_loss = torch.zeros(2)
            super()._run_epoch(*args, **kwargs)

    with caplog.at_level(logging.WARNING, "stabilitykit"):
        trainer, monitor = run(kind=Telling, logging_steps=100, logging_nan_inf_filter=False)
        with pytest.raises((RuntimeError, ValueError)):  # Its own sum of losses is of two numbers.
            trainer.train()
    assert recorded(monitor) == [None] * 3
    told = [row.dark for row in monitor.coverage() if "no loss is recorded" in row.dark]
    assert told == ["no loss is recorded: the Trainer's training_step gave none"]
    assert sum("no loss is recorded" in record.getMessage() for record in caplog.records) == 1


class Bomb(TrainerCallback):  # type: ignore[misc]
    """Raises in an event, at the second step or before the first."""

    def __init__(self, event: str, error: type[BaseException]) -> None:
        self._event, self._error = event, error

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_") and name == object.__getattribute__(self, "_event"):
            return self._fail
        return super().__getattribute__(name)

    def _fail(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= 1 or self._event in ("on_train_begin", "on_epoch_begin"):
            raise self._error("mine")


@pytest.mark.parametrize(
    "event",
    [
        "on_step_end",
        *(
            pytest.param(event, marks=slow)
            for event in ("on_step_begin", "on_pre_optimizer_step", "on_log", "on_evaluate", "on_save")
        ),
        *(pytest.param(event, marks=slow) for event in ("on_epoch_end", "on_train_begin")),
    ],
)
def test_an_exception_of_another_callback_leaves_nothing(run: Run, event: str) -> None:
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    trainer, monitor = run(Bomb(event, KeyboardInterrupt), **options)
    with pytest.raises(KeyboardInterrupt, match="mine"):
        trainer.train()
    assert not left_behind(trainer)
    if event != "on_train_begin":
        assert monitor.folder
        assert open_run(monitor.folder).verdict is not None
        assert not open_run(monitor.folder).complete


@slow
@pytest.mark.parametrize("place", ["forward", "optimizer", "data", "compute_metrics", "end"])
def test_an_exception_anywhere_leaves_nothing_and_a_verdict(run: Run, place: str) -> None:
    class Failing(Trainer):  # type: ignore[misc]
        def store_flos(self) -> None:
            if place == "end" and self.state.global_step == 3 and not self.control.should_log:
                raise RuntimeError("mine")
            super().store_flos()

        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            if place == "data" and self.state.global_step == 2:
                raise RuntimeError("mine")
            return super().get_batch_samples(*args, **kwargs)

        def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
            made = super().create_optimizer(*args, **kwargs)
            if place == "optimizer":
                made.register_step_pre_hook(self.fail)
            return made

        def fail(self, *_: Any) -> None:
            if self.state.global_step == 2:
                raise RuntimeError("mine")

    model = Classifier()
    given = {"compute_metrics": lambda _: 1 / 0} if place == "compute_metrics" else {}
    options = {"eval_strategy": "steps", "eval_steps": 2} if place == "compute_metrics" else {}
    trainer, monitor = run(kind=Failing, model=model, given=given, **options)
    own = model.head.register_forward_pre_hook(lambda *_: trainer.fail() if place == "forward" else None)
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        trainer.train()
    own.remove()
    if place == "optimizer":
        trainer.optimizer = None
    assert not left_behind(trainer)
    assert monitor.folder
    assert open_run(monitor.folder).verdict is not None
    assert not monitor.verdict().complete


@slow
def test_an_incident_that_raises_leaves_nothing(run: Run) -> None:
    trainer, monitor = run(watch={"on_incident": "raise"}, given={"compute_loss_func": poisoned})
    with pytest.raises(IncidentError):
        trainer.train()
    assert not left_behind(trainer)
    assert not monitor.verdict().complete


@slow
def test_training_again_begins_a_run_of_its_own(run: Run, tmp_path: Path) -> None:
    trainer, monitor = run(Bomb("on_log", RuntimeError), watch={"logdir": tmp_path / "mine"})
    with pytest.raises(RuntimeError, match="mine"):
        trainer.train()
    trainer.callback_handler.callbacks = [
        c for c in trainer.callback_handler.callbacks if not isinstance(c, Bomb)
    ]
    trainer.evaluate()
    trainer.train()
    assert monitor.folder == tmp_path / "mine-2"
    assert monitor.verdict().complete
    assert recorded(monitor) == pytest.approx(losses(trainer))
    assert not left_behind(trainer)


@slow
def test_a_smaller_batch_is_tried_where_memory_is_short(run: Run) -> None:
    sizes = []

    class Short(Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            sizes.append(len(inputs["x"]))
            if len(inputs["x"]) > 1:
                raise RuntimeError("CUDA out of memory.")
            return super().compute_loss(model, inputs, *args, **kwargs)

    trainer, monitor = run(kind=Short, auto_find_batch_size=True)
    trainer.train()
    assert sizes == [2, 1, 1, 1]
    assert recorded(monitor) == pytest.approx(losses(trainer))
    assert not left_behind(trainer)


class Copying(TrainerCallback):  # type: ignore[misc]
    """Copies and pickles the listened-to parts of a Trainer in the midst of training."""

    trainer: Trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        handler = self.trainer.callback_handler
        monitor = next(c for c in handler.callbacks if isinstance(c, StabilityTrainerCallback))
        for made in (copy.deepcopy(monitor), pickle.loads(pickle.dumps(monitor))):
            assert made.latest() is None
            assert made._options.every_n_steps == 1
        step = vars(self.trainer)["training_step"]
        assert copy.copy(step) == step.__wrapped__
        assert step.__name__ == "training_step"


@slow
def test_a_trainer_may_be_copied_while_it_trains(run: Run) -> None:
    copying = Copying()
    trainer, _ = run(copying)
    copying.trainer = trainer
    trainer.train()


@slow
def test_training_is_bit_equal_with_and_without(run: Run) -> None:
    weights = []
    for watch in (True, False):
        trainer, monitor = run(kind=Own, gradient_accumulation_steps=2)
        if not watch:
            trainer.remove_callback(monitor)
        trainer.train()
        weights.append([p.detach().clone() for p in trainer.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@slow
def test_a_method_that_somebody_replaced_meanwhile_stays(run: Run) -> None:
    class Patching(TrainerCallback):  # type: ignore[misc]
        trainer: Trainer

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 1:
                listened = self.trainer.training_step
                self.trainer.training_step = lambda *a, **k: listened(*a, **k)

    patching = Patching()
    trainer, monitor = run(patching)
    patching.trainer = trainer
    trainer.train()
    assert recorded(monitor) == pytest.approx(losses(trainer))
    assert "<lambda>" in repr(vars(trainer)["training_step"])
