"""Pictures of six failures, with what each tool said below the curve."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.detection.families import generate
from benchmarks.detection.log import Log, Tool
from benchmarks.detection.shapes_figure import failure_panel
from benchmarks.detection.truth import COUNTED
from stabilitykit.figures.loss_curve import LossCurve

SHAPES = {
    "isolated spikes": "Isolated spikes",
    "bursts": "Bursts of spikes, with recovery",
    "slow creep": "A slow creep",
    "plateau, then climb": "A plateau, then a climb",
    "divergence to NaN": "Divergence to NaN",
    "parked at the unigram distribution": "A fast fall, then silence: parked at the unigram distribution",
}
"""Families that are shown, each by the run of seed 0, with the pictures' titles."""

_BUCKETS = 300
"""Stretches of the curve that keep their extremes: with a hundred, the spikes of a burst run into one."""


def draw_shapes(tools: Sequence[Tool], folder: Path) -> dict[str, Path]:
    """Write one SVG a shape and return their paths by family."""
    return {name: _draw(name, tools, folder) for name in SHAPES}


def _draw(name: str, tools: Sequence[Tool], folder: Path) -> Path:
    case = generate(name, seed=0)
    steps = case.log.steps.tolist()
    truth = [(steps[e.first], None if e.open else steps[e.last]) for e in case.events]
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "run.csv"
        case.log.write(path)
        said = {tool.name: _marks(tool, path, case.log) for tool in tools if tool.needs == "loss"}
    picture = folder / f"failure_{'_'.join(name.replace(',', '').split())}.svg"
    drawn = failure_panel(_curve(case.log), truth, said, SHAPES[name])
    picture.write_bytes(_smaller(drawn))
    return picture


def _smaller(svg: bytes) -> bytes:
    """Return an SVG without indentation, with coordinates to a tenth of a point."""
    return re.sub(rb"(\d\.\d)\d+", rb"\1", re.sub(rb"\n +", b"\n", svg))


def _marks(tool: Tool, path: Path, log: Log) -> list[tuple[int, int | None, int]]:
    incidents = tool.judge(path, log).incidents
    return [(i["start"], i["end"], i["detected"]) for i in incidents if i["kind"] in COUNTED]


def _curve(log: Log) -> LossCurve:
    curve = LossCurve(_BUCKETS)
    for step, loss in zip(log.steps.tolist(), log.loss.tolist(), strict=True):
        curve.add(step, loss)
    return curve
