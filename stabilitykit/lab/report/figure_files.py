"""Every figure of a report as SVG and PDF, and its data as CSV; pictures of costs as SVG."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from stabilitykit.errors import DataError, MissingExtraError
from stabilitykit.lab.report.build import Report
from stabilitykit.lab.report.run_views import RunView
from stabilitykit.lab.report.sweep_views import SweepView
from stabilitykit.lab.report.tables import map_table
from stabilitykit.store.disk import reason, replace_file

FORMATS = ("svg", "pdf")

_Maker = Callable[[], Mapping[str, bytes]]
"""Makes the bytes of a figure by format."""


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
    written = [_write(folder / name, text.encode()) for name, text in (*_tables(made), *_drawn(made))]
    if not made.sweeps and not made.views:
        return written
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            f"{folder}: figures need matplotlib: pip install 'stabilitykit[report]';"
            f" the page and {len(written)} tables (.csv) and pictures of costs are written"
        )
    figures = list(_figures(made))
    for count, (name, make) in enumerate(figures, start=1):
        written += [_write(folder / f"{name}.{format}", data) for format, data in make().items()]
        if on_progress is not None:
            on_progress(count, len(figures))
    return written


def _write(path: Path, data: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data, sync=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({reason(error)})") from error
    return path


def _tables(made: Report) -> Iterator[tuple[str, str]]:
    for sweep in made.sweeps:
        for name, text in sweep.tables.items():
            yield f"{sweep.name}/{name}.csv", text
    for cost in made.costs:
        for name, text in cost.tables.items():
            yield f"{cost.name}/{name}.csv", text
    for view in made.views:
        for each in view.maps:
            yield f"runs/{view.key}_{each.name}.csv", map_table(each)


def _drawn(made: Report) -> Iterator[tuple[str, str]]:
    """Yield the pictures that are SVG already."""
    for cost in made.costs:
        for name, text in cost.pictures().items():
            yield f"{cost.name}/{name}.svg", text


def _figures(made: Report) -> Iterator[tuple[str, _Maker]]:
    for sweep in made.sweeps:
        yield from _of_sweep(sweep)
    for view in made.views:
        yield from _of_run(view)


def _of_sweep(sweep: SweepView) -> Iterator[tuple[str, _Maker]]:
    from stabilitykit.lab.report.landscape_figure import failure_order_files, lr_loss_files, verdicts_files

    yield f"{sweep.name}/lr_loss", partial(lr_loss_files, sweep.shown, FORMATS)
    yield f"{sweep.name}/verdicts", partial(verdicts_files, sweep.shown, FORMATS)
    if sweep.order.rows:
        yield f"{sweep.name}/failure_order", partial(failure_order_files, sweep.order, FORMATS)


def _of_run(view: RunView) -> Iterator[tuple[str, _Maker]]:
    from stabilitykit.figures.depth_figure import depth_files
    from stabilitykit.figures.run_figure import run_files

    yield f"runs/{view.key}_curves", partial(run_files, [view.picture], FORMATS)
    if view.maps:
        yield f"runs/{view.key}_depths", partial(depth_files, view.maps, view.picture.title, FORMATS)
