"""Watching a plain training loop."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stabilitykit import watch
from stabilitykit.afterwards.replay import replay
from stabilitykit.detect import Detector
from stabilitykit.errors import ConfigError, RunFolderError
from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.live.loop import LoopMonitor
from stabilitykit.live.monitor import Monitor
from stabilitykit.records import Finding, StepRecord
from stabilitykit.store import open_run
from stabilitykit.store.run_folder import RunWriter

Train = Callable[..., list[Tensor]]


@pytest.fixture
def model() -> Transformer:
    config = {"d_model": 16, "n_layers": 2, "seq_len": 16, "attention": {"n_heads": 2}}
    return Transformer(TransformerConfig.model_validate(config))


@pytest.fixture
def optimizer(model: Transformer) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.fixture
def train(model: Transformer, optimizer: torch.optim.Optimizer) -> Train:
    batches = torch.randint(0, 256, (12, 3, 17), generator=torch.Generator().manual_seed(0))

    def run(monitor: LoopMonitor | None, steps: int = 12, poison: int | None = None) -> list[Tensor]:
        losses = []
        for n, batch in enumerate(batches[:steps]):
            loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
            loss = loss * math.nan if n == poison else loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            if n != poison:
                optimizer.step()
            if monitor:
                monitor.step(loss, unigram_cross_entropy=5.5)
            losses.append(loss.detach())
        return losses

    return run


def test_a_loop_is_kept_with_what_it_says(
    model: Transformer, optimizer: torch.optim.Optimizer, train: Train, tmp_path: Path
) -> None:
    with watch(model, optimizer, tmp_path / "run", config={"note": "mine"}) as monitor:
        losses = train(monitor)
        assert monitor.verdict().steps == 12
    run = open_run(tmp_path / "run")
    records = list(run.records())
    assert run.complete
    assert run.config["note"] == "mine"
    assert [r.readings["train/loss"] for r in records] == [loss.item() for loss in losses]
    assert records[0].readings["train/unigram_cross_entropy"] == 5.5
    assert monitor.host_reads == 12
    assert "optim/rms_t/blocks.00" not in records[0].tags, "SGD keeps no second moments"


def test_gradients_are_seen_before_the_loop_clips_them(
    model: Transformer, optimizer: torch.optim.Optimizer, train: Train
) -> None:
    with watch(model, optimizer) as monitor:
        train(monitor, steps=2)
        latest = monitor.latest()
    assert latest is not None
    assert latest.readings["optim/grad_norm"] > 0.1


def test_under_a_loss_scaler_gradients_are_read_without_its_factor(
    model: Transformer, optimizer: torch.optim.Optimizer
) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    batch = torch.randint(0, 256, (3, 17), generator=torch.Generator().manual_seed(0))
    found = []
    with watch(model, optimizer, scaler=scaler) as monitor:
        for factor in (1.0, math.inf, 1.0):
            loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
            optimizer.zero_grad()
            scaler.scale(loss * factor).backward()
            scaler.unscale_(optimizer)
            exact = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            scaler.step(optimizer)
            scaler.update()
            monitor.step(loss)
            latest = monitor.latest()
            assert latest is not None
            found.append(latest.readings)
            if math.isfinite(factor):
                assert found[-1]["optim/grad_norm"] == pytest.approx(exact.item(), rel=1e-5)
                assert found[-1]["optim/clip_factor"] == pytest.approx(0.01 / exact.item(), rel=1e-3)
    assert [readings["optim/loss_scale"] for readings in found] == [1024.0, 1024.0, 512.0]
    assert [readings["optim/skipped"] for readings in found] == [0.0, 1.0, 0.0]


def test_gradients_are_seen_where_the_first_parameter_gets_none(
    model: Transformer, optimizer: torch.optim.Optimizer
) -> None:
    with watch(model, optimizer) as monitor:
        x = torch.randn(2, 16, 16)
        loss = model.head(model.blocks[1](x)).square().mean()
        loss.backward()
        optimizer.step()
        monitor.step(loss)
        latest = monitor.latest()
    assert latest is not None
    assert "grad/norm/blocks.01" in latest.tags
    assert "grad/norm/blocks.00" not in latest.tags


def test_no_hook_is_left_on_model_or_optimizer(
    model: Transformer, optimizer: torch.optim.Optimizer, train: Train
) -> None:
    def loop() -> None:
        with watch(model, optimizer) as monitor:
            train(monitor, steps=1)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        loop()
    assert not optimizer._optimizer_step_pre_hooks
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())
    assert torch._C._len_torch_function_stack() == 0


def test_a_nan_loss_opens_an_incident_and_asks_to_stop(
    model: Transformer, optimizer: torch.optim.Optimizer, train: Train
) -> None:
    with watch(model, optimizer, on_incident="stop") as monitor:
        train(monitor, poison=11)
        assert monitor.should_stop
        assert [(i.kind, i.site, i.start) for i in monitor.incidents] == [("nonfinite", "train/loss", 11)]
        assert monitor.verdict().outcome == "diverged"


def test_a_full_disk_is_said_once_and_the_verdict_is_still_there(
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(self: RunWriter, record: object) -> None:
        raise RunFolderError("disk full; last step kept: none")

    monkeypatch.setattr(RunWriter, "record", full)
    with caplog.at_level(logging.WARNING, "stabilitykit"):
        with watch(model, optimizer, tmp_path / "run") as monitor:
            train(monitor)
        assert monitor.verdict().steps == 12
    said = [r.getMessage() for r in caplog.records if r.name == "stabilitykit"]
    assert said == ["disk full; last step kept: none; training goes on without it"]


@pytest.mark.slow
def test_a_long_loop_is_thinned_and_replays_as_it_was_lived(
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A folder so small that 300 steps do not fit.
    monkeypatch.setattr("stabilitykit.live.options.check_folder_mb", lambda folder_mb: None)
    monkeypatch.setattr("stabilitykit.store.run_folder.check_folder_mb", lambda folder_mb: None)
    monkeypatch.setattr("stabilitykit.store.readings.MAX_ROWS", 10)
    with watch(model, optimizer, tmp_path / "run", folder_mb=0.5) as monitor:
        for _ in range(25):
            train(monitor)
    run = open_run(tmp_path / "run")
    assert run.thinned
    assert run.last_step == 299
    assert repr(replay(tmp_path / "run").verdict) == repr(monitor.verdict())


def test_a_budget_that_is_none_is_refused(model: Transformer, optimizer: torch.optim.Optimizer) -> None:
    with pytest.raises(ConfigError, match="folder_mb: got 0;"), watch(model, optimizer, folder_mb=0):
        pass


@pytest.mark.parametrize("every", [0, 1.5, "2"])
def test_bad_arguments_are_refused(
    model: Transformer, optimizer: torch.optim.Optimizer, every: object
) -> None:
    with pytest.raises(ConfigError, match="every_n_steps"), watch(model, optimizer, every_n_steps=every):  # type: ignore[arg-type]
        pass


def test_what_a_checkpoint_rests_on_is_on_disk(
    model: Transformer, optimizer: torch.optim.Optimizer, tmp_path: Path
) -> None:
    monitor = Monitor(model, [optimizer], folder=tmp_path / "run")
    for _ in range(3):
        monitor.arm()
        model(torch.zeros(1, 8, dtype=torch.long)).mean().backward()
        monitor.read_gradients()
        optimizer.step()
        monitor.finish_step()
    assert monitor.state_dict()["steps"] == 3
    assert open_run(tmp_path / "run").last_step == 2
    monitor.close()
    assert monitor.state_dict()["steps"] == 3, "also after the end"


def test_a_detector_s_settings_of_any_kind_are_kept_in_words(
    model: Transformer, optimizer: torch.optim.Optimizer, train: Train, tmp_path: Path
) -> None:
    class Own(Detector):
        kind = "mine"

        def update(self, record: StepRecord) -> list[Finding]:
            return []

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None: ...

    with watch(
        model, optimizer, tmp_path / "run", detectors=[Own(limit=np.float32(2.5), where=tmp_path)]
    ) as monitor:
        train(monitor)
    kept = open_run(tmp_path / "run").config["detectors"]["mine"]
    assert kept == {"limit": 2.5, "where": str(tmp_path)}
