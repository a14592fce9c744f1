"""``--plot`` and ``--picture``: a run's curves in the terminal and as a file."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stabilitykit.errors import ConfigError, DataError
from stabilitykit_cli import consoles

if TYPE_CHECKING:
    from stabilitykit.afterwards.replay import Replay
    from stabilitykit.figures.run_picture import RunPicture

Plot = Annotated[bool, typer.Option("--plot", help="Draw the loss in the terminal, with incidents marked.")]
Picture = Annotated[
    Path | None,
    typer.Option(
        "--picture",
        "-o",
        metavar="FILE",
        help="Write a picture with incidents marked, by its ending: .html, .png, .svg or .pdf.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Pictures:
    """What was asked for; checked before logs are read, so that a mistake is told at once."""

    plot: bool = False
    path: Path | None = None
    _make: "Callable[[Sequence[RunPicture]], bytes] | None" = None

    @classmethod
    def asked(cls, plot: bool, path: Path | None, json: bool) -> "Pictures":
        """Return the pictures that the options ask for.

        Args:
            plot: Whether to draw in the terminal.
            path: The file to write.
            json: Whether stdout belongs to a JSON document.

        Raises:
            ConfigError: The options do not go together, or the file's ending says nothing.
            MissingExtraError: The file takes a package that is not installed.
            DataError: There is no folder for the file.
        """
        if plot and json:
            raise ConfigError("--plot: stdout belongs to --json; accepted beside it: --picture FILE")
        if path is None:
            return cls(plot)
        from stabilitykit.figures.picture_file import picture_writer

        make = picture_writer(path)
        if not path.parent.is_dir():
            raise DataError(f"{path}: no such folder: {path.parent}")
        return cls(plot, path, make)

    def draw(self, runs: "Iterable[tuple[Path, Replay]]") -> None:
        """Draw each run in the terminal, where that was asked for."""
        if not self.plot:
            return
        from stabilitykit_cli.render.plot import RunPlot

        pictures = _pictures(runs)
        for run in pictures:
            consoles.show(RunPlot(run, small=len(pictures) > 1))

    def write(self, runs: "Iterable[tuple[Path, Replay]]") -> None:
        """Write the runs' picture, where that was asked for, and say on stderr where it is.

        Raises:
            DataError: It cannot be written.
        """
        if self.path is None or self._make is None:
            return
        from stabilitykit.store.disk import reason, replace_file

        contents, what = self._make(_pictures(runs)), "replaced" if self.path.exists() else "written"
        try:
            replace_file(self.path, contents, sync=False)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({reason(error)})") from error
        consoles.tell(f"picture {what}: {self.path}")


def _pictures(runs: "Iterable[tuple[Path, Replay]]") -> "list[RunPicture]":
    from stabilitykit.figures.run_picture import RunPicture

    return [RunPicture(str(path), run.verdict, run.curves) for path, run in runs]
