"""Reading anybody's logs as step records. Nothing here writes."""

from stabilitykit.store.logs.csv import read_csv
from stabilitykit.store.logs.log_reading import LogReading, RecordTable

__all__ = ["LogReading", "RecordTable", "read_csv"]
