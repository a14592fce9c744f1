"""Every figure of a report as SVG and PDF, and its data as CSV."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from stabilitykit.errors import DataError, MissingExtraError
from stabilitykit.report.build import Report
from stabilitykit.report.run_views import RunView
from stabilitykit.report.sweep_views import SweepView
from stabilitykit.report.tables import map_table
from stabilitykit.store.disk import reason

FORMATS = ("svg", "pdf")

_Maker = Callable[[], bytes]


def write_figures(
    folder: Path, made: Report, on_progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Write the figures of a report, and return the files. Tables come first, and need no matplotlib.

    Args:
        folder: Where to; made where it is not there. Files of the same names are replaced.
        made: The report; figures of runs are those that it tells in full.
        on_progress: Called with how many files were written, and of how many.

    Raises:
        MissingExtraError: Figures take matplotlib, which is not installed; the tables are written.
        DataError: A file cannot be written.
    """
    written = [_write(folder / name, make) for name, make in _tables(made)]
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            f"{folder}: figures need matplotlib: pip install 'stabilitykit[report]';"
            f" the page and {len(written)} tables (.csv) are written"
        )
    figures = list(_figures(made))
    for name, make in figures:
        written.append(_write(folder / name, make))
        if on_progress is not None:
            on_progress(len(written), len(figures) + len(written))
    return written


def _write(path: Path, make: _Maker) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make())
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({reason(error)})") from error
    return path


def _tables(made: Report) -> Iterator[tuple[str, _Maker]]:
    for sweep in made.sweeps:
        for name, text in sweep.tables.items():
            yield f"{sweep.name}/{name}.csv", text.encode
    for view in made.views:
        for each in view.maps:
            yield f"runs/{view.key}_{each.name}.csv", map_table(each).encode


def _figures(made: Report) -> Iterator[tuple[str, _Maker]]:
    for format in FORMATS:
        for sweep in made.sweeps:
            for name, make in _of_sweep(sweep, format):
                yield f"{sweep.name}/{name}.{format}", make
        for view in made.views:
            for name, make in _of_run(view, format):
                yield f"runs/{view.key}_{name}.{format}", make


def _of_sweep(sweep: SweepView, format: str) -> Iterator[tuple[str, _Maker]]:
    from stabilitykit.figures.landscape_figure import failure_order_file, lr_loss_file, verdicts_file

    yield "lr_loss", lambda: lr_loss_file(sweep.shown, format)
    yield "verdicts", lambda: verdicts_file(sweep.shown, format)
    if sweep.order.rows:
        yield "failure_order", lambda: failure_order_file(sweep.order, format)


def _of_run(view: RunView, format: str) -> Iterator[tuple[str, _Maker]]:
    from stabilitykit.figures.depth_figure import depth_file
    from stabilitykit.figures.run_figure import run_file

    yield "curves", lambda: run_file([view.picture], format)
    if view.maps:
        yield "depths", lambda: depth_file(view.maps, view.picture.title, format)
