"""The page of measured detectors."""

from benchmarks.detection import page


def test_what_was_written_by_hand_stays(tmp_path, monkeypatch):
    template = tmp_path / "page.md"
    template.write_text("{table}\n\n<!-- by hand: labels -->\n<!-- end -->\n")
    monkeypatch.setattr(page, "TEMPLATE", template)
    monkeypatch.setattr(page, "_parts", lambda folder, findings: {"table": "new figures"})
    written = tmp_path / "detectors.md"
    written.write_text("old figures\n\n<!-- by hand: labels -->\nkl_0 is no spike.\n<!-- end -->\n")
    page.write_page(written, None)
    assert written.read_text() == (
        "new figures\n\n<!-- by hand: labels -->\nkl_0 is no spike.\n<!-- end -->\n"
    )
