"""A verdict with its evidence, as it is read after a run."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stabilitykit.detect.loss import LOSS
from stabilitykit.records import Finding, Incident, Verdict
from stabilitykit_cli.render.words import OUTCOME_STYLES, SEVERITY_STYLES, number, span

_INCIDENTS = 8
"""Incidents told in full, at most."""
_EVIDENCE = 8
"""Lines of evidence an incident."""
_NO_CAUSE = (
    "no cause is named, since nothing else was seen to leave its band; what is known of the kind:"
    " stabilitykit explain {kind}"
)
_TITLE = 14
"""Columns of a title that stands beside its lines."""


def verdict_report(verdict: Verdict, summary: str) -> RenderableType:
    """Return the outcome, the reason, and each incident with evidence, causes and remedies.

    Args:
        verdict: What to tell.
        summary: One line about the run, under the reason.
    """
    parts: list[RenderableType] = [Text(), _headline(verdict), Text(summary, style="dim"), Text()]
    if not verdict.incidents:
        parts += [Text("no incidents"), Text()]
    teller = _Teller()
    told = _weightiest(verdict.incidents)
    for incident in told:
        parts += [teller.tell(incident), Text()]
    if more := [incident for incident in verdict.incidents if incident not in told]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(each.kind for each in more).items())
        parts += [
            Text(f"and {len(more)} more incidents: {kinds} (--json and -o FILE.html list all)", style="dim")
        ]
        parts += [Text()]
    if verdict.incidents and not any(incident.causes for incident in verdict.incidents):
        kind = verdict.incidents[0].kind
        parts += [Text(_NO_CAUSE.format(kind=kind), style="dim"), Text()]
    return Group(*parts)


def _weightiest(incidents: Sequence[Incident]) -> list[Incident]:
    """Return those that are told in full, in time order: the first of each kind, then the severest."""
    kinds = {incident.kind: incident.id for incident in reversed(incidents)}
    order = sorted(incidents, key=lambda i: (kinds[i.kind] != i.id, -i.severity.rank, i.id))
    return sorted(order[:_INCIDENTS], key=lambda incident: incident.id)


def probe_summary(arch: str, steps: int, final_loss: float | None, best_loss: float | None) -> str:
    """Return the line under a probe's verdict; losses in nats."""
    return f"{arch} · {steps} steps · final loss {number(final_loss)} · best loss {number(best_loss)}"


def folder_lines(folder: Path, tensorboard: str, address: str) -> RenderableType:
    """Return where a run is kept and how to look at it.

    Args:
        folder: The run's folder.
        tensorboard: The command that shows it.
        address: Where to look then.
    """
    titled = [("folder", str(folder)), ("TensorBoard", tensorboard), ("then open", address)]
    return Text("\n").join(Text.assemble((f"{title:<{_TITLE + 1}}", "dim"), line) for title, line in titled)


def note_lines(notes: Iterable[str]) -> RenderableType:
    """Return what could not be seen in the logs, one line each."""
    return Group(*(Text(f"note: {note}", style="dim") for note in notes))


def runs_table(runs: Sequence[tuple[Path, Verdict]]) -> RenderableType:
    """Return one row a run: its place, its verdict, and what came first.

    Args:
        runs: Path and verdict of each; what the paths have in common is said once.
    """
    common = _common([path for path, _ in runs])
    below = "" if common == Path() else f" in {common}"
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column(f"run{below}", overflow="fold")
    table.add_column("verdict")
    table.add_column("steps", justify="right")
    table.add_column("incidents", justify="right")
    table.add_column("first", overflow="fold")
    for path, verdict in runs:
        first = min(verdict.incidents, key=lambda each: each.detected, default=None)
        table.add_row(
            Text(str(path.relative_to(common) if common != Path() else path)),
            _outcome(verdict),
            str(verdict.steps),
            str(len(verdict.incidents)),
            Text(_announced(first) if first else "-"),
        )
    return table


def _common(paths: Sequence[Path]) -> Path:
    """Return the folder that all paths lie in; the working folder where they are not of one sort."""
    if len({path.is_absolute() for path in paths}) > 1:
        return Path()
    return Path(os.path.commonpath([path.parent for path in paths]))


def _announced(incident: Incident) -> str:
    """Return what was announced when, and where unless that is the loss itself."""
    place = "" if incident.site == LOSS else f", {incident.site}"
    return f"{incident.kind} at step {incident.detected}{place}"


def _headline(verdict: Verdict) -> Text:
    return Text.assemble(_outcome(verdict), "  ", verdict.reason)


def _outcome(verdict: Verdict) -> Text:
    outcome = Text.assemble((verdict.outcome, f"bold {OUTCOME_STYLES[verdict.outcome]}"))
    return outcome if verdict.complete else outcome.append(" (interrupted)", style="yellow")


class _Teller:
    """Tells incidents one after the other, and nothing twice: ten spikes share their causes."""

    def __init__(self) -> None:
        self._evidence: set[tuple[str, str, int]] = set()
        self._advice: set[tuple[str, ...]] = set()

    def tell(self, incident: Incident) -> RenderableType:
        """Return one incident with what is new of its evidence, causes and remedies."""
        style = SEVERITY_STYLES[incident.severity]
        head = Text.assemble(
            (incident.kind, f"bold {style}"),
            f"  {incident.site}  {span(incident)}",
            (f"  ({incident.severity}, announced at step {incident.detected})", "dim"),
        )
        parts = [Text(incident.message), *self._evidence_of(incident), *self._advice_of(incident)]
        return Group(head, Padding(Group(*parts), (0, 0, 0, 2), expand=False))

    def _evidence_of(self, incident: Incident) -> list[RenderableType]:
        keys = {(finding.kind, finding.site, finding.step) for finding in incident.evidence}
        if not keys:
            return []
        if keys <= self._evidence:
            return [Text("evidence as above", style="dim")]
        self._evidence |= keys
        return [_evidence(incident.evidence)]

    def _advice_of(self, incident: Incident) -> list[RenderableType]:
        advice = (incident.kind, *incident.causes, *incident.remedies)
        if advice in self._advice:
            return []
        self._advice.add(advice)
        return listed("likely causes", incident.causes) + listed("what to try", incident.remedies)


def _evidence(evidence: Sequence[Finding]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("since", justify="right")
    table.add_column("seen", justify="right")
    table.add_column("what")
    table.add_column("site", overflow="fold")
    table.add_column("value", justify="right")
    table.add_column("threshold", justify="right")
    for finding in evidence[:_EVIDENCE]:
        kind = Text(finding.kind, style=SEVERITY_STYLES[finding.severity])
        values = number(finding.value), number(finding.threshold)
        table.add_row(str(finding.since), str(finding.step), kind, Text(finding.site), *values)
    if (more := len(evidence) - _EVIDENCE) > 0:
        table.add_row("", "", Text(f"and {more} more (--json)", style="dim"))
    return table


def listed(title: str, lines: Sequence[str]) -> list[RenderableType]:
    """Return lines under each other with their title beside the first; nothing where there are none.

    Args:
        title: What the lines are.
        lines: The lines.
    """
    if not lines:
        return []
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(min_width=_TITLE, no_wrap=True, style="dim")
    for index, line in enumerate(lines):
        table.add_row(title if index == 0 else "", "-", Text(line))
    return [table]
