"""``report``: a page from sweeps and logs, its exit statuses, what it prints."""

import json
from pathlib import Path

import pytest

from stabilitykit_cli import exits
from stabilitykit_cli.app import main


@pytest.fixture
def logs(tmp_path: Path) -> list[Path]:
    """Two logs that part at step 50."""
    found = []
    for name, rise in (("a", 0.0), ("b", 1.0)):
        path = tmp_path / f"{name}.csv"
        rows = [f"{step},{4 - 0.01 * step + rise * (step >= 50)}" for step in range(100)]
        path.write_text("step,loss\n" + "\n".join(rows) + "\n")
        found.append(path)
    return found


def test_two_logs_say_where_they_part_and_stdout_is_one_document(logs, tmp_path, capsys):
    page = tmp_path / "two.html"
    assert main(["report", *map(str, logs), "-o", str(page), "--json"]) == exits.OK
    said = capsys.readouterr()
    assert json.loads(said.out) == {"file": str(page), "runs": 2, "told": 2}
    assert said.err == f"page written: {page}\n"
    assert "They part at step 50" in page.read_text()
    assert main(["report", str(logs[0]), "-o", str(page)]) == exits.OK
    said = capsys.readouterr()
    assert said.out == f"{page}: 1 run\n"
    assert said.err == f"page replaced: {page}\n"


def test_what_is_wrong_is_told_in_a_line(logs, tmp_path, capsys):
    cases = [
        ([str(logs[0]), "-o", str(tmp_path / "page.pdf")], exits.USAGE, "ends in .html"),
        ([str(logs[0]), "-o", str(tmp_path / "none" / "x.html")], exits.FAILED, "no such folder"),
        ([str(tmp_path / "gone"), "-o", str(tmp_path / "x.html")], exits.FAILED, "no such file"),
    ]
    for typed, status, words in cases:
        assert main(["report", *typed]) == status
        said = capsys.readouterr()
        assert said.out == ""
        assert words in said.err
        assert said.err.count("\n") == 1
    broken = tmp_path / "norms.sweep.json"
    broken.write_text("{")
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "x.html")]) == exits.FAILED
    assert "damaged" in capsys.readouterr().err


def test_one_log_that_cannot_be_read_leaves_the_others_their_page(logs, tmp_path, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_text("nothing here\n")
    page = tmp_path / "x.html"
    assert main(["report", str(logs[0]), str(bad), "-o", str(page)]) == exits.FAILED
    assert page.is_file()
    assert "bad.csv" in capsys.readouterr().err


def test_what_cost_printed_is_told_beside_a_log(logs, stabilitykit, tmp_path, capsys):
    costs = tmp_path / "cost.json"
    costs.write_text(stabilitykit("cost", "--compare", "placement", "--json", "--predict").out)
    page = tmp_path / "x.html"
    assert main(["report", str(costs), "-o", str(page)]) == exits.OK
    assert capsys.readouterr().out == f"{page}: 1 document of costs\n"
    assert main(["report", str(costs), str(logs[0]), "-o", str(page), "--json"]) == exits.OK
    assert json.loads(capsys.readouterr().out) == {"file": str(page), "runs": 1, "told": 1, "costs": 1}
    text = page.read_text()
    assert "What it costs" in text
    assert 'id="runs"' in text
