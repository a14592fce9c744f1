"""The section on costs in a browser: it fits a narrow screen, says nothing on the console, and sorts."""

import shutil

import pytest

from stabilitykit.lab.report import CostView, build_report

from .costs import DECODE, TRAIN, predicted, with_times, written

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")
def test_costs_fit_a_narrow_screen_and_operations_sort(tmp_path):
    api = pytest.importorskip("playwright.sync_api")
    told = {"norms": predicted("norm", TRAIN), "cache": predicted("kv_heads", DECODE)}
    views = [CostView.of(written(tmp_path / f"{name}.json", with_times(each))) for name, each in told.items()]
    file, said = tmp_path / "cost.html", []
    file.write_text(build_report([], costs=views).page)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 400, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        assert page.locator("section.cost").count() == 2
        assert page.locator(".picture.narrow svg").count() == page.locator(".picture.wide svg").count() == 5
        assert not page.locator(".picture.wide").first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.set_viewport_size({"width": 1100, "height": 900})
        assert page.locator(".picture.wide").first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 1100
        table = page.locator(".operations").first
        table.get_by_role("button", name="FLOPs").click()
        shown = table.locator("tbody tr td:nth-child(4)")
        flops = [float(each) for each in shown.evaluate_all("all => all.map(each => each.dataset.value)")]
        assert flops == sorted(flops, reverse=True)
        assert table.locator("thead th").nth(3).get_attribute("aria-sort") == "descending"
        browser.close()
    assert said == []
