"""The documents' picture of one failure and what each tool said of it."""

import runpy
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from stabilitykit.figures import LossCurve

pytest.importorskip("matplotlib")
SCRIPT = Path(__file__).parents[3] / "benchmarks" / "shapes_figure.py"


def test_every_tool_has_its_line_also_the_silent_one():
    failure_panel = runpy.run_path(str(SCRIPT))["failure_panel"]
    curve = LossCurve()
    for step in range(200):
        curve.add(step, 30.0 if step == 120 else 3.0)
    tools = {"ours": [(120, 120, 120)], "Megatron 10×": [], "z > 2 & $x$": [(5, 9, 7), (120, None, 121)]}
    first, again = (failure_panel(curve, [(120, 121)], tools, "a <spike>") for _ in range(2))
    assert first == again
    texts = {text.strip() for text in ET.fromstring(first).itertext()}
    assert {"a <spike>", "what happened", "ours", "Megatron 10×", "z > 2 & $x$ ×2"} <= texts
