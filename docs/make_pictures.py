"""Makes the pictures in docs/images from real runs.

    python docs/make_pictures.py                                              # a probe's, trained here
    python docs/make_pictures.py --sweep runs/science/norm_placement.sweep.json   # a finished sweep's page

The probe is that of recipes/post_norm_collapse.yaml: its live view as SVG, and TensorBoard as PNG, which needs an
installed Chromium, as a page does.
"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from playwright.sync_api import sync_playwright
from rich.console import Console
from stabilitykit_cli.app import main as main_command
from stabilitykit_cli.progress import RunProgress
from stabilitykit_cli.render import LiveFrame

from stabilitykit.lab.probe import ProbePlan, build_spec, probe
from stabilitykit.records import IncidentChange, StepRecord
from stabilitykit.store.tensorboard import tensorboard_url

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
AT_STEP = 150
WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""A picture fetches nothing when it is looked at."""
BROWSER = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


class Photographer:
    """Follows a probe and draws its live view at one step."""

    def __init__(self) -> None:
        self.progress: RunProgress | None = None

    def started(self, plan: ProbePlan) -> None:
        """Begin."""
        self.progress = RunProgress(plan, time.monotonic)

    def step(self, record: StepRecord) -> None:
        """Keep the record; take the picture when it is time."""
        if self.progress is not None:
            self.progress.add(record)
            if record.step == AT_STEP:
                console = Console(record=True, width=106, height=32, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
                console.print(LiveFrame(self.progress))
                svg = console.export_svg(title="stabilitykit probe --arch post_norm --lr 1e-2 --warmup 0")
                (IMAGES / "probe.svg").write_text(WEB_FONT.sub("", svg))

    def changed(self, change: IncidentChange) -> None:
        """Keep the incident."""
        if self.progress is not None:
            self.progress.change(change)

    def notice(self, message: str) -> None:
        """Nothing is to be noticed."""


def photograph_tensorboard(folder: Path) -> None:
    """Show the folder in TensorBoard, and keep what a headless browser sees."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder.name, "--port", str(port)]
    silent = subprocess.DEVNULL
    with (
        subprocess.Popen(command, stdout=silent, stderr=silent, cwd=folder.parent) as server,
        sync_playwright() as playwright,
    ):
        try:
            wait_for(f"http://localhost:{port}/data/plugin/images/tags")
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(BROWSER))
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.goto(tensorboard_url(port))
            page.wait_for_timeout(6000)
            page.screenshot(path=str(IMAGES / "tensorboard.png"))
            page.goto(f"http://localhost:{port}/#images")
            page.wait_for_timeout(5000)
            page.screenshot(path=str(IMAGES / "tensorboard_depth.png"))
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    """Wait until TensorBoard has read the images."""
    for _ in range(60):
        try:
            with urllib.request.urlopen(url) as reply:
                if b"depth/" in reply.read():
                    return
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"{url} shows no images")


def photograph_page(plan: Path) -> None:
    """Write the page of a sweep, and keep what a headless browser sees of it first."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "sweep.html"
        main_command(["report", str(plan), "-o", str(page_file)])
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(BROWSER))
        page = browser.new_page(viewport={"width": 1400, "height": 880})
        page.goto(page_file.as_uri())
        page.wait_for_timeout(1500)
        page.screenshot(path=str(IMAGES / "sweep.png"))


def main() -> None:
    """Take the pictures that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", type=Path, help="NAME.sweep.json of a finished sweep")
    sweep = parser.parse_args().sweep
    IMAGES.mkdir(exist_ok=True)
    if sweep is None:
        photograph_probe()
    else:
        photograph_page(sweep)


def photograph_probe() -> None:
    """Train the probe, and take both of its pictures."""
    spec = build_spec(None, ROOT / "recipes" / "post_norm_collapse.yaml")
    with tempfile.TemporaryDirectory() as folder:
        probe(spec, Path(folder) / "runs" / "post_norm-1", Photographer())
        if shutil.which("chromium"):
            photograph_tensorboard(Path(folder) / "runs")


if __name__ == "__main__":
    main()
