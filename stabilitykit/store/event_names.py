"""Which files of a folder are TensorBoard's, by their names."""

from pathlib import Path

_MARK = "tfevents"
HPARAMS = ".hparams"
"""How an event file ends that holds no log but what TensorBoard's HPARAMS tab shows."""


def is_event_log(name: str) -> bool:
    """Return whether a file of this name holds a run's events."""
    return _MARK in name and not name.endswith(HPARAMS)


def is_event_file(name: str) -> bool:
    """Return whether TensorBoard reads a file of this name."""
    return _MARK in name


def event_files(path: Path) -> list[Path]:
    """Return the event files of a folder's run, in the order of their beginning; a file is its own."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if is_event_log(file.name))
