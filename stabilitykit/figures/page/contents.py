"""What the page shows of a run, as plain data."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from stabilitykit.figures.depth_map import DepthMap
from stabilitykit.figures.lanes import incident_lanes
from stabilitykit.figures.laps import Lap
from stabilitykit.figures.loss_curve import LossCurve
from stabilitykit.figures.loss_scale import loss_scale
from stabilitykit.figures.page.maps import map_contents, map_data
from stabilitykit.figures.page.words import value_text
from stabilitykit.figures.run_picture import Panel, RunPicture
from stabilitykit.records import Incident

_ROWS = 20
"""Rows of the table that tells a curve in numbers."""


def contents(run: RunPicture, buckets: int, maps: Sequence[DepthMap] = ()) -> dict[str, Any]:
    """Return what the template takes of one run.

    Args:
        run: The run.
        buckets: Stretches of steps that are left of a longer curve.
        maps: Quantities over depth and steps.
    """
    incidents = run.verdict.incidents
    lanes = incident_lanes(incidents)
    rows = {lane.name: row for row, lane in enumerate(lanes)}
    return {
        "title": run.title,
        "verdict": run.verdict,
        "panels": [_told(panel) for panel in run.panels],
        "kinds": _told_once(incidents),
        "maps": [map_contents(each) for each in maps],
        "data": {
            "span": run.span,
            "panels": [_drawn(panel, buckets) for panel in run.panels],
            "lanes": [lane.label for lane in lanes],
            "maps": [map_data(each) for each in maps],
            "incidents": [_mark(incident, rows[incident.kind]) for incident in incidents],
        },
    }


def _told(panel: Panel) -> dict[str, Any]:
    """Return a panel in words and numbers, for those who do not see it."""
    rows = [row for lap in panel.curve.thinned(_ROWS).laps for row in _rows(lap, _ROWS)]
    values = panel.curve.values
    words = f"{panel.name} over steps {panel.curve.span[0]} to {panel.curve.span[1]}"
    if values.size:
        words += f", from {value_text(values.min())} to {value_text(values.max())}"
    return {"name": panel.name, "words": f"{words}; incidents: {len(panel.incidents)}", "rows": rows}


def _rows(lap: Lap, count: int) -> list[tuple[int, int, str, str, bool]]:
    """Return parts of a lap: first and last step, lowest and highest value, whether any is not finite."""
    rows = []
    for part in np.array_split(np.arange(len(lap.steps)), min(count, len(lap.steps))):
        values = lap.values[part]
        finite = values[np.isfinite(values)]
        low, high = (value_text(finite.min()), value_text(finite.max())) if finite.size else ("–", "–")
        rows.append((int(lap.steps[part[0]]), int(lap.steps[part[-1]]), low, high, finite.size < len(values)))
    return rows


def _drawn(panel: Panel, buckets: int) -> dict[str, Any]:
    curve = panel.curve.thinned(buckets)
    scale = loss_scale(curve.values)
    return {
        "name": panel.name,
        "empty": not curve.values.size,
        "log": scale.log,
        "low": scale.low,
        "high": scale.high,
        "laps": _laps(curve),
        "incidents": [incident.id for incident in panel.incidents],
        "peaks": panel.peaks,
    }


def curve_numbers(curve: LossCurve, buckets: int) -> dict[str, Any]:
    """Return a curve alone, with its axis, as numbers for JSON.

    Args:
        curve: The curve.
        buckets: Stretches of steps that are left of a longer one.
    """
    scale = loss_scale(curve.values)
    return {"log": scale.log, "low": scale.low, "high": scale.high, "laps": _laps(curve.thinned(buckets))}


def _laps(curve: LossCurve) -> list[list[list[float | int | None]]]:
    return [[_numbers(lap.steps), _numbers(lap.values)] for lap in curve.laps]


def _numbers(values: "np.ndarray[Any, Any]") -> list[float | int | None]:
    """Return numbers for JSON, short; None where there is none."""
    return [_number(value) if math.isfinite(value) else None for value in values.tolist()]


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < 2**53 else float(f"{value:.6g}")


def _mark(incident: Incident, lane: int) -> dict[str, Any]:
    return {
        "id": incident.id,
        "kind": incident.kind,
        "start": incident.start,
        "end": incident.end,
        "detected": incident.detected,
        "severity": str(incident.severity),
        "message": incident.message,
        "lane": lane,
    }


def _told_once(incidents: tuple[Incident, ...]) -> list[dict[str, Any]]:
    """Return of each kind the causes and remedies, each once, and the evidence of its first incident."""
    kinds: dict[str, list[Incident]] = {}
    for incident in incidents:
        kinds.setdefault(incident.kind, []).append(incident)
    return [
        {
            "kind": kind,
            "causes": list(dict.fromkeys(cause for each in found for cause in each.causes)),
            "remedies": list(dict.fromkeys(remedy for each in found for remedy in each.remedies)),
            "evidence": found[0].evidence,
        }
        for kind, found in kinds.items()
    ]
