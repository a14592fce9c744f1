"""TensorBoard itself, in a browser, on a folder that was written here."""

import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.records import IncidentChange, StepRecord
from stabilitykit.store import TensorBoardWriter, tensorboard_command, tensorboard_url

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BLOCKS = [f"blocks.{index:02d}" for index in range(6)]
FAMILIES = (("act/rms", ".resid_post"), ("grad/share", ""), ("attn/logit_max", ""), ("attn/entropy", ""))
TAGS = ("train/loss", *(f"{name}/{block}{end}" for name, end in FAMILIES for block in BLOCKS))

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"),
]


@pytest.fixture
def address(tmp_path: Path, make_change: Callable[..., IncidentChange]) -> Iterator[str]:
    """Write a run, show it with the command that users are given, and return the address they are given."""
    writer = TensorBoardWriter(tmp_path / "run")
    for step in range(120):
        writer.record(StepRecord(step, TAGS, np.full(len(TAGS), 1 + step / 100, np.float32)))
    writer.incident(make_change(119))
    writer.close("**recovered**")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    arguments = shlex.split(tensorboard_command(tmp_path))
    options = arguments[arguments.index("--logdir") :]
    command = [sys.executable, "-m", "tensorboard.main", *options, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(f"http://localhost:{port}/data/plugin/scalars/tags", b"train/loss")
            wait_for(f"http://localhost:{port}/data/plugin/images/tags", b"depth/residual_rms")
            yield tensorboard_url(port)
        finally:
            server.terminate()


def wait_for(url: str, content: bytes) -> None:
    for _ in range(120):
        try:
            with urllib.request.urlopen(url) as reply:
                if content in reply.read():
                    return
        except OSError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"{url} never held {content!r}")


def test_charts_pictures_and_texts_are_there(address: str):
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        try:
            page = browser.new_page(viewport={"width": 1400, "height": 1300})
            page.goto(address)
            for title in ("Loss", "Residual RMS per block", "Gradient share per block"):
                page.get_by_text(title, exact=True).first.wait_for()
            page.get_by_text("Matches (6)").first.wait_for()
            # The lines are there without data, too, but then they lead nowhere.
            page.locator("vz-line-chart2 path.line[d]").first.wait_for(state="attached")
            smoothing = page.get_by_role("slider").first.get_attribute("aria-valuenow")
            assert float(smoothing or "nan") == 0

            page.goto(address.replace("#custom_scalars", "#images"))
            page.reload()
            image = page.locator("tf-image-loader img").first
            image.wait_for()
            assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400

            page.goto(address.replace("#custom_scalars", "#text"))
            page.reload()
            page.get_by_text("the loss rose | a lot").first.wait_for()
        finally:
            browser.close()
