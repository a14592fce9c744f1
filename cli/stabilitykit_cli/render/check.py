"""What is expected of a run that has not begun, with what the check looked at."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stabilitykit.lab.probe.checks import CheckFinding, CheckReport
from stabilitykit.records import Severity
from stabilitykit_cli.render.verdict import listed
from stabilitykit_cli.render.words import SEVERITY_STYLES, number

EXPECTED_STYLES = {"stable": "green", "unknown": "yellow", "unstable": "red"}
"""Colour of what is expected."""


def check_report(report: CheckReport, arch: str) -> RenderableType:
    """Return what is expected and why, each warning with what to try, and a row for all that was looked at.

    Args:
        report: What the check says.
        arch: What was checked.
    """
    decisive = report.decisive
    expected = (report.expected, f"bold {EXPECTED_STYLES[report.expected]}")
    parts: list[RenderableType] = [
        Text(),
        Text.assemble("expected ", expected, f"  {decisive.message}"),
        Text(f"{arch} · nothing was trained", style="dim"),
        Text(),
        *_advice(decisive),
    ]
    others = [finding for finding in report.findings if finding is not decisive]
    for finding in others:
        if finding.severity is not Severity.INFO:
            parts += [_told(finding), Text()]
    return Group(*parts, _table(others), Text())


def _advice(finding: CheckFinding) -> list[RenderableType]:
    return [*listed("what to try", finding.remedies), Text()] if finding.remedies else []


def _told(finding: CheckFinding) -> RenderableType:
    style = SEVERITY_STYLES[finding.severity]
    head = Text.assemble((finding.name, f"bold {style}"), (f"  ({finding.severity})", "dim"))
    body = Group(Text(finding.message), *listed("what to try", finding.remedies))
    return Group(head, Padding(body, (0, 0, 0, 2), expand=False))


def _table(findings: Sequence[CheckFinding]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("looked at")
    table.add_column("value", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("what", overflow="fold")
    for finding in findings:
        name = Text(finding.name, style=SEVERITY_STYLES[finding.severity])
        told = finding.message if finding.severity is Severity.INFO else "see above"
        table.add_row(name, number(finding.value), number(finding.limit), Text(told))
    return table
