"""A claim's measure, as a recipe has it, made into one that can be taken."""

from collections.abc import Mapping
from keyword import iskeyword
from typing import Any

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.claims.events import Crossing, IncidentStep, Lead
from stabilitykit.lab.claims.measures import RUN_MEASURES, EndedAs, RunMeasure
from stabilitykit.lab.claims.readings import Reading
from stabilitykit.lab.claims.sets import RATE_MEASURES, Correlation, Exponent, SetMeasure
from stabilitykit.lab.validation import validated
from stabilitykit.records import OUTCOMES

Measure = RunMeasure | SetMeasure | Correlation

_WINDOW = 21
_FORMS = ("reading", "incident", "outcome", "lead", "exponent", "correlation")


def read_measure(given: Any, where: str) -> Measure:
    """Return the measure that a recipe's entry describes.

    Args:
        given: A name, or a mapping with one of ``reading``, ``incident``, ``outcome``, ``lead``,
            ``exponent`` and ``correlation``.
        where: Path of the entry, with which messages begin.

    Raises:
        ConfigError: It is none of these, or a field of it is refused.
    """
    names: dict[str, Measure] = {**RUN_MEASURES, **RATE_MEASURES}
    if isinstance(given, str):
        if given not in names:
            raise ConfigError(f"{where}: got {given!r}; {closest(given, (*names, *_FORMS))}")
        return names[given]
    form = _form(given, where)
    if form == "lead":
        _only(given, ("lead", "until"), where)
        return Lead(
            event=_read_event(given["lead"], f"{where}.lead"),
            until=_read_event(given.get("until"), f"{where}.until"),
        )
    if form == "exponent":
        _only(given, ("exponent", "in"), where)
        measure = read_measure(given["exponent"], f"{where}.exponent")
        if not isinstance(measure, RunMeasure):
            raise ConfigError(f"{where}.exponent: must be measured of one run, such as final_loss")
        return Exponent(measure, str(given.get("in")))
    if form == "correlation":
        return _correlation(given, where)
    if form == "outcome":
        return _ended_as(given, where)
    return _read_run_measure(given, where)


def python_words(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping whose keys can be names of fields: ``for`` becomes ``for_``."""
    return {f"{name}_" if iskeyword(str(name)) else str(name): value for name, value in given.items()}


def _form(given: Any, where: str) -> str:
    forms = [form for form in _FORMS if isinstance(given, Mapping) and form in given]
    if len(forms) != 1:
        raise ConfigError(
            f"{where}: got {given!r:.60}; must be a name or a mapping with one of {', '.join(_FORMS)}"
        )
    return forms[0]


def _read_run_measure(given: Mapping[str, Any], where: str) -> Reading | Crossing | IncidentStep:
    if "incident" in given:
        return validated(IncidentStep, python_words(given), where)
    if "below" in given or "above" in given or "for" in given:
        return validated(Crossing, python_words(given), where)
    return validated(Reading, python_words(given), where)


def _read_event(given: Any, where: str) -> Crossing | IncidentStep:
    event = _read_run_measure(given, where) if isinstance(given, Mapping) else None
    if not isinstance(event, Crossing | IncidentStep):
        raise ConfigError(
            f"{where}: got {given!r:.60}; must be an event, such as {{incident: stuck}} or "
            "{reading: grad/share, sites: min, below: 0.01, for: 3}"
        )
    return event


def _ended_as(given: Mapping[str, Any], where: str) -> EndedAs:
    _only(given, ("outcome",), where)
    outcomes = given["outcome"] if isinstance(given["outcome"], list) else [given["outcome"]]
    known = (*OUTCOMES, "crashed")
    for outcome in outcomes:
        if outcome not in known:
            raise ConfigError(f"{where}.outcome: got {outcome!r}; {closest(str(outcome), known)}")
    return EndedAs(tuple(outcomes))


def _correlation(given: Mapping[str, Any], where: str) -> Correlation:
    _only(given, ("correlation", "window"), where)
    if given["correlation"] != "train/loss":
        raise ConfigError(f"{where}.correlation: got {given['correlation']!r}; must be train/loss")
    window = given.get("window", _WINDOW)
    if not isinstance(window, int) or isinstance(window, bool) or window < 3 or window % 2 == 0:
        raise ConfigError(f"{where}.window: got {window!r}; must be an odd number of steps, at least 3")
    return Correlation(window)


def _only(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(f"{where}.{name}: not a known field; {closest(str(name), known)}")
