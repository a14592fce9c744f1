"""The sweep command: what is typed, what is refused, what is shown. Nothing is trained here."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stabilitykit.lab.claims import ClaimResult
from stabilitykit.lab.sweep.compare import summarise
from stabilitykit.lab.sweep.grid import CellResult, IncidentBrief, Sweep, SweepPlan, SweepRun, load_plan
from stabilitykit.records import Severity
from stabilitykit_cli import sweep as command
from stabilitykit_cli.app import main
from stabilitykit_cli.render.comparison import Comparison
from stabilitykit_cli.render.sweep import SweepFrame
from stabilitykit_cli.sweep_listen import PlainSweep
from stabilitykit_cli.sweep_progress import SweepProgress

AXES = {"arch": "post_norm,pre_norm", "schedule.warmup": "0,30", "optimizer.lr": "1e-3:1:4"}


def ending(values: Mapping[str, Any], seed: int) -> CellResult | None:
    lr = values["optimizer.lr"]
    if values["arch"] == "post_norm" and lr > 0.005 * (1 + values["schedule.warmup"]):
        brief = IncidentBrief("vanishing_gradient", "blocks.00", 8, 10, Severity.CRITICAL)
        return CellResult("stuck", "parked", 5.6, 3.1, 3.1, 300, 4.0, incidents=(brief,))
    if lr == 1.0:
        return CellResult("crashed", "RuntimeError: no", 5.6) if seed else CellResult("diverged", "inf", 5.6)
    return CellResult("stable", "fine", 5.6, 2.3 + lr + 0.01 * seed, 2.3, 300, 4.0)


def made(axes: Mapping[str, Any] = AXES, seeds: int = 3, **plan: Any) -> Sweep:
    asked = SweepPlan(seeds=tuple(range(seeds)), **plan).with_axes(axes)
    runs = [SweepRun(cell, Path(cell.key), ending(cell.values, cell.seed)) for cell in asked.cells()]
    return Sweep(asked, Path("runs/sweep"), tuple(runs))


def printed(renderable: Any, width: int = 100, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, width=width, height=40, force_terminal=False).print(renderable)
    file.seek(0)
    return file.read()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--arch", "post_nom"], "arch: got 'post_nom'"),
        (["--lr", "1:2"], "optimizer.lr: got '1:2'; must be a number"),
        (["--lr", "1e-3:1e-4:5"], "must have 0 < FROM < TO"),
        (["--arch", "pre_norm", "--warmup", "400"], "in the cell arch=pre_norm, schedule.warmup=400"),
        (["--arch", "pre_norm", "--vary", "model.n_layers"], "--vary: got 'model.n_layers'"),
        (["--arch", "pre_norm", "--vary", "model.n_layer=2,4"], "did you mean 'n_layers'"),
        (["--arch", "pre_norm", "--seeds", "none"], "seeds: got 'none'"),
        (["--arch", "pre_norm", "--bisect", "lr"], "bisect: got 'optimizer.lr', which does not vary"),
        (["--arch", "pre_norm", "--resolution", "1.1"], "--resolution: is how close --bisect comes"),
        (
            ["--arch", "pre_norm", "--lr", "1e-3:1:2", "--bisect", "lr", "--resolution", "1"],
            "a ratio above 1",
        ),
        (["--arch", "pre_norm", "--workers", "0"], "workers: got 0"),
        (["missing.yaml"], "missing.yaml: cannot be read"),
    ],
)
def test_what_is_typed_wrong_is_one_line_and_nothing_is_written(
    typed: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *typed]) == 2
    told = capfd.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def plan_of(recipe: Path | None, typed: Mapping[str, str | None], seeds: str | None = None) -> SweepPlan:
    return command._plan(recipe, typed, {}, [], seeds)


def test_without_anything_typed_the_default_grid_is_planned() -> None:
    assert len(plan_of(None, {"arch": None}).cells()) == 234


def test_what_is_typed_takes_the_place_of_the_recipes_axes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "axes: {arch: [pre_norm, post_norm], optimizer.lr: [1e-3, 1e-2]}\n"
        "claims:\n"
        "  - {says: a, measure: final_loss, where: {optimizer.lr: 1e-2}, band: [0, 3]}\n"
        "  - {says: b, measure: final_loss, where: {arch: pre_norm}, band: [0, 3]}\n"
    )
    plan = plan_of(recipe, {"optimizer.lr": "0.1,0.2"}, "5")
    assert len(plan.cells()) == 2 * 2 * 5
    assert [claim["says"] for claim in plan.claims] == ["b"]
    assert "1 of the recipe's 2 claims are about other values" in capfd.readouterr().err


def test_the_comparison_shows_verdicts_frontiers_and_what_failed_first() -> None:
    swept = made(about={"question": "Which one holds?"})
    claim = ClaimResult("post-norm is worse", "does not hold", 0.1, -0.2, 0.4, (0.3, None), 3, "nats", "why")
    text = printed(Comparison(swept, summarise(swept), [claim]))
    assert "Which one holds?" in text
    lines = text.splitlines()
    (post,) = [line for line in lines if line.startswith("post_norm") and "●●●" in line]
    assert post.split() == ["post_norm", "0", "●●●", "▬▬▬", "▬▬▬", "▬▬▬"]
    assert "▲✗✗" in text
    assert "vanishing_gradient@blocks.00 9" in text
    assert "does not hold" in text
    assert "0.100 [-0.200, 0.400] nats" in text
    assert "0.300 to …" in text
    assert all(len(line) <= 100 for line in lines)


def test_many_seeds_are_shown_as_shares_and_a_terminal_without_unicode_gets_ascii() -> None:
    swept = made(seeds=6)
    assert "6/6" in printed(Comparison(swept, summarise(swept), []))
    ascii_only = printed(Comparison(made(), summarise(made()), []), encoding="ascii")
    assert "ooo" in ascii_only
    assert "^!!" in ascii_only


@pytest.mark.parametrize("width", [30, 80, 200])
def test_the_live_frame_fits_any_terminal(width: int) -> None:
    swept = made()
    progress = SweepProgress(swept.plan, Path("runs/sweep"), 2, clock=lambda: 0.0)
    waiting = [SweepRun(run.cell, run.folder, None) for run in swept.runs]
    progress.ask(waiting)
    for run in swept.runs[:5]:
        progress.end(run)
    progress.running = {swept.runs[5].cell.key: 0.5}
    text = printed(SweepFrame(progress), width)
    assert "5/48 cells" in text
    assert all(len(line) <= width for line in text.splitlines())
    assert ("◌" in text) == (width >= 80)


def test_time_left_is_told_from_what_was_trained_here() -> None:
    now = [0.0]
    swept = made()
    progress = SweepProgress(swept.plan, Path("x"), 2, clock=lambda: now[0])
    progress.ask([*swept.runs[:8], *(SweepRun(run.cell, run.folder, None) for run in swept.runs[8:])])
    assert progress.left is None
    now[0] = 10.0
    for run in swept.runs[8:12]:
        progress.end(run)
    assert (progress.fresh, progress.left) == (4, pytest.approx(10 / 4 * 36))


def test_plain_progress_has_a_line_for_each_cell() -> None:
    stream = io.StringIO()
    listener = PlainSweep(stream, clock=lambda: 0.0)
    swept = made()
    listener.planned(swept.plan, Path("runs/x"), 2)
    listener.asked([SweepRun(run.cell, run.folder, None) for run in swept.runs])
    tell(listener, swept.runs)
    lines = stream.getvalue().splitlines()
    assert lines[1] == "48 cells, 0 of them there already"
    assert lines[2].startswith("1/48 arch post_norm, warmup 0, lr 1e-3, seed 0: stable, loss 2.30")
    assert sum("RuntimeError: no" in line for line in lines) == 4


def tell(listener: PlainSweep, runs: Sequence[SweepRun]) -> None:
    for run in runs:
        listener.ended(run)
    listener.tick({})


def test_a_plans_file_is_one_that_can_be_loaded(tmp_path: Path) -> None:
    from stabilitykit.lab.sweep.grid import write_plan

    plan = made().plan
    assert load_plan(write_plan(tmp_path, plan)) == plan
