"""An error inside the monitor changes no bit of training, is said once, and darkens only what failed."""

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign.models import BUILDERS
from torch import Tensor
from training_modes.kit import batches

from stabilitykit import Statistic, watch
from stabilitykit.detect import Detector
from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.live.loop import LoopMonitor
from stabilitykit.records import Finding, StepRecord
from stabilitykit.store import open_run

pytestmark = pytest.mark.filterwarnings("ignore")

Watch = Mapping[str, Any]


def train(folder: Path | None, **options: Any) -> tuple[list[Any], LoopMonitor | None]:
    """Train a tiny foreign model; return all that came of it, and the monitor."""
    foreign = BUILDERS["gpt2"](seed=1)
    torch.manual_seed(2)
    optimizer = torch.optim.AdamW(foreign.model.parameters(), lr=1e-2)
    losses: list[Any] = []

    def step(batch: dict[str, Tensor]) -> Tensor:
        loss = foreign.loss(foreign.model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        return loss

    data = batches("gpt2", count=5)
    if folder is None:
        for batch in data:
            step(batch)
        monitor = None
    else:
        with watch(foreign.model, optimizer, folder, **options) as monitor:
            for batch in data:
                monitor.step(step(batch))
    assert torch._C._len_torch_function_stack() == 0
    return [*losses, *(p.detach() for p in foreign.model.parameters()), torch.get_rng_state()], monitor


def assert_equal(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other


class Harm:
    """Raises, from the second call on."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        raise RuntimeError("injected")


class FailingDetector(Detector):
    """Raises at the third record."""

    kind = "mine"

    def update(self, record: StepRecord) -> list[Finding]:
        """Raise at the third record."""
        if record.step == 2:
            raise RuntimeError("injected")
        return []

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing."""


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage() for r in caplog.records if r.name == "stabilitykit" and r.levelno >= logging.WARNING
    ]


@pytest.fixture(scope="module")
def bare() -> list[Any]:
    """What training alone gives."""
    return train(None)[0]


def test_a_tap(
    bare: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from stabilitykit.observe import tap

    original: Callable[..., None] = tap.write_norm_and_range
    count = 0

    def failing(x: Tensor, *slots: Tensor) -> None:
        nonlocal count
        count += 1
        if count == 20:
            raise RuntimeError("injected")
        original(x, *slots)

    monkeypatch.setattr(tap, "write_norm_and_range", failing)
    found, monitor = train(tmp_path / "run")
    assert_equal(found, bare)
    assert monitor is not None
    assert not [row.site for row in monitor.coverage() if row.dark]
    [line] = said(caplog)
    failed = re.fullmatch(r"step (\d+): not read: (\S+): RuntimeError: injected", line)
    assert failed is not None
    step, site = int(failed[1]), failed[2]
    records = list(open_run(tmp_path / "run").records())
    assert [r.step for r in records if f"act/rms/{site}" not in r.tags] == [step]
    last = records[-1]
    assert sum(tag.startswith("act/rms/") for tag in last.tags) > 20
    assert monitor.verdict().outcome == "stable"
    assert not monitor.incidents


def test_a_statistic(bare: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def kurtosis(x: Tensor) -> Tensor:
        calls.append(x.numel())
        if len(calls) == 2:
            raise RuntimeError("injected")
        return x.pow(4).mean() / x.square().mean().square()

    mine = Statistic("mine/kurtosis", kurtosis, sites="blocks.*.resid_post")
    found, _ = train(tmp_path / "run", statistics=[mine])
    assert_equal(found, bare)
    [line] = said(caplog)
    failed = re.fullmatch(
        r"step (\d+): not read: (mine/kurtosis/blocks.01.resid_post): RuntimeError: injected", line
    )
    assert failed is not None
    records = list(open_run(tmp_path / "run").records())
    assert [r.step for r in records[1:] if failed[2] not in r.tags] == [int(failed[1])]
    assert all("act/rms/blocks.01.resid_post" in r.tags for r in records)


def test_a_detector(bare: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found, _ = train(tmp_path / "run", detectors=[FailingDetector()])
    assert_equal(found, bare)
    assert said(caplog) == ["the detector mine is off: at step 2: RuntimeError: injected"]
    assert len(list(open_run(tmp_path / "run").records())) == 5


def test_a_sink(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from stabilitykit.live.listener import Listener
    from stabilitykit.live.monitor import Monitor

    class Broken(Listener):
        record = Harm()
        incident = verdict = Harm()

    model = Transformer(TransformerConfig.model_validate({"d_model": 16, "n_layers": 2, "seq_len": 16}))
    monitor = Monitor(model, [], folder=tmp_path / "run", sinks=[Broken()])
    for step in range(3):
        monitor.arm()
        monitor.add_scalars({"loss": 1.0 + step})
        monitor.finish_step()
    monitor.close()
    assert Broken.record.calls == 1
    assert said(caplog) == ["Broken is off: RuntimeError: injected"]
    assert len(list(open_run(tmp_path / "run").records())) == 3


@pytest.mark.parametrize(
    "where", ["stabilitykit.observe.calls.first_tensor", "stabilitykit.observe.collector.layout_of"]
)
def test_the_tracer(
    where: str,
    bare: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(where, Harm())
    found, _ = train(tmp_path / "run")
    assert_equal(found, bare)
    last = list(open_run(tmp_path / "run").records())[-1]
    assert last.readings["optim/grad_norm"] > 0
    assert any(tag.startswith("optim/update_ratio/") for tag in last.tags)
    assert said(caplog) == ["the model could not be looked into: RuntimeError: injected"]


def test_what_reads_gradients(
    bare: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stabilitykit.observe.backward.read_gradient_norms", Harm())
    found, _ = train(tmp_path / "run")
    assert_equal(found, bare)
    assert said(caplog) == [
        "step 0: not read: gradients: RuntimeError: injected",
        "gradients: no longer watched: RuntimeError: injected",
    ]
    last = list(open_run(tmp_path / "run").records())[-1]
    assert last.step == 4
    assert "optim/grad_norm" not in last.tags
    assert any(tag.startswith("optim/update_ratio/") for tag in last.tags)
