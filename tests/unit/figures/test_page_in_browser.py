"""The page in a browser: curves are drawn, looked into and told, at any width, in light and in dark."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stabilitykit.figures.page import run_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCALES = "[...runs.values()][0].plots.map(plot => [plot.scales.x.min, plot.scales.x.max])"
PAPER = "getComputedStyle(document.body).backgroundColor"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, tmp_path: Path, eventful, make_run):
    """Opens a page of runs; what it says on its console, or fetches, is kept."""
    pages = []

    def show(runs, width=1000, scheme="light"):
        file = tmp_path / f"{len(pages)}.html"
        file.write_bytes(run_page(runs).encode())
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.said, page.fetched = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.fetched.append(request.url))
        page.goto(file.as_uri())
        page.locator(".run canvas").first.wait_for()
        pages.append(page)
        return page

    yield show
    for page in pages:
        assert page.said == []
        assert len(page.fetched) == 1
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1000])
def test_it_fits_any_width_and_follows_the_scheme(opened, eventful, width, scheme):
    page = opened([eventful], width, scheme)
    assert page.locator(".run canvas").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(PAPER) == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 26)"}[scheme]
    curve = page.locator(".run canvas").first
    drawn = (
        "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
    )
    assert curve.evaluate(drawn) > 30


def test_an_incidents_steps_lead_into_all_curves_and_back(opened, eventful):
    page = opened([eventful])
    whole = page.evaluate(SCALES)
    page.locator("button.zoom", has_text="from 1900, open").click()
    near = page.evaluate(SCALES)
    assert len(near) == 3
    assert all(low > 1800 and high > 2000 for low, high in near)
    assert "divergence, from step 1900, open" in page.locator(".hover").inner_text()
    page.get_by_role("button", name="whole run").click()
    assert page.evaluate(SCALES) == whole


def test_dragging_looks_closer_and_hovering_tells_values_and_incidents(opened, eventful):
    page = opened([eventful])
    box = page.locator(".u-over").first.bounding_box()
    y = box["y"] + box["height"] / 2

    def at(step: int) -> float:
        low, high = page.evaluate(SCALES)[0]
        return box["x"] + (step - low) / (high - low) * box["width"]

    page.mouse.move(at(1500), y)
    assert "loss 40 at step 1500 · gradient norm 3" in page.locator(".hover").inner_text()
    page.mouse.move(at(710), y)
    assert "loss not finite at step 7" in page.locator(".hover").inner_text()
    start, end = at(500), at(800)
    page.mouse.move(start, y)
    page.mouse.down()
    page.mouse.move(end, y, steps=4)
    page.mouse.up()
    assert all(490 < low < 510 and 790 < high < 810 for low, high in page.evaluate(SCALES))
    page.mouse.dblclick(box["x"] + 50, y)
    assert page.evaluate(SCALES)[0][0] < 0


def test_runs_that_break_axes_are_drawn_without_an_error(opened, make_run):
    hard = (
        [],
        [2.5],
        [float("nan")] * 30,
        [4.0] * 50,
        [-1.0] * 40 + [1e30],
        [1e-30, 3e-30],
        [0.0, 1e-6, 1e4],
    )
    page = opened([make_run(losses, title=f"run {n}") for n, losses in enumerate(hard)])
    for n in range(len(hard)):
        page.locator(f"#run-{n + 1}").scroll_into_view_if_needed()
        page.locator(f"#run-{n + 1} canvas").first.wait_for()
    page.get_by_role("link", name="run 3").click()
    assert page.url.endswith("#run-4")
