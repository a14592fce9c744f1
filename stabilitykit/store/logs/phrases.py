"""Numbers in prose, found by the words before them: ``lm loss: 3.2E+00``, ``loss=3.2``, ``'loss': '3.2'``."""

import re
from contextlib import suppress

from stabilitykit.store.logs.names import VALIDATION, is_validation
from stabilitykit.store.logs.numbers import NOT_FINITE, WRAPPER, number

FIRST = "first number"
"""The column of the whole number that a line begins with."""
COUNT = "count towards a total"
"""The column of the n in a progress bar's ``n/N`` that no name stands before."""
TOTAL = " /"
"""Behind a name: the column of what follows the number's slash, as in ``Batch 0/4100``."""
PERCENT = " %"
"""Behind a name: the column of its per cent, which are another quantity: ``Steps:  12%``."""

NEXT = " then"
"""Behind a name: the column of a decimal number that follows a whole one, as in ``train 050 1.5e-01``."""

# Possessive throughout, and words of bounded length: a megabyte of garbage must not be tried twice.
_WORD = rf"(?!(?i:nan|inf(?:inity)?)\b|(?i:{WRAPPER}))[A-Za-z_][\w./()%\-]{{0,60}}+"
_DIGITS = r"(?:\d++(?:,\d++)*+(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?"
_NUMBER = rf"[-+]?(?:{NOT_FINITE}|{_DIGITS})"
_BETWEEN = r"(?:[\"']?\s{0,40}+[:=]\s{0,40}+[\"'\[(]?\s{0,40}+|\s{1,40}+[\[(]?\s{0,40}+)"
_VALUE = rf"{_BETWEEN}(?:(?i:{WRAPPER})\s{{0,4}}+)?+({_NUMBER})(?![\d.])"
_PAIR = re.compile(rf"(?<![\w./%\-])({_WORD}(?: {_WORD}){{0,5}}+){_VALUE}")
_SLASH = re.compile(r"\s?/\s?(\d++)(?![\d.])")
_DECIMAL = re.compile(rf"\s{{1,4}}+([-+]?(?:\d++\.\d*+(?:[eE][-+]?\d++)?|{NOT_FINITE}))(?![\w.%])")
_PER_CENT = re.compile(r"\s?%")
_COUNT = re.compile(r"(?<![\w./:\-])(\d++)/(\d++)(?![\w./:\-])")
_NAMED = re.compile(rf"{_WORD}{_BETWEEN}$")
"""A name right before: the number is its value, and no mere count."""
_ENDS = re.compile(rf"[-+]?(?:{NOT_FINITE})|[\d.]++%")
"""A number that ends as a word does."""
_LEADING = re.compile(r"\s{0,40}+(\d++)(?=[\s:|,])")
_COLOURS = re.compile(r"\x1b\[[0-9;]*+[A-Za-z]")
_LEVELS = ("INFO ", "DEBUG ", "WARNING ", "TRAIN ")
"""Words of loggers that stand before a name and are no part of it."""
_LAST = ("_", ")", "%")
"""What a word may end with, beside letters."""
_HINTS = ("val", "test", "dev", "hold", "held", "vl")
"""What every word of validation has in it."""
_OF_VALIDATION = re.compile(
    rf"(?:^|(?<=[\s\[(<|'\"]))(?:{'|'.join(sorted(VALIDATION))})(?=$|[\s\])>:|,'\"])", re.IGNORECASE
)


def without_colours(line: str) -> str:
    """Return a line as it would stand in a file, without a terminal's colours."""
    return _COLOURS.sub("", line) if "\x1b" in line else line


def of_validation(line: str, end: int) -> bool:
    """Return whether a word before ``end`` says that what follows is of validation."""
    before = line[:end].lower()
    return any(hint in before for hint in _HINTS) and _OF_VALIDATION.search(before) is not None


def numbers_in(line: str) -> dict[str, float]:
    """Return the numbers of a line by the words before them; a line of validation has none.

    Args:
        line: A line without colours.
    """
    found: dict[str, float] = {}
    if (leading := _LEADING.match(line)) is not None:
        found[FIRST] = float(leading[1])
    if (count := _count_in(line)) is not None:
        found[COUNT] = float(count[1])
    for pair in _PAIR.finditer(line):
        name = pair[1]
        for level in _LEVELS:
            name = name.removeprefix(level)
        if "loss" in name.lower() and not is_validation(name) and of_validation(line, pair.start()):
            return {}
        if _PER_CENT.match(line, pair.end()):
            name += PERCENT
        elif (total := _SLASH.match(line, pair.end())) is not None:
            found.setdefault(name + TOTAL, float(total[1]))
        elif pair[2].isdigit() and (following := _DECIMAL.match(line, pair.end())) is not None:
            found.setdefault(name + NEXT, number(following[1]) or 0.0)
        with suppress(ValueError):
            if (value := number(pair[2])) is not None:
                found.setdefault(name, value)
    return found


def _count_in(line: str) -> re.Match[str] | None:
    """Return the first ``n/N`` of a line that no word stands before, n not above N."""
    if "/" not in line:
        return None
    found = (each for each in _COUNT.finditer(line) if int(each[1]) <= int(each[2]))
    return next((each for each in found if not _NAMED.search(line, 0, each.start())), None)


class Finder:
    """Finds the number of one name in line after line.

    Args:
        name: One that ``numbers_in`` gave.
    """

    def __init__(self, name: str) -> None:
        self._meaning = next((each for each in (TOTAL, PERCENT, NEXT) if name.endswith(each)), "")
        self._name = name.removesuffix(self._meaning)
        self._value = re.compile(_VALUE).match

    def find(self, line: str) -> tuple[int, str] | None:
        """Return where the name stands, and its number as it is written, or None where there is none."""
        if self._name == FIRST:
            leading = _LEADING.match(line)
            return None if leading is None else (0, leading[1])
        if self._name == COUNT:
            count = _count_in(line)
            return None if count is None else (count.start(), count[1])
        name, at = self._name, line.find(self._name)
        while at >= 0:
            # The value first: it is the rarer, and the quicker to tell.
            found = self._value(line, at + len(name))
            if found is not None and _begins_name(line, at):
                return self._meant(line, at, found)
            at = line.find(name, at + 1)
        return None

    def _meant(self, line: str, at: int, found: re.Match[str]) -> tuple[int, str] | None:
        """Return the number itself, or of what stands behind it that which is meant."""
        if self._meaning in (TOTAL, NEXT):
            following = (_SLASH if self._meaning == TOTAL else _DECIMAL).match(line, found.end())
            return None if following is None else (at, following[1])
        is_percent = _PER_CENT.match(line, found.end()) is not None
        return (at, found[1]) if is_percent == (self._meaning == PERCENT) else None


def _begins_name(line: str, at: int) -> bool:
    """Return whether a name that stands at a place is whole, and not the end of ``val loss``."""
    if at == 0:
        return True
    before = line[at - 1]
    if before != " ":
        return not (before.isalnum() or before in "_./%-")
    last = line[at - 2 : at - 1]
    if not (last.isalpha() or last in _LAST):
        return True
    begin = _word_at(line, at)
    # A number in words, such as nan, ends what stands before.
    return line.startswith(_LEVELS, begin) or _ENDS.fullmatch(line, begin, at - 1) is not None


def _word_at(line: str, at: int) -> int:
    """Return where the word before a blank begins."""
    return max(line.rfind(" ", 0, at - 1), line.rfind("\t", 0, at - 1)) + 1
