"""The report's page: it says all in words, leads from pictures to runs, fetches nothing, and can be sent."""

import csv
import io
import subprocess
import sys
from dataclasses import replace

import pytest

from stabilitykit.afterwards.replay import Replay, replay
from stabilitykit.lab.report import SweepView, build_report, where_they_part, write_figures
from stabilitykit.lab.report.landscape_figure import lr_loss_files, verdicts_files
from stabilitykit.lab.sweep.grid import open_sweep
from stabilitykit.records import Verdict

from .conftest import HOSTILE, an_incident, write_run
from .reading import Reader


@pytest.fixture(scope="module")
def view(sweep):
    return SweepView.of(sweep)


@pytest.fixture(scope="module")
def made(view):
    return build_report([view])


@pytest.fixture(scope="module")
def reader(made):
    return Reader(made.page)


def test_it_fetches_nothing_and_what_a_sweep_says_is_never_markup(made, reader):
    assert reader.fetched == []
    assert "url(" not in made.page
    assert "default-src 'none'" in made.page
    assert reader.tags.count("script") == 2 + 1 + made.runs
    assert f"Which norm? {HOSTILE}" in reader.text


def test_the_grid_the_claims_and_the_summary_stand_in_words(reader):
    assert "24 runs, all done, 5 failed" in reader.text
    assert "fails from 0.01 on, holds up to 0.001" in reader.text
    assert "undecided" in reader.text
    assert "post_norm · warmup 10" in reader.text
    assert "vanishing_gradient blocks.01" in reader.text
    assert any(
        "Residual RMS behind each block of 2 sites over steps 0 to 39" in each for each in reader.labels
    )


def test_every_cell_of_the_grid_and_every_dot_leads_to_a_run_of_the_page(reader, made):
    assert len(reader.inner) == 12
    assert set(reader.inner) <= set(reader.ids)
    (chart,) = reader.charts
    dots = [seed for line in chart["lines"] for seed in line["seeds"]]
    assert len(dots) == made.runs == 24
    assert {f"run-{seed[5]}" for seed in dots} <= set(reader.ids)
    assert len(set(reader.ids)) == len(reader.ids)


def test_its_data_can_be_taken_along(reader, sweep):
    assert set(reader.downloads) == {
        f"norms_{name}.csv" for name in ("lr_loss", "verdicts", "failure_order", "summary", "claims")
    }
    rows = list(csv.DictReader(io.StringIO(reader.downloads["norms_lr_loss.csv"])))
    assert len(rows) == 24
    assert {row["outcome"] for row in rows} == {"stuck", "stable"}
    assert {row["run"] for row in rows} == {run.cell.key for run in sweep.runs}
    grid = list(csv.DictReader(io.StringIO(reader.downloads["norms_verdicts.csv"])))
    assert sum(int(row["failed"]) for row in grid) == 5


def test_of_too_many_runs_those_that_failed_are_told_first_and_the_others_are_listed(view):
    made = build_report([view], budget=60_000)
    told = {each.key for each in made.views}
    failing = {each.telling.run for row in view.shown.rows for each in row.settings if each.failed}
    assert 0 < len(told) < 24
    assert failing <= told
    text = Reader(made.page).text
    assert f"the other {24 - len(told)}" in text
    assert text.count("not told in full") == 24 - len(told)


def test_one_huge_run_does_not_push_out_the_others(tmp_path):
    incident = an_incident("gradient_spike", "blocks.03", 3)
    runs = [
        (tmp_path / name, Replay(Verdict("stable", "told", True, 9, (incident,) * count), "a log", ()))
        for name, count in (("a", 1), ("huge", 400), ("c", 1))
    ]
    made = build_report([], runs, budget=20_000)
    assert [view.key for view in made.views] == ["1_a", "3_c"]
    assert made.runs == 3


def test_a_hundred_runs_of_six_blocks_and_240_steps_can_be_sent(tmp_path):
    course = [4 * 0.99**step + 0.3 * ((7 * step * step) % 17) / 17 for step in range(240)]
    found = tuple(an_incident(kind, "blocks.03", 30) for kind in ("vanishing_gradient", "gradient_spike"))
    write_run(tmp_path, course, found, layers=6)
    run = (tmp_path, replay(tmp_path))
    one, two = (len(build_report([], [run] * count).page) for count in (1, 2))
    assert one + 99 * (two - one) < 8e6
    assert two - one > 15_000


def test_a_cell_without_a_folder_is_told_all_the_same(sweep, tmp_path):
    gone = [replace(run, folder=tmp_path / "gone") if at == 0 else run for at, run in enumerate(sweep.runs)]
    made = build_report([SweepView.of(replace(sweep, runs=tuple(gone[:2])))])
    assert made.runs == 2
    assert "not a run's folder" in Reader(made.page).text


def test_claims_that_cannot_be_judged_leave_the_page(sweep):
    plan = replace(sweep.plan, claims=({"says": "x", "measure": "nothing known", "band": [0, 1]},))
    view = SweepView.of(replace(sweep, plan=plan))
    assert "The claims could not be judged" in Reader(build_report([view], budget=1).page).text


def test_a_sweep_of_which_nothing_is_done_is_a_page(tmp_path, write_sweep):
    view = SweepView.of(open_sweep(write_sweep(tmp_path, done=lambda *_: False)))
    text = Reader(build_report([view]).page).text
    assert "24 runs, 0 of 24 done, 0 failed" in text
    assert text.count("not done") > 12


@pytest.mark.parametrize(
    ("axes", "title"),
    [
        ({"arch": ["post_norm", "pre_norm"]}, "all runs"),
        ({"model.n_layers": [2, 4], "model.feedforward.gated": [True, False]}, "gated true"),
        ({"optimizer.eps": [1e-15, 1e-8], "optimizer.lr": [0.003, 0.03]}, "eps 1e-15"),
        (
            {"bias": {"without": {}, "with": {"model.norm.bias": True}}, "seq": {"8": {"model.seq_len": 8}}},
            "bias with",
        ),
    ],
)
def test_any_axes_make_a_page_and_figures(tmp_path, write_sweep, axes, title):
    view = SweepView.of(open_sweep(write_sweep(tmp_path, axes, seeds=1, claims=())))
    made = build_report([view])
    assert title in Reader(made.page).text
    assert made.runs == len(made.views) > 0
    for make in (lr_loss_files, verdicts_files):
        assert make(view.shown, ["svg"])["svg"].startswith(b"<?xml")


def test_runs_of_two_sweeps_are_listed_once(view):
    made = build_report([view, view], budget=1)
    assert made.runs == 24
    assert "2 sweeps" in Reader(made.page).text


def test_two_runs_say_where_they_part(tmp_path):
    losses = [3.0 - 0.01 * step for step in range(30)]
    for name, rise, warmup in (("a", 0.0, 0), ("b", 1.0, 10)):
        write_run(
            tmp_path / name,
            [loss + rise * (step > 20) for step, loss in enumerate(losses)],
            schedule={"warmup": warmup},
        )
    logs = [(tmp_path / name, replay(tmp_path / name)) for name in ("a", "b")]
    made = build_report([], logs, where_they_part(*(path for path, _ in logs)))
    text = Reader(made.page).text
    assert "They part at step 21, first at train/loss" in text
    assert "schedule.warmup" in text
    assert made.runs == len(made.views) == 2


@pytest.mark.slow
def test_figures_and_tables_are_files(view, tmp_path):
    made = build_report([view], budget=1)
    files = write_figures(tmp_path, made)
    names = {file.relative_to(tmp_path).as_posix() for file in files}
    key = made.views[0].key
    for figure in (
        "norms/lr_loss",
        "norms/verdicts",
        "norms/failure_order",
        f"runs/{key}_curves",
        f"runs/{key}_depths",
    ):
        assert (tmp_path / f"{figure}.svg").read_bytes().startswith(b"<?xml")
        assert (tmp_path / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    assert f"runs/{key}_residual_rms.csv" in names
    rows = list(csv.reader((tmp_path / f"runs/{key}_attention_entropy.csv").read_text().splitlines()))
    assert rows[0] == ["step", "blocks.00", "blocks.01"]
    assert rows[-1] == ["39", "nan", "nan"]


def test_without_matplotlib_the_tables_are_written_and_it_says_what_is_missing(view, tmp_path, monkeypatch):
    from stabilitykit.errors import MissingExtraError
    from stabilitykit.lab.report import figure_files

    monkeypatch.setattr(figure_files, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'stabilitykit\[report\]'.*tables"):
        write_figures(tmp_path, build_report([view], budget=1))
    assert (tmp_path / "norms/lr_loss.csv").is_file()


@pytest.mark.slow
def test_it_takes_neither_torch_nor_matplotlib(sweep, tmp_path):
    program = (
        "import sys; from stabilitykit_cli.app import main;"
        f"status = main(['report', {str(sweep.folder)!r}, '-o', {str(tmp_path / 'x.html')!r}]);"
        "print(status, 'torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False False"
