"""Which site left its band first."""

from collections import Counter
from collections.abc import Iterable

from stabilitykit.lab.sweep.grid import IncidentBrief, SweepRun
from stabilitykit.records import is_of_loss


def first_incidents(run: SweepRun) -> tuple[IncidentBrief, ...]:
    """Return the incident inside the model that started first; empty where there is none.

    Of those that started at the same step the one announced first counts; of those announced at the same
    step all do, since nothing tells them apart.
    """
    incidents = run.result.incidents if run.result else ()
    inside = [incident for incident in incidents if not is_of_loss(incident.kind, incident.site)]
    if not inside:
        return ()
    first = min((each.start, each.detected) for each in inside)
    return tuple(each for each in inside if (each.start, each.detected) == first)


def first_sites(runs: Iterable[SweepRun]) -> dict[str, int]:
    """Return in how many runs each ``kind@site`` left its band first, the most frequent first.

    A run in which several did at once counts for each of them, one without any for none.
    """
    counts = Counter(
        each
        for run in runs
        for each in {f"{incident.kind}@{incident.site}" for incident in first_incidents(run)}
    )
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
