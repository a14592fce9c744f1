"""Statistics of the user's own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from foreign.models import BUILDERS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from stabilitykit import Statistic, watch
from stabilitykit.afterwards.replay import replay
from stabilitykit.errors import ConfigError
from stabilitykit.observe import Collector
from stabilitykit.store import open_run

pytestmark = pytest.mark.filterwarnings("ignore")


def mean_abs(x: Tensor) -> Tensor:
    return x.abs().mean()


def test_microbatches_are_merged_by_the_statistics_rule() -> None:
    values = iter([3.0, 1.0, 2.0, 4.0] * 40)
    numbers: dict[str, list[float]] = {}

    def of(name: str) -> Any:
        def take(x: Tensor) -> Tensor:
            numbers.setdefault(name, []).append(next(values))
            return torch.tensor(numbers[name][-1])

        return take

    rules = ("mean", "max", "min", "sum")
    statistics = [Statistic(f"mine/{rule}", of(rule), rule, "head.logits") for rule in rules]
    foreign = BUILDERS["nanogpt"](seed=1)
    collector = Collector(foreign.model, [], statistics=statistics)
    collector.attach()
    for step in range(2):
        numbers.clear()
        collector.arm()
        for _ in range(3):
            foreign.loss(foreign.model, foreign.inputs).backward()
            collector.read_gradients()
        readings = collector.collect(step).readings
    expected = {"mean": sum(numbers["mean"]) / 3, "max": max(numbers["max"])}
    expected |= {"min": min(numbers["min"]), "sum": sum(numbers["sum"])}
    assert {rule: readings[f"mine/{rule}/head.logits"] for rule in rules} == pytest.approx(expected)


def test_its_readings_are_kept_shown_and_judged(tmp_path: Path) -> None:
    foreign = BUILDERS["nanogpt"](seed=1)
    optimizer = torch.optim.SGD(foreign.model.parameters(), lr=0.0)
    mine = Statistic("mine/mean_abs", mean_abs, sites="blocks.*.resid_post")
    broken = Statistic("mine/nan", lambda x: x.sum() * torch.nan, sites="head.logits")
    with watch(foreign.model, optimizer, tmp_path / "run", statistics=[mine, broken]) as monitor:
        for _ in range(4):
            loss = foreign.loss(foreign.model, foreign.inputs)
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    x: list[Tensor] = []
    foreign.model.transformer["h"][2].register_forward_hook(lambda m, a, out: x.append(out))
    foreign.loss(foreign.model, foreign.inputs)
    record = list(open_run(tmp_path / "run").records())[-1]
    assert record.readings["mine/mean_abs/blocks.02.resid_post"] == pytest.approx(x[0].abs().mean().item())
    assert [(i.kind, i.site) for i in monitor.incidents] == [("nonfinite", "head.logits")]
    assert repr(replay(tmp_path / "run").verdict.incidents) == repr(monitor.incidents)
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert events.Tags()["scalars"]
    rows = {row.site: row for row in monitor.coverage()}
    assert rows["mine/mean_abs/blocks.02.resid_post"].fired == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("act/rms", mean_abs), "got the name 'act/rms'"),
        (("Mine", mean_abs), "got the name 'Mine'"),
        (("mine/a/b", mean_abs), "got the name 'mine/a/b'"),
        (("mine/a", mean_abs, "median"), "got 'median'; accepted: mean, sum, max, min"),
    ],
)
def test_what_is_no_statistic_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Statistic(*arguments)


def test_installed_packages_may_offer_some(monkeypatch: pytest.MonkeyPatch) -> None:
    from stabilitykit.observe.statistic import all_statistics

    mine, theirs = Statistic("mine/a", mean_abs), Statistic("theirs/a", mean_abs)
    broken = SimpleNamespace(name="broken", load=lambda: 1 / 0)
    entries = [SimpleNamespace(name="one", load=lambda: theirs), broken]
    monkeypatch.setattr("stabilitykit.plugins.entry_points", lambda group: entries)
    assert all_statistics([mine]) == (mine, theirs)
    with pytest.raises(ConfigError, match="'theirs/a' is there twice"):
        all_statistics([theirs])


def test_a_number_that_is_no_tensor_is_an_error_of_that_site(caplog: pytest.LogCaptureFixture) -> None:
    foreign = BUILDERS["nanogpt"](seed=1)
    optimizer = torch.optim.SGD(foreign.model.parameters(), lr=0.0)
    mine = Statistic("mine/a", lambda x: 1.0, sites="head.logits")  # type: ignore[arg-type,return-value]
    with watch(foreign.model, optimizer, statistics=[mine]) as monitor:
        for _ in range(5):
            loss = foreign.loss(foreign.model, foreign.inputs)
            loss.backward()
            monitor.step(loss)
    said = [r.getMessage() for r in caplog.records if "mine/a" in r.getMessage()]
    why = "TypeError: mine/a must return a tensor of one number; got float"
    assert said == [
        f"step 1: not read: mine/a/head.logits: {why}",
        f"mine/a/head.logits: no longer watched: {why}",
    ]
