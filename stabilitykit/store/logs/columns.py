"""Which column of a log is what: by name, by likeness, and by what it holds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from stabilitykit.errors import DataError, closest
from stabilitykit.store.logs import names as known
from stabilitykit.store.logs.names import EPOCH, LOSS, NAMES, STEP, plain, spellings
from stabilitykit.store.logs.omissions import shortened
from stabilitykit.store.logs.phrases import COUNT, NEXT, TOTAL
from stabilitykit.store.logs.row_source import Sample
from stabilitykit.tags import REGISTRY, split

_LISTED = 30
"""Names an error lists at most."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What was found."""

    names: Mapping[str, str]
    """Tag, ``step`` or ``epoch`` to the column's name; the loss first."""
    notes: tuple[str, ...]
    """What was concluded rather than read."""


class NoLossError(DataError):
    """There is no loss, not in what was looked at: of many files this one may be no log at all."""


def find_columns(
    sample: Sample, given: Mapping[str, str | None], prose: bool = False, lone_loss: bool = True
) -> Columns:
    """Return what is in a log, and under which name. A column that bears a registered tag's name is that tag.

    Args:
        sample: Its columns and first rows.
        given: Tag, or ``step``, to the name that was asked for.
        prose: Whether names are words of a text: of known ones the most frequent is meant.
        lone_loss: Whether the only column that may be the loss is it, whatever its name.

    Raises:
        NoLossError: A column that was asked for is not there, or none may be the loss.
        DataError: More than one may be the loss.
    """
    asked = {what: _asked(name, sample.names) for what, name in given.items() if name is not None}
    found = {name: name for name in sample.names if split(name)[0] in REGISTRY}
    notes: list[str] = []
    loss = asked.get(LOSS) or _loss(sample, set(asked.values()), prose, lone_loss, notes)
    beside = _beside(sample, loss)
    elsewhere = _recurring(sample, loss) if prose else sample.names
    for what in (what for what in NAMES if what not in (LOSS, STEP)):
        name = asked.get(what) or _named(what, beside) or _named(what, elsewhere)
        if name is not None and name != loss:
            found[what] = name
    if STEP in asked:
        found[STEP] = asked[STEP]
    else:
        # A table's step stands beside the loss; a text may name it on a line above.
        near = [*beside, *elsewhere] if prose else _beside(sample, loss, half=True)
        found |= _steps(sample, loss, near, found, notes)
    found.pop(LOSS, None)
    steps = {STEP: found.pop(STEP)} if STEP in found else {}
    return Columns({LOSS: loss, **steps, **found}, tuple(notes))


def _steps(
    sample: Sample, loss: str, names: Sequence[str], taken: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Return the column of steps, and that of epochs where a step's own name tells it; empty for none."""
    with_loss = [row for row in sample.rows if loss in row]
    named = [name for name in dict.fromkeys(names) if name != loss and _rank(name) is not None]
    # Of a step within the epoch and one of the whole run the one that falls less often.
    named.sort(key=lambda name: (_falls(name, sample.rows), _rank(name)))
    if named:
        name, total = named[0], named[0] + TOTAL
        if _rises_in(total, with_loss) > _rises_in(name, with_loss):
            notes.append(f"{name!r} is written as epoch/step: what follows the slash was taken")
            return {STEP: total, EPOCH: name}
        return {STEP: name}
    rising = _rising(with_loss, {loss, *taken.values()})
    if rising is None and EPOCH in taken and _rises(COUNT, _column(COUNT, with_loss), at_least=0.5):
        rising = COUNT
    if rising is None:
        return {}
    notes.append(f"no column is called step; {rising!r} rises from row to row and was taken")
    return {STEP: rising}


def _rank(name: str) -> int | None:
    """Return how sure a name is to be that of the steps, 0 the surest; None where it is none."""
    ranks = [NAMES[STEP].index(each) for each in spellings(name) if each in NAMES[STEP]]
    return min(ranks, default=None)


def _falls(name: str, rows: Sequence[Mapping[str, float]]) -> float:
    """Return how often a column of steps falls, as a share of its rows; 1 where it never rises."""
    values = _column(name, rows)
    if len(values) < 2:
        return 0.0 if values else 1.0
    falls = sum(later < earlier for earlier, later in pairwise(values))
    return falls / len(values) if _rises_in(name, rows) else 1.0


def _rises_in(name: str, rows: Sequence[Mapping[str, float]]) -> int:
    """Return in how many rows a column is above the row before."""
    return sum(later > earlier for earlier, later in pairwise(_column(name, rows)))


def _column(name: str, rows: Sequence[Mapping[str, float]]) -> list[float]:
    return [row[name] for row in rows if name in row]


def _asked(name: str, names: Sequence[str]) -> str:
    if name in names:
        return name
    alike = [each for each in names if plain(each) == plain(name)]
    if len(alike) != 1:
        raise NoLossError(f"no column {name!r}; {closest(name, names[:_LISTED])}")
    return alike[0]


def _named(what: str, names: Sequence[str]) -> str | None:
    """Return the column with the surest name for ``what``; None where no one or two have it."""
    by_name: dict[str, list[str]] = {}
    for name in names:
        for spelling in dict.fromkeys(spellings(name)):
            by_name.setdefault(spelling, []).append(name)
    found = next((by_name[name] for name in NAMES[what] if name in by_name), [])
    if len(found) > 1 and what == LOSS:
        raise DataError(f"several columns may be the loss: {_list(found)}; name one")
    return found[0] if len(found) == 1 else None


def _loss(sample: Sample, taken: set[str], prose: bool, lone_loss: bool, notes: list[str]) -> str:
    free = [name for name in sample.names if name not in taken]
    named = _named(LOSS, _frequent(sample, free) if prose else free)
    if named is not None:
        return _instead_of_counter(sample, named, notes)
    times = _times(sample.rows)
    numeric = [name for name in free if times[name]]
    likely = [name for name in numeric or free if known.may_be_loss(name)]
    # Of several losses that of training is the one, and of several of training none is.
    training = [name for name in likely if "train" in known.words(name) or "training" in known.words(name)]
    likely = training if len(training) == 1 else likely
    if not likely and lone_loss:
        likely = _lone(sample, free, numeric)
    if len(likely) > 1:
        raise DataError(f"several columns may be the loss: {_list(likely)}; name one")
    if not likely:
        raise _no_loss(sample)
    notes.append(f"no column is called loss; {likely[0]!r} is the only one that may be it")
    return likely[0]


def _instead_of_counter(sample: Sample, loss: str, notes: list[str]) -> str:
    """Return the loss, or what follows it in a text where what was called so is a counter."""
    following = loss + NEXT
    if following not in sample.names or not all(v.is_integer() for v in _column(loss, sample.rows)):
        return loss
    notes.append(f"{loss!r} stands before a counter; the number that follows was taken")
    return following


def _lone(sample: Sample, free: Sequence[str], numeric: Sequence[str]) -> list[str]:
    """Return the only column that may be the loss, where rows are steps: any list has numbers."""
    others = {name for what in NAMES if (name := _named(what, free)) is not None}
    steps = {name for name in free if _rank(name) is not None}
    rising = _rising(sample.rows, others)
    if not steps and rising is None and not all(name.startswith("column ") for name in sample.names):
        return []
    left = [name for name in numeric if name not in others | steps and name != rising]
    left = [name for name in left if known.may_be_anything(name)]
    return left if len(left) == 1 else []


def _recurring(sample: Sample, loss: str) -> list[str]:
    """Return the columns that are filled about as often as the loss is."""
    times = _times(sample.rows)
    return [name for name in sample.names if 2 * times[name] >= times[loss]]


def _frequent(sample: Sample, names: Sequence[str]) -> list[str]:
    """Return those names for the loss that recur about as often as the most frequent one."""
    times = _times(sample.rows)
    losses = [name for name in names if known.is_called_loss(name)]
    most = max((times[name] for name in losses), default=0)
    found: dict[str, str] = {}
    for name in sorted(losses, key=lambda name: -times[name]):
        if 2 * times[name] > most:
            # One word, written otherwise elsewhere: the more frequent spelling.
            found.setdefault(spellings(name)[1], name)
    return list(found.values())


def _no_loss(sample: Sample) -> NoLossError:
    listed = ", ".join(shortened(name) for name in sample.names[:_LISTED])
    more = f" and {len(sample.names) - _LISTED} more" if len(sample.names) > _LISTED else ""
    validation = [name for name in sample.names if known.is_validation(name) and "loss" in name.lower()]
    hint = f"; {validation[0]!r} is of validation: name it to judge it all the same" if validation else ""
    return NoLossError(f"no loss column (as 'loss' or 'train/loss'); found: {listed or 'none'}{more}{hint}")


def _beside(sample: Sample, loss: str, half: bool = False) -> list[str]:
    """Return the columns that are filled in most rows in which the loss is, or in half of them."""
    times = _times([row for row in sample.rows if loss in row])
    return [name for name in sample.names if 2 * times[name] + half > times[loss]]


def _times(rows: Sequence[Mapping[str, float]]) -> Counter[str]:
    """Return how many rows fill each column."""
    return Counter(name for row in rows for name in row)


def _rising(rows: Sequence[Mapping[str, float]], taken: set[str]) -> str | None:
    """Return the one column of whole numbers that rises from row to row."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = [name for name in names if name not in taken and _rises(name, _column(name, rows))]
    return found[0] if len(found) == 1 else None


def _rises(name: str, values: Sequence[float], at_least: float = 0.95) -> bool:
    if len(values) < 3 or not all(value.is_integer() for value in values):
        return False
    rises = sum(later > earlier for earlier, later in pairwise(values))
    is_step = name == COUNT or (known.may_be_step(name) and not known.may_be_loss(name))
    return rises >= at_least * (len(values) - 1) and is_step


def _list(names: Sequence[str]) -> str:
    return ", ".join(repr(shortened(name)) for name in names[:8])
