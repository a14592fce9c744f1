"""The only place with tables and colours: everything here returns renderables, commands print them."""

from stabilitykit_cli.render.change import change_line
from stabilitykit_cli.render.frame import LiveFrame, starting_line
from stabilitykit_cli.render.knowledge import explained
from stabilitykit_cli.render.verdict import (
    folder_lines,
    note_lines,
    probe_summary,
    runs_table,
    verdict_report,
)

__all__ = [
    "LiveFrame",
    "change_line",
    "explained",
    "folder_lines",
    "note_lines",
    "probe_summary",
    "runs_table",
    "starting_line",
    "verdict_report",
]
