"""Settings chosen without the source that they are judged on."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection import left_out
from benchmarks.detection.cases import generate
from benchmarks.detection.log import Tool
from benchmarks.detection.ours import OURS
from benchmarks.detection.traces import Score


def row(source, hits, false):
    return {"source": source, "hits": hits, "false": false, "events": 10}


class _Traces:
    """Two sources on which opposite settings are best."""

    class scorer:  # noqa: N801
        @staticmethod
        def summarise(rows):
            hits, false = sum(r["hits"] for r in rows), sum(r["false"] for r in rows)
            return {"f1": 2 * hits / (sum(r["events"] for r in rows) + hits + false)}

    def score(self, tool: Tool, tick=lambda: None) -> Score:
        low = tool.name.endswith("1")
        rows = [row("a", 9 if low else 5, 0), row("b", 5 if low else 9, 0)]
        return Score(tool, self.scorer.summarise(rows), {"a": {}, "b": {}}, rows)


def test_each_source_gets_the_settings_that_are_best_elsewhere():
    settings = left_out.grid({"loss_spike.sigmas": (1.0, 2.0)})
    assert settings == [{"loss_spike.sigmas": 1.0}, {"loss_spike.sigmas": 2.0}]
    found = left_out.leave_one_out(_Traces(), settings)
    # What is best on b is worst on a, and the other way round.
    assert found.chosen == {"a": "loss_spike.sigmas 2", "b": "loss_spike.sigmas 1"}
    assert found.pooled["f1"] == pytest.approx(2 * 10 / 30)
    assert found.interval[0] <= found.pooled["f1"] <= found.interval[1]


@pytest.mark.parametrize("name", ["spikes near zero", "spikes, restart with repeated steps"])
def test_default_settings_say_what_the_package_says(name, tmp_path):
    log = generate(name, 0).log
    path = Path(tmp_path) / "run.csv"
    log.write(path)
    assert left_out.with_settings({}).judge(path, log) == OURS.judge(path, log)


def test_settings_reach_the_detectors():
    loss = np.ones(100)
    loss[60] = 1.2
    log = generate("healthy, constant", 0).log.__class__(np.arange(100), loss)
    strict = left_out.with_settings({"loss_spike.relative": 0.5})
    assert strict.judge(Path(), log).incidents == []
    assert len(left_out.with_settings({}).judge(Path(), log).incidents) == 1
