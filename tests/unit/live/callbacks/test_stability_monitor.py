"""The Lightning callback on real fits."""

import logging
import math
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision

from stabilitykit import StabilityMonitor
from stabilitykit.afterwards.replay import replay
from stabilitykit.errors import ConfigError, IncidentError
from stabilitykit.lab.model import TransformerConfig
from stabilitykit.lab.training import (
    DataConfig,
    OptimizerConfig,
    ScheduleConfig,
    TextDataModule,
    TransformerModule,
)
from stabilitykit.live.callbacks.scalars import is_name_of_loss, scalars
from stabilitykit.records import Incident
from stabilitykit.store import open_run

STEPS = 40
FAILING = {"wiring": "post_norm", "lr": 0.5}
"""Post-norm fails at this rate whatever the seed."""

Fit = Callable[..., L.Trainer]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(LeafSpec|many workers|logging interval).*")
        yield


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{n} squared is {n * n}; its root is {math.sqrt(n):.3f}\n" for n in range(800)))
    return path


@pytest.fixture
def fit(text: Path, tmp_path: Path) -> Fit:
    def run(
        monitor: StabilityMonitor,
        wiring: str = "pre_norm",
        lr: float = 3e-3,
        steps: int = STEPS,
        ckpt: Path | None = None,
        **trainer: Any,
    ) -> L.Trainer:
        data = TextDataModule(DataConfig(path=text, batch_size=4), 16, 0, STEPS)
        config = TransformerConfig.model_validate(
            {"d_model": 16, "n_layers": 2, "seq_len": 16, "wiring": wiring, "attention": {"n_heads": 2}}
        )
        schedule = ScheduleConfig(warmup=0)
        unigram = data.corpus.unigram
        module = TransformerModule(config, OptimizerConfig(lr=lr), schedule, STEPS, 0, unigram=unigram)
        options = {"logger": False, "gradient_clip_val": 1.0, "default_root_dir": tmp_path, **trainer}
        fitter = L.Trainer(
            max_steps=steps,
            max_epochs=-1,
            accelerator="cpu",
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            callbacks=[monitor],
            **options,
        )
        fitter.fit(module, data, ckpt_path=ckpt, weights_only=False)
        return fitter

    return run


def test_one_line_gives_a_folder_a_verdict_and_a_coverage(fit: Fit, tmp_path: Path) -> None:
    monitor = StabilityMonitor()
    fit(monitor)
    assert monitor.folder == tmp_path / "stability"
    run = open_run(tmp_path / "stability")
    assert run.complete
    assert len(list(run.records())) == STEPS
    assert monitor.host_reads == STEPS
    latest = monitor.latest()
    assert latest is not None
    assert latest.step == STEPS - 1
    assert latest == list(run.records())[-1]
    assert {row.site for row in monitor.coverage()} >= {"blocks.00.resid_pre", "head.logits", "embed"}
    assert monitor.verdict().outcome in ("stable", "recovered")
    assert monitor.verdict().complete


def test_watching_changes_no_bit_of_a_fit(fit: Fit, tmp_path: Path) -> None:
    weights = []
    for n in (1, 10_000):
        fitter = fit(StabilityMonitor(every_n_steps=n, logdir=tmp_path / str(n)), steps=10)
        weights.append([p.detach().clone() for p in fitter.lightning_module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_second_fit_gets_a_folder_of_its_own(fit: Fit, tmp_path: Path) -> None:
    fit(StabilityMonitor(), steps=3)
    second = StabilityMonitor()
    fit(second, steps=3)
    assert second.folder == tmp_path / "stability-2"


@pytest.mark.slow
@pytest.mark.parametrize("broken_at", [5, 12, 23])
def test_a_run_stopped_and_resumed_reports_the_incidents_of_an_unbroken_one(
    fit: Fit, tmp_path: Path, broken_at: int
) -> None:
    whole = StabilityMonitor(logdir=tmp_path / "whole", on_incident=lambda incident: None)
    fit(whole, **FAILING)
    assert whole.incidents, "the run was meant to fail"
    first = StabilityMonitor(logdir=tmp_path / "parts", on_incident=lambda incident: None)
    fit(first, steps=broken_at, **FAILING).save_checkpoint(tmp_path / "broken.ckpt")
    second = StabilityMonitor(logdir=tmp_path / "parts", on_incident=lambda incident: None)
    fit(second, ckpt=tmp_path / "broken.ckpt", **FAILING)
    assert second.folder == tmp_path / "parts"
    assert repr(second.incidents) == repr(whole.incidents)
    assert repr(second.verdict()) == repr(whole.verdict())
    assert list(open_run(tmp_path / "parts").records()) == list(open_run(tmp_path / "whole").records())
    assert repr(replay(tmp_path / "parts").verdict) == repr(whole.verdict())
    assert repr(open_run(tmp_path / "parts").incidents) == repr(whole.incidents)


def test_a_checkpoint_of_another_monitor_is_not_taken_up() -> None:
    keys = {StabilityMonitor().state_key, StabilityMonitor(every_n_steps=5).state_key}
    assert len(keys) == 2


def test_accumulated_batches_make_one_step_with_their_mean_loss(fit: Fit, tmp_path: Path) -> None:
    monitor = StabilityMonitor(logdir=tmp_path / "run")
    seen: list[float] = []

    class Losses(L.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, n: int) -> None:
            with torch.no_grad():
                module.eval()
                module.train()
            seen.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)

    losses = Losses()
    monitor_and = [monitor, losses]
    fitter_options = {"accumulate_grad_batches": 2}
    original = L.Trainer.__init__

    def with_losses(self: L.Trainer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "callbacks": monitor_and})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(L.Trainer, "__init__", with_losses)
        fit(monitor, steps=4, **fitter_options)
    records = list(open_run(tmp_path / "run").records())
    assert [r.step for r in records] == [0, 1, 2, 3]
    means = [(seen[2 * n] + seen[2 * n + 1]) / 2 for n in range(4)]
    assert [r.readings["train/loss"] for r in records] == pytest.approx(means, rel=1e-6)
    assert monitor.host_reads == 4


def test_observing_every_tenth_step_only(fit: Fit, tmp_path: Path) -> None:
    monitor = StabilityMonitor(every_n_steps=10, logdir=tmp_path / "run")
    fit(monitor)
    assert [r.step for r in open_run(tmp_path / "run").records()] == [0, 10, 20, 30]
    assert monitor.host_reads == 4


def test_gradients_are_read_before_clipping(fit: Fit, tmp_path: Path) -> None:
    norms = []
    for clip in (1e-3, None):
        monitor = StabilityMonitor(logdir=tmp_path / str(clip))
        fit(monitor, steps=1, gradient_clip_val=clip)
        latest = monitor.latest()
        assert latest is not None
        norms.append(latest.readings["optim/grad_norm"])
    assert norms[0] == norms[1] > 0.1


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
def test_a_loss_scaler_is_seen_with_its_skipped_steps(fit: Fit, tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    monitor = StabilityMonitor(logdir=tmp_path / "run", on_incident=lambda incident: None)
    fit(monitor, steps=8, plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)])
    found = [record.readings for record in open_run(tmp_path / "run").records()]
    scales = [readings["optim/loss_scale"] for readings in found]
    assert monitor.host_reads == len(found)
    skipped = [readings["optim/skipped"] for readings in found]
    assert 0 < sum(skipped) < len(skipped)
    for now, after, skip in zip(scales, scales[1:], skipped, strict=False):
        assert after == (now / 2 if skip else now)
    assert all("optim/update_ratio/head" in r for r, skip in zip(found, skipped, strict=True) if not skip)


def test_the_clip_factor_of_a_fit_is_below_one_where_it_clips(fit: Fit, tmp_path: Path) -> None:
    for clip, expected in ((1e-3, True), (1e6, False)):
        monitor = StabilityMonitor(logdir=tmp_path / str(clip))
        fit(monitor, steps=2, gradient_clip_val=clip)
        latest = monitor.latest()
        assert latest is not None
        factor = latest.readings["optim/clip_factor"]
        norm = latest.readings["optim/grad_norm"]
        assert factor == pytest.approx(clip / norm if expected else 1.0, rel=1e-3)


def test_on_incident_stop_ends_the_fit_early(fit: Fit, tmp_path: Path) -> None:
    monitor = StabilityMonitor(on_incident="stop", logdir=tmp_path / "run")
    fitter = fit(monitor, **FAILING)
    assert fitter.global_step == monitor.incidents[0].detected + 1 < STEPS


def test_on_incident_raise_raises_and_leaves_what_there_is(fit: Fit, tmp_path: Path) -> None:
    monitor = StabilityMonitor(on_incident="raise", logdir=tmp_path / "run")
    with pytest.raises(IncidentError, match="at step"):
        fit(monitor, **FAILING)
    run = open_run(tmp_path / "run")
    assert not run.complete
    assert run.verdict is not None
    assert len(run.incidents) == 1


def test_on_incident_may_be_a_function(fit: Fit, tmp_path: Path) -> None:
    seen: list[Incident] = []
    monitor = StabilityMonitor(on_incident=seen.append, logdir=tmp_path / "run")
    fit(monitor, **FAILING)
    assert [i.id for i in seen] == [i.id for i in monitor.incidents]


def test_by_default_an_incident_is_logged(fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monitor = StabilityMonitor(logdir=tmp_path / "run")
    with caplog.at_level(logging.WARNING, "stabilitykit"):
        fit(monitor, **FAILING)
    lines = [r.getMessage() for r in caplog.records if r.name == "stabilitykit"]
    assert len(lines) == len(monitor.incidents) > 0
    assert monitor.incidents[0].kind in lines[0]


def test_an_exception_in_training_leaves_no_hook_and_a_verdict(fit: Fit, tmp_path: Path) -> None:
    monitor = StabilityMonitor(logdir=tmp_path / "run")

    def fail(*_: Any) -> None:
        raise RuntimeError("the user's own error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransformerModule, "optimizer_zero_grad", fail)
        with pytest.raises(RuntimeError, match="own error"):
            fit(monitor)
    assert not monitor.verdict().complete
    assert open_run(tmp_path / "run").verdict is not None


def test_an_error_inside_the_monitor_does_not_reach_training(
    fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stabilitykit.detect.diagnosis.Diagnosis.update", lambda *_: 1 / 0)
    monitor = StabilityMonitor(logdir=tmp_path / "run")
    with caplog.at_level(logging.WARNING, "stabilitykit"):
        fitter = fit(monitor)
    assert fitter.global_step == STEPS
    lines = [r.getMessage() for r in caplog.records if r.name == "stabilitykit"]
    assert lines == ["monitor is off from step 1 on: ZeroDivisionError: division by zero"]


def test_loggers_get_a_handful_of_scalars(fit: Fit, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path / "csv", name="", version="")
    monitor = StabilityMonitor(logdir=tmp_path / "run")
    fit(monitor, logger=logger)
    logger.save()
    header = (tmp_path / "csv" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {n for n in header if n.startswith("stability/")} == {
        "stability/grad_norm",
        "stability/log_z",
        "stability/incidents",
        "stability/open_incidents",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_steps": 0}, "every_n_steps: got 0; must be a whole number from 1 on"),
        ({"every_n_steps": True}, "every_n_steps: got True"),
        ({"on_incident": "explode"}, "on_incident: got 'explode'; accepted"),
        ({"folder_mb": 0.5}, "folder_mb: got 0.5; must be a number of megabytes from 1 on"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StabilityMonitor(**arguments)


def test_a_folder_with_something_in_it_is_left_and_the_run_kept_beside_it(fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("keep me")
    monitor = StabilityMonitor(logdir=tmp_path / "run")
    fit(monitor, steps=2)
    assert monitor.folder == tmp_path / "run-2"
    assert open_run(tmp_path / "run-2").last_step == 1
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_asking_before_training_says_so() -> None:
    with pytest.raises(RuntimeError, match="has seen no training yet"):
        StabilityMonitor().verdict()
    assert StabilityMonitor().latest() is None
    assert StabilityMonitor().incidents == ()


def test_lightning_says_once_what_is_watched(
    fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "lightning.pytorch.utilities.rank_zero"
    with caplog.at_level(logging.INFO, name):
        fit(StabilityMonitor(logdir=tmp_path / "run"))
    lines = [record.getMessage() for record in caplog.records if "StabilityMonitor" in record.getMessage()]
    assert len(lines) == 1
    assert re.search(r"watching [1-9]\d* blocks, \d+ rows of coverage: \d+ exact", lines[0])


def test_a_logger_that_fails_ends_nothing(
    fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no connection")

    monkeypatch.setattr(StabilityMonitor, "_log", fail)
    with caplog.at_level(logging.WARNING, "stabilitykit"):
        fitter = fit(StabilityMonitor(logdir=tmp_path / "run"), steps=2)
    assert fitter.global_step == 2
    assert "the Trainer's loggers: OSError: no connection; training goes on" in caplog.text


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        (torch.tensor([2.0]), {"loss": 2.0}),
        (
            {"loss": torch.tensor(1.5), "n": 3, "big": 10**400, "text": "x", "none": None},
            {"loss": 1.5, "n": 3},
        ),
        ({"loss": torch.tensor(1 + 2j), "many": torch.ones(2), "nowhere": torch.ones((), device="meta")}, {}),
        (None, {}),
        ("odd", {}),
    ],
)
def test_only_numbers_are_taken_of_what_a_step_returns(outputs: Any, found: dict[str, float]) -> None:
    assert {name: float(value) for name, value in scalars(outputs).items()} == found


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("loss", True),
        ("train_loss", True),
        ("train/loss", True),
        ("Loss/train_step", True),
        ("train_loss_epoch", False),
        ("val_loss", False),
        ("g_loss", False),
        ("aux/loss", False),
        ("lossy", False),
    ],
)
def test_which_logged_numbers_are_a_loss_by_name(name: str, is_one: bool) -> None:
    assert is_name_of_loss(name) is is_one


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["lightning", "pytorch_lightning"])
def test_it_is_a_callback_of_the_package_that_is_there(missing: str, tmp_path: Path) -> None:
    """The other package cannot be imported; something stands in for ``pytorch_lightning``."""
    code = """
import sys, types
missing = sys.argv[1]
if missing == "lightning":
    stand_in = types.ModuleType("pytorch_lightning")
    stand_in.Callback = type("Callback", (), {"__module__": "pytorch_lightning.callbacks"})
    sys.modules["pytorch_lightning"] = stand_in
sys.modules[missing] = None
from stabilitykit import StabilityMonitor
assert [c.__module__.split(".")[0] for c in StabilityMonitor.__mro__ if c.__name__ == "Callback"] != []
assert missing not in {c.__module__.split(".")[0] for c in StabilityMonitor.__mro__}
"""
    done = subprocess.run([sys.executable, "-c", code, missing], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_search_for_a_learning_rate_leaves_no_state_for_the_next_fit(fit: Fit, tmp_path: Path) -> None:
    monitor = StabilityMonitor(logdir=tmp_path / "run")

    class Search(L.Callback):
        def on_fit_start(self, trainer: Any, module: Any) -> None:
            monitor.load_state_dict(monitor.state_dict())

    fit_with = L.Trainer.__init__

    def init(self: L.Trainer, *args: Any, **kwargs: Any) -> None:
        fit_with(self, *args, **{**kwargs, "callbacks": [monitor, Search()]})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(L.Trainer, "__init__", init)
        fit(monitor, steps=2)
    fit(monitor, steps=2)
    assert monitor.folder == tmp_path / "run-2"
