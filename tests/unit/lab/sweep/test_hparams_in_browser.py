"""TensorBoard's HPARAMS tab itself, in a browser, on a sweep that was written here."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.lab.sweep.grid import CellResult, SweepPlan, open_sweep, write_plan, write_result
from stabilitykit.lab.sweep.hparams import write_cell_hparams, write_sweep_hparams
from stabilitykit.records import StepRecord
from stabilitykit.store import TensorBoardWriter

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PLAN = SweepPlan(seeds=(0,)).with_axes(
    {"schedule.warmup": [None, 20], "optimizer.lr": [0.0125], "arch": ["post_norm", "pre_norm"]}
)
LOSSES = (2.125, 2.25, 3.375, None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"),
]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Write a sweep of four cells, show it, and return the address of the table."""
    for run, loss in zip(open_sweep(write_plan(tmp_path, PLAN)).runs, LOSSES, strict=True):
        board = TensorBoardWriter(run.folder)
        for step in range(30):
            board.record(StepRecord(step, ("train/loss",), np.array([5.0 - step / 30], np.float32)))
        board.close("**stable**")
        write_result(run.folder, CellResult("stable" if loss else "diverged", "", 5.0, loss, 1.5))
    for run in open_sweep(tmp_path / "sweep.sweep.json").runs:
        write_cell_hparams(run)
    write_sweep_hparams(tmp_path)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for_runs(f"http://localhost:{port}/data/plugin/scalars/tags", len(LOSSES))
            yield f"http://localhost:{port}/#hparams"
        finally:
            server.terminate()


def wait_for_runs(url: str, n: int) -> None:
    for _ in range(120):
        try:
            with urllib.request.urlopen(url) as reply:
                if reply.read().count(b"hparam/verdict") == n:
                    return
        except OSError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"{url} never held {n} runs")


def test_every_cell_is_a_row_with_its_values_and_losses(address: str, tmp_path: Path):
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        try:
            page = browser.new_page(viewport={"width": 1500, "height": 900})
            page.goto(address)
            table = page.locator("vaadin-grid")
            for told in ("post_norm", "pre_norm", "0.0125", "2.125", "2.25", "3.375"):
                table.get_by_text(told).first.wait_for()
            for heading in ("arch", "optimizer.lr", "schedule.warmup", "seed", "final_loss", "verdict"):
                table.get_by_text(heading, exact=True).first.wait_for()
            page.screenshot(path=tmp_path / "table.png")
            page.get_by_text("PARALLEL COORDINATES VIEW").click()
            lines = page.locator("tf-hparams-parallel-coords-plot g.foreground path")
            # None of them is left out: not the one without a final loss, nor those without a warmup.
            lines.nth(len(LOSSES) - 1).wait_for(state="attached")
            page.screenshot(path=tmp_path / "lines.png")
        finally:
            browser.close()
