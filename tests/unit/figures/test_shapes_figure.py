"""The documents' picture of one failure and what each tool said of it."""

import xml.etree.ElementTree as ET

import pytest

from benchmarks.detection.shapes_figure import failure_panel
from stabilitykit.figures import LossCurve

pytest.importorskip("matplotlib")


def test_every_tool_has_its_line_also_the_silent_one():
    curve = LossCurve()
    for step in range(200):
        curve.add(step, 30.0 if step == 120 else 3.0)
    tools = {"ours": [(120, 120, 120)], "Megatron 10×": [], "z > 2 & $x$": [(5, 9, 7), (120, None, 121)]}
    first, again = (failure_panel(curve, [(120, 121)], tools, "a <spike>") for _ in range(2))
    assert first == again
    texts = {text.strip() for text in ET.fromstring(first).itertext()}
    assert {"a <spike>", "what happened", "ours", "Megatron 10×", "z > 2 & $x$ ×2"} <= texts
