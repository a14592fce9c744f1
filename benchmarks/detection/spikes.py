"""Spikes, and families of runs that have them and come back."""

import numpy as np

from benchmarks.detection.cases import Case, Event, case, family
from benchmarks.detection.log import Places, Values
from benchmarks.detection.series import noisy_curve


def heights(rng: np.random.Generator, loss: Values, places: Places) -> Values:
    """Return heights between 12 % and the whole of the loss there, at least 0.4 nat and 10 noise widths."""
    share = np.exp(rng.uniform(np.log(0.12), 0.0, len(places)))
    noise = np.median(np.abs(np.diff(loss))) * 1.5
    return np.asarray(np.maximum(np.maximum(share * loss[places], 0.4), 10 * noise))


def spread_places(rng: np.random.Generator, first: int, last: int, n: int, apart: int) -> Places:
    """Return ``n`` places in [first, last) that are at least ``apart`` points from each other."""
    room = last - first - (n - 1) * apart
    return first + np.sort(rng.integers(0, room, n)) + apart * np.arange(n)


def with_single_spikes(rng: np.random.Generator, loss: Values, places: Places) -> Case:
    """Return the run with a spike of one point at each place."""
    spiked = loss.copy()
    spiked[places] += heights(rng, loss, places)
    return case(spiked, *(Event(int(p), int(p)) for p in places))


@family("isolated spikes")
def isolated(rng: np.random.Generator) -> Case:
    """One to six spikes of one point."""
    loss = noisy_curve(rng)
    return with_single_spikes(rng, loss, spread_places(rng, 150, len(loss) - 50, int(rng.integers(1, 7)), 80))


@family("spikes on the falling start")
def on_the_slope(rng: np.random.Generator) -> Case:
    """Two spikes while the loss still falls fast; from point 25 on, before which no rule has seen enough."""
    loss = noisy_curve(rng)
    return with_single_spikes(rng, loss, spread_places(rng, 25, 120, 2, 30))


@family("bursts")
def bursts(rng: np.random.Generator) -> Case:
    """Four to nine spikes within 60 points, twice; each burst is one event."""
    loss = noisy_curve(rng)
    spiked, events = loss.copy(), []
    for first in spread_places(rng, 150, len(loss) - 150, 2, 200):
        places = first + np.cumsum(rng.integers(2, 8, int(rng.integers(4, 10))))
        spiked[places] += heights(rng, loss, places)
        events.append(Event(int(places[0]), int(places[-1])))
    return case(spiked, *events)


@family("wide spikes with recovery")
def wide(rng: np.random.Generator) -> Case:
    """A jump up within 1 to 8 points that decays over 15 to 60; until 5 % of its height is left."""
    loss = noisy_curve(rng)
    spiked, events = loss.copy(), []
    for first in spread_places(rng, 200, len(loss) - 300, 2, 300):
        rise, decay = int(rng.integers(1, 9)), rng.uniform(15, 60)
        t = np.arange(int(rise + 3 * decay))
        shape = np.where(t < rise, (t + 1) / rise, np.exp(-(t - rise) / decay))
        spiked[first : first + len(t)] += heights(rng, loss, np.array([first]))[0] * 1.5 * shape
        events.append(Event(int(first), int(first + len(t) - 1)))
    return case(spiked, *events)


@family("NaN once, then a spike")
def nan_once(rng: np.random.Generator) -> Case:
    """One NaN, and a spike 50 points after it: a NaN must not blind the rule."""
    loss = noisy_curve(rng)
    place = int(rng.integers(200, len(loss) - 200))
    spiked = loss.copy()
    spiked[place] = np.nan
    spiked[place + 50 : place + 55] += heights(rng, loss, np.array([place]))[0]
    return case(spiked, Event(place, place), Event(place + 50, place + 54))


@family("Inf once")
def inf_once(rng: np.random.Generator) -> Case:
    """One Inf."""
    loss = noisy_curve(rng)
    place = int(rng.integers(200, len(loss) - 200))
    loss[place] = np.inf
    return case(loss, Event(place, place))
