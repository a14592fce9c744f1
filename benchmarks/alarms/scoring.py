"""Methods scored on labelled runs: how early they warn, and how often falsely.

The unit is the event, not the step: alarms are merged into episodes, nothing after the onset counts as a
warning, and no step is credited for its neighbours. Natural failures, spikes and injected faults are never
pooled.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.alarms.announcing import Alarms
from benchmarks.alarms.chance import at_random
from benchmarks.alarms.intervals import Draws, Resamples, one_sided, percentiles, rate, share
from benchmarks.alarms.labels import FAILED, Kind, Labels
from benchmarks.alarms.matching import Ground, Matched, openings
from benchmarks.alarms.score import HEADLINE, LEADS, FalseAlarms, Quartiles, Recall, Score
from benchmarks.alarms.survival import kaplan_meier
from stabilitykit.lab.sweep.compare.intervals import Estimate

Numbers = NDArray[np.float64]


class Scorer:
    """Scores methods on the same runs, with the same resamples.

    Args:
        labels: Of the runs that are scored; of natural ones, of those on a repeated corpus, or of those with
            injected faults.
        resamples: None means those of ``Resamples.of``.

    Raises:
        ValueError: If such labels are mixed.
    """

    def __init__(self, labels: Labels, resamples: Resamples | None = None) -> None:
        kinds = {label.kind for label in labels.values()}
        natural = kinds <= FAILED | {Kind.GREY, Kind.HEALTHY}
        if not natural and len(kinds) > 1:
            raise ValueError(f"labels of {', '.join(sorted(kinds))} are never pooled: score them apart")
        self.labels = labels
        self.resamples = resamples or Resamples.of(labels)
        self._grounds = [Ground(label) for label in labels.values()]
        self._cluster = np.array([self.resamples.cluster[name] for name in labels], int)
        self._events = [
            (run, event) for run, ground in enumerate(self._grounds) for event in ground.label.events
        ]
        self._event_weights = self.resamples.weights[:, self._cluster[[run for run, _ in self._events]]]
        # (leads, ways, events): at how many steps an episode could begin and count.
        self._openings = np.array(
            [[openings(e, self._grounds[run].label, lead) for run, e in self._events] for lead in LEADS],
            float,
        ).reshape(len(LEADS), len(self._events), 2)

    def score(
        self, alarms: Mapping[str, Alarms], armed: Mapping[str, int] | int = 0, lasting: bool = True
    ) -> Score:
        """Return how a method did.

        Args:
            alarms: Ascending steps, by the run's name; every run must be there, if only with none.
            armed: From which step on the method could alarm, by run or in all.
            lasting: Whether the alarms are all steps in alarm, rather than the announcements alone.
        """
        matched = self._match(alarms)
        warned = [each for one in matched for each in one.warnings]
        delays = np.array([each.delay for each in warned if not np.isnan(each.delay)])
        healthy = [(g, one) for g, one in zip(self._grounds, matched, strict=True) if g.is_healthy]
        false = self._sum([one.false for one in matched])
        exposed = self._sum([ground.exposed for ground in self._grounds])
        rates = self._ratio(false, exposed)
        early = sum(one.early for one in matched)
        strict = np.array([each.strict for each in warned])
        hits = int(np.sum(strict >= 1))
        said = hits + sum(one.false for one in matched) + early
        return Score(
            events=len(warned),
            unarmed=sum(event.onset < self._armed(armed, run) for run, event in self._events),
            anytime=self._recall(np.array([each.lead for each in warned]), 0, rates),
            strict=self._recall(strict, 1, rates),
            late=len(delays),
            delay=float(np.median(delays)) if len(delays) else np.nan,
            healthy=FalseAlarms(int(false.sum()), int(exposed.sum()), self._per_thousand(false, exposed)),
            early=self._early(matched),
            precision=hits / said if said else np.nan,
            flagged=self._flagged(matched, Kind.HEALTHY),
            grey=self._flagged(matched, Kind.GREY),
            in_warning=self._in_warning(matched) if lasting else None,
            quiet=kaplan_meier([(g.label.n_steps, one.first_false) for g, one in healthy]),
            clusters=self.resamples.weights.shape[1],
        )

    def difference(self, first: Mapping[str, Alarms], second: Mapping[str, Alarms]) -> Estimate:
        """Return the recall of one method less that of another at a lead of 5, paired over resamples."""
        hits = [
            np.array([w.lead >= HEADLINE for one in self._match(each) for w in one.warnings], float)
            for each in (first, second)
        ]
        gain = hits[0] - hits[1]
        if len(gain) == 0:
            return Estimate(None, None, None, 0)
        return percentiles(float(gain.mean()), self._mean_of_events(gain), len(gain))

    def _match(self, alarms: Mapping[str, Alarms]) -> list[Matched]:
        return [ground.match(alarms[ground.label.name]) for ground in self._grounds]

    def _armed(self, armed: Mapping[str, int] | int, run: int) -> int:
        return armed if isinstance(armed, int) else armed[self._grounds[run].label.name]

    def _recall(self, leads: Numbers, way: int, rates: Draws) -> Recall:
        shares, chances, gains, p = {}, {}, {}, {}
        for place, lead in enumerate(LEADS):
            hit = (leads >= lead).astype(float)
            # The first row is of all runs as they are, the others of the resamples.
            chance = at_random(rates, self._openings[place, :, way])
            drawn = self._mean_of_events(hit)
            gain = drawn - self._mean_of_events(chance[1:])
            n = len(hit)
            chances[lead] = float(chance[0].mean()) if n else np.nan
            shares[lead] = share(hit.sum(), n, drawn)
            value = float(hit.mean()) - chances[lead] if n else np.nan
            gains[lead] = percentiles(value, gain, n)
            p[lead] = one_sided(gain) if n else 1.0
        return Recall(shares, chances, gains, p, _quartiles(leads))

    def _early(self, matched: list[Matched]) -> FalseAlarms:
        count = self._sum([one.early for one in matched])
        steps = self._sum([ground.early_exposed for ground in self._grounds])
        return FalseAlarms(int(count.sum()), int(steps.sum()), self._per_thousand(count, steps))

    def _flagged(self, matched: list[Matched], kind: Kind) -> Estimate:
        of_kind = [float(ground.label.kind is kind) for ground in self._grounds]
        flagged = [here * one.any for here, one in zip(of_kind, matched, strict=True)]
        count, n = self._sum(flagged), self._sum(of_kind)
        return share(count.sum(), int(n.sum()), self._ratio(count, n)[1:])

    def _in_warning(self, matched: list[Matched]) -> float:
        exposed = sum(ground.exposed for ground in self._grounds)
        return sum(one.alarmed for one in matched) / exposed if exposed else np.nan

    def _per_thousand(self, count: Numbers, steps: Numbers) -> Estimate:
        return rate(int(count.sum()), int(steps.sum()), 1000 * self._ratio(count, steps)[1:])

    def _sum(self, of_runs: list[int] | list[float]) -> Numbers:
        """Return a sum over the runs of each cluster."""
        sums = np.bincount(self._cluster, np.array(of_runs, float), self.resamples.weights.shape[1])
        return sums.astype(np.float64)

    def _ratio(self, above: Numbers, below: Numbers) -> Draws:
        """Return a ratio of sums over all runs, then in each resample; NaN where there is nothing below."""
        weights = np.vstack([np.ones(len(above)), self.resamples.weights])
        totals = weights @ below
        return np.asarray(
            np.divide(weights @ above, totals, out=np.full(len(totals), np.nan), where=totals > 0)
        )

    def _mean_of_events(self, values: Numbers) -> Draws:
        """Return the mean over the events of each resample.

        Args:
            values: One an event, or one a resample and event.
        """
        weights = self._event_weights
        totals = weights.sum(axis=1)
        above = weights @ values if values.ndim == 1 else np.einsum("de,de->d", weights, values)
        return np.asarray(np.divide(above, totals, out=np.full(len(totals), np.nan), where=totals > 0))


def _quartiles(leads: Numbers) -> Quartiles:
    if len(leads) == 0:
        return Quartiles(np.nan, np.nan, np.nan)
    # Between a lead and a miss lies no number: the lower one is taken.
    low, median, high = np.quantile(leads, [0.25, 0.5, 0.75], method="lower")
    return Quartiles(float(low), float(median), float(high))
