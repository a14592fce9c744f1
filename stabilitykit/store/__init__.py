"""Runs on disk: their folders, TensorBoard's event files, and anybody's logs.

Names are loaded when first used: naming this room costs neither pyarrow nor tensorboard.
"""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.store.contents import is_run_folder
    from stabilitykit.store.event_file import Scalars, read_scalars
    from stabilitykit.store.logs import FileSource, FoundLogs, LogFormat, LogReading, NoLossError, find_logs
    from stabilitykit.store.run import Run, Snapshot, Thinned, open_run
    from stabilitykit.store.run_folder import (
        FOLDER_MB,
        RunWriter,
        check_folder_mb,
        check_free,
        write_coverage,
    )
    from stabilitykit.store.tensorboard import TensorBoardWriter, tensorboard_command, tensorboard_url

__all__ = [
    "FOLDER_MB",
    "FileSource",
    "FoundLogs",
    "LogFormat",
    "LogReading",
    "NoLossError",
    "Run",
    "RunWriter",
    "Scalars",
    "Snapshot",
    "TensorBoardWriter",
    "Thinned",
    "check_folder_mb",
    "check_free",
    "find_logs",
    "is_run_folder",
    "open_run",
    "read_scalars",
    "tensorboard_command",
    "tensorboard_url",
    "write_coverage",
]

_MODULES = {
    "contents": ("is_run_folder",),
    "event_file": ("Scalars", "read_scalars"),
    "logs": ("FileSource", "FoundLogs", "LogFormat", "LogReading", "NoLossError", "find_logs"),
    "run": ("Run", "Snapshot", "Thinned", "open_run"),
    "run_folder": ("FOLDER_MB", "RunWriter", "check_folder_mb", "check_free", "write_coverage"),
    "tensorboard": ("TensorBoardWriter", "tensorboard_command", "tensorboard_url"),
}


__getattr__ = lazy(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
