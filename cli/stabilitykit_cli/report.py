"""``stabilitykit report``: sweeps, runs and costs as one page that needs no network."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stabilitykit.errors import ConfigError, DataError
from stabilitykit_cli import consoles, exits
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.logs import AskedFor, Diagnosed, read_all
from stabilitykit_cli.options import Debug, Json

if TYPE_CHECKING:
    from stabilitykit.lab.report import CostView, Report
    from stabilitykit.lab.sweep.grid import Sweep

HELP = """Write sweeps, runs and costs as one page (HTML) that needs no network.

Of a sweep: which settings failed, loss over learning rate, what left its band
first, and its runs with curves, incidents and depths. Of two runs: where they
part first. Of a model: what it costs, in FLOPs beside bytes beside time. PATH is a
sweep's folder or its .sweep.json, a run's folder, any log that diagnose reads,
or a file of what cost --json printed.

Examples:
  stabilitykit report runs/sweep -o sweep.html
  stabilitykit report runs/sweep -o sweep.html --figures figures/
  stabilitykit report runs/post_norm-1 runs/pre_norm-1 -o two.html
  stabilitykit cost --compare norm --json > cost.json
  stabilitykit report cost.json -o cost.html
"""


def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Sweeps, runs, logs, or folders with them; costs.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.html", help="The page; replaced where it exists.")
    ] = Path("report.html"),
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures",
            metavar="DIR",
            help="Write every figure as SVG and PDF there (of costs as SVG), and its data as CSV.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write the page, and return the exit status.

    Raises:
        ConfigError: The page's name does not end in .html.
        StabilityKitError: A path cannot be read, or the page cannot be written.
    """
    _check(output)
    sweeps, found = _sweeps(paths), Diagnosed()
    costs = _costs(paths)
    logs = [path for path in paths if path not in sweeps and path not in costs]
    if logs:
        found = read_all(AskedFor(tuple(logs), debug=debug), quiet=json)
    if found.interrupted and not found.runs and not sweeps and not costs:
        return exits.interrupted()
    made = _built([sweep for each in sweeps.values() for sweep in each], found, list(costs.values()))
    done = {"file": str(output), "runs": made.runs, "told": len(made.views)}
    if costs:
        done["costs"] = len(costs)
    _write(output, made.page)
    if figures is not None:
        done["figures"] = [str(path) for path in _write_figures(figures, made)]
    if json:
        print_document(done)
    else:
        consoles.write(_said(output, done, figures))
    if found.interrupted:
        return exits.interrupted()
    return exits.FAILED if found.failures else exits.OK


def _check(output: Path) -> None:
    if output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"output: got {str(output)!r}; a page's name ends in .html")
    if not output.parent.is_dir():
        raise DataError(f"{output}: no such folder: {output.parent}")


def _sweeps(paths: Sequence[Path]) -> "dict[Path, list[Sweep]]":
    from stabilitykit.lab.sweep.grid import open_sweep, plan_files

    files = {path: plan_files(path) for path in paths}
    return {path: [open_sweep(file) for file in found] for path, found in files.items() if found}


def _costs(paths: Sequence[Path]) -> "dict[Path, CostView]":
    from stabilitykit.lab.report import CostView, is_cost_document

    return {path: CostView.of(path) for path in paths if is_cost_document(path)}


def _built(sweeps: "Sequence[Sweep]", found: Diagnosed, costs: "Sequence[CostView]") -> "Report":
    from stabilitykit.lab.report import SweepView, build_report, where_they_part

    parted = None
    if len(found.runs) == 2 and not sweeps:
        (first, _), (second, _) = found.runs
        parted = where_they_part(first, second)
    with consoles.counting("reading runs") as progress:
        views = [SweepView.of(sweep) for sweep in sweeps]
        return build_report(views, found.runs, parted, progress, costs=costs)


def _write(path: Path, page: str) -> None:
    from stabilitykit.store.disk import reason, replace_file

    what = "replaced" if path.exists() else "written"
    try:
        replace_file(path, page.encode(errors="replace"), sync=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({reason(error)})") from error
    consoles.tell(f"page {what}: {path}")


def _write_figures(folder: Path, made: "Report") -> list[Path]:
    from stabilitykit.lab.report import write_figures

    with consoles.counting("drawing figures") as progress:
        return write_figures(folder, made, progress)


def _said(output: Path, done: dict[str, Any], figures: Path | None) -> str:
    told = done["told"]
    runs = f"{done['runs']} run{'s' * (done['runs'] != 1)}" + (
        f", {told} in full" if told < done["runs"] else ""
    )
    if "costs" in done:
        priced = f"{done['costs']} document{'s' * (done['costs'] != 1)} of costs"
        runs = f"{priced}, {runs}" if done["runs"] else priced
    drawn = f"; {len(done['figures'])} figures and tables in {figures}" if figures else ""
    return f"{output}: {runs}{drawn}\n"
