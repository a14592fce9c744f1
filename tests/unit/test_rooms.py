"""The rooms of the package stand as the page of its architecture draws them."""

import re
import subprocess
import sys
from pathlib import Path

import grimp

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = {"stats", "observe", "live", "detect", "store", "figures", "afterwards", "lab"}

ALONE = """
import sys

ABSENT = {"lightning", "pytorch_lightning", "pydantic", "jinja2", "rich", "typer", "transformers"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT or name.startswith("stabilitykit.lab"):
            raise ModuleNotFoundError(f"no {name} here", name=name)

sys.meta_path.insert(0, Absent())

import torch
from torch import nn
from stabilitykit import diagnose, open_run, watch

folder = sys.argv[1]
torch.manual_seed(0)
model = nn.Sequential(*(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True) for _ in range(2)))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
with watch(model, optimizer, folder, on_incident=lambda incident: None) as monitor:
    for step in range(40):
        x = torch.randn(4, 8, 16)
        loss = (model(x) - x).square().mean() * (50.0 if step == 30 else 1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor.step(loss)
    live = monitor.verdict()

print(len(list(open_run(folder).records())))
print(diagnose(folder) == live, [incident.kind for incident in live.incidents])
"""


def drawn() -> set[tuple[str, str]]:
    """Return the arrows of the page's picture."""
    picture = re.search(r"```mermaid\nflowchart TD\n(.*?)```", PAGE, re.DOTALL)
    assert picture is not None
    arrows = set()
    for line in picture[1].strip().splitlines():
        room, _, others = line.partition("-->")
        arrows |= {(room.strip(), other.strip()) for other in others.split("&")}
    return arrows


def room_of(module: str) -> str:
    """Return the room that a module stands in."""
    room = module.split(".")[1]
    return room if room in ROOMS else "spine"


def test_the_picture_of_the_rooms_is_that_of_the_imports():
    graph = grimp.build_graph("stabilitykit", cache_dir=None)
    modules = graph.modules - {"stabilitykit"}
    imports = {
        (room_of(module), room_of(imported))
        for module in modules
        for imported in graph.find_modules_directly_imported_by(module) & modules
    }
    assert {(room, other) for room, other in imports if room != other} == drawn()


def test_the_instruments_work_alone(tmp_path):
    """Nothing that trains, configures, draws pages or prints is needed to watch, keep and diagnose."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, str(tmp_path / "run")], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["40", "True ['loss_spike']"]
