"""The report in a browser: read at any width, in light and dark, clicked through, taken along; no request."""

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stabilitykit.afterwards.replay import replay
from stabilitykit.lab.report import SweepView, build_report, where_they_part
from stabilitykit.lab.sweep.grid import open_sweep

from .conftest import write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRAWN = "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
PAPER = "getComputedStyle(document.body).backgroundColor"
DOT = """key => {
  const chart = charts[0], of = line => line.seeds.find(each => each[5] === key);
  const at = [...chart.groups().values()].findIndex(lines => lines.some(of));
  const seed = chart.data.lines.map(of).find(each => each), plot = chart.plots[at];
  const box = plot.over.getBoundingClientRect();
  return [box.x + plot.valToPos(chart.data.at[seed[0]], "x"), box.y + plot.valToPos(seed[2], "y")];
}"""

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


@pytest.fixture(scope="module")
def page_file(sweep, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("report") / "sweep.html"
    file.write_bytes(build_report([SweepView.of(sweep)]).page.encode())
    return file


@pytest.fixture
def opened(browser):
    """Opens a page; what it says on its console, or fetches, is kept."""
    pages = []

    def show(file: Path, width: int = 1100, scheme: str = "light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.said, page.fetched = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.fetched.append(request.url))
        page.goto(file.as_uri())
        page.locator("canvas").first.wait_for()
        pages.append(page)
        return page

    yield show
    for page in pages:
        assert page.said == []
        assert [each for each in page.fetched if not each.startswith(("file:", "data:"))] == []
        page.close()


@pytest.mark.parametrize(
    ("width", "scheme"), [(390, "light"), (390, "dark"), (1100, "light"), (1100, "dark")]
)
def test_it_fits_any_width_and_follows_the_scheme(opened, page_file, width, scheme):
    page = opened(page_file, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(PAPER) == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 26)"}[scheme]
    assert page.locator(".landscape canvas").count() == 2
    assert page.locator(".landscape canvas").first.evaluate(DRAWN) > 30
    page.locator(".grid td.all a").first.click()
    page.locator(".item[open] canvas").first.wait_for()
    assert page.locator(".item[open] canvas").first.evaluate(DRAWN) > 30
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    loaded = page.locator(".item[open] .cells img").evaluate_all("all => all.map(each => each.naturalWidth)")
    assert loaded == [40, 40, 40]


def test_a_cell_of_the_grid_leads_to_its_run(opened, page_file):
    page = opened(page_file)
    page.locator(".grid").get_by_role("link", name="1 of 2 failed (stuck)").click()
    run = page.locator(".item[open]")
    assert "post_norm · warmup 10 · lr 0.1 · seed 0" in run.locator("summary").first.inner_text()
    assert page.url.endswith(f"#{run.get_attribute('id')}")
    assert "stuck" in run.inner_text()


def test_a_dot_of_the_curves_leads_to_its_run(opened, page_file, sweep):
    page = opened(page_file)
    key = next(run.cell.key for run in sweep.runs if run.cell.values["arch"] == "pre_norm")
    page.locator(".landscape canvas").last.scroll_into_view_if_needed()
    x, y = page.evaluate(DOT, key)
    page.mouse.move(x, y)
    assert "none of 2 failed" in page.locator(".landscape .hover").inner_text()
    page.mouse.click(x, y)
    page.locator(".item[open]").wait_for()
    assert page.locator(".item[open]").get_attribute("id") == f"run-{key}"


def test_panels_can_be_cut_another_way(opened, page_file):
    page = opened(page_file)
    assert page.locator(".panels .head b").all_inner_texts() == ["post_norm", "pre_norm"]
    page.get_by_label("one panel for each").select_option("warmup")
    assert page.locator(".panels .head b").all_inner_texts() == ["warmup 0", "warmup 10"]
    page.get_by_label("one panel for each").select_option("all in one")
    assert page.locator(".panels canvas").count() == 1
    assert page.locator(".panels .head span").count() == 4


def test_labels_have_bars_and_no_line_between_them(opened, write_sweep, tmp_path):
    sweep = open_sweep(
        write_sweep(tmp_path / "sweep", {"arch": ["post_norm", "pre_norm"]}, seeds=1, claims=())
    )
    file = tmp_path / "labels.html"
    file.write_bytes(build_report([SweepView.of(sweep)]).page.encode())
    page = opened(file)
    assert page.evaluate("charts[0].plots[0].series[1].width") == 0
    assert page.locator(".landscape canvas").evaluate(DRAWN) > 30
    assert page.locator(".landscape select").count() == 0


def test_runs_that_failed_can_be_shown_alone_and_a_link_still_finds_the_others(opened, page_file):
    page = opened(page_file)
    assert page.locator(".item:visible").count() == 24
    page.get_by_label("failed only").check()
    assert page.locator(".item:visible").count() == 5
    page.locator(".grid td.held a").first.click()
    assert page.locator(".item[open]").is_visible()


def test_an_address_with_a_run_opens_it(opened, browser, page_file, sweep):
    page = opened(page_file)
    key = sweep.runs[0].cell.key
    page.goto(f"{page_file.as_uri()}#run-{key}")
    page.reload()
    page.locator(f"#run-{key}[open] canvas").first.wait_for()


def test_folded_runs_are_drawn_anew_once_the_width_has_changed(opened, page_file):
    page = opened(page_file)
    summary = page.locator(".item summary").first
    summary.click()
    page.locator(".item[open] canvas").first.wait_for()
    summary.click()
    page.set_viewport_size({"width": 600, "height": 900})
    summary.click()
    page.wait_for_function("document.querySelector('.item[open] .u-wrap').clientWidth < 600")


def test_a_depth_map_tells_what_is_under_the_pointer(opened, page_file):
    page = opened(page_file)
    page.locator(".grid td.all a").first.click()
    residual, _, entropy = page.locator(".item[open] .map").all()
    for figure, share, told in (
        (residual, (0.5 / 40, 0.25), "blocks.01, step 0: about 2"),
        (residual, (39.5 / 40, 0.75), "blocks.00, step 39: about 1.4"),
        (entropy, (36.5 / 40, 0.25), "blocks.01, step 36: not finite"),
    ):
        image = figure.locator("img")
        image.scroll_into_view_if_needed()
        box = image.bounding_box()
        page.mouse.move(box["x"] + share[0] * box["width"], box["y"] + share[1] * box["height"])
        assert figure.locator(".under").inner_text() == told


def test_data_is_taken_along_from_a_file_without_a_server(opened, page_file, tmp_path):
    page = opened(page_file)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="norms_lr_loss.csv").click()
    waiting.value.save_as(tmp_path / "taken.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "taken.csv").read_text())))
    assert len(rows) == 24
    assert waiting.value.suggested_filename == "norms_lr_loss.csv"


def test_without_a_script_the_tables_say_it(browser, page_file):
    page = browser.new_page(java_script_enabled=False)
    page.goto(page_file.as_uri())
    assert page.locator(".grid").is_visible()
    assert "The curves are drawn by a script" in page.locator(".landscape").inner_text()
    page.get_by_text("Final loss in numbers").click()
    assert page.locator("table.numbers").first.is_visible()
    page.close()


def test_two_runs_are_laid_over_each_other(opened, tmp_path):
    for name, rise in (("a", 0.0), ("b", 1.0)):
        course = [3.0 - 0.01 * step + rise * (step > 20) for step in range(40)]
        write_run(tmp_path / name, course, schedule={"warmup": int(10 * rise)})
    logs = [(tmp_path / name, replay(tmp_path / name)) for name in ("a", "b")]
    file = tmp_path / "two.html"
    file.write_bytes(build_report([], logs, where_they_part(*(path for path, _ in logs))).page.encode())
    page = opened(file, 390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator(".overlay .u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 50)
    assert "A 2.6" in page.locator(".parting .hover").inner_text()
    assert "B 3.6" in page.locator(".parting .hover").inner_text()
