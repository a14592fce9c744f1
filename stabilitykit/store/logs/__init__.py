"""Reading anybody's logs as step records. Nothing here writes."""

from stabilitykit.store.logs.columns import NoLossError
from stabilitykit.store.logs.log_reading import LogReading
from stabilitykit.store.logs.recognition import LogFormat
from stabilitykit.store.logs.row_source import FileSource, LineSource, Row, Sample, Selection
from stabilitykit.store.logs.tree import FoundLogs, find_logs

__all__ = [
    "FileSource",
    "FoundLogs",
    "LineSource",
    "LogFormat",
    "LogReading",
    "NoLossError",
    "Row",
    "Sample",
    "Selection",
    "find_logs",
]
