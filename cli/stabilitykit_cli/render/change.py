"""What happens to an incident while a log is followed, in one line."""

from rich.text import Text

from stabilitykit.records import IncidentChange
from stabilitykit_cli.render.words import SEVERITY_STYLES


def change_line(change: IncidentChange, name: str) -> Text:
    """Return the line of an incident that opened or closed.

    Args:
        change: What happened.
        name: Whose incident it is, where several logs are followed.
    """
    incident = change.incident
    line = Text()
    if name:
        line.append(f"{name}  ", style="dim")
    line.append(f"step {change.step:>8}  ")
    line.append(f"{incident.kind} {change.what}", style=f"bold {SEVERITY_STYLES[incident.severity]}")
    rest = incident.message if change.what == "opened" else f"steps {incident.start} to {incident.end}"
    return line.append(f"  {incident.site}  {rest}")
