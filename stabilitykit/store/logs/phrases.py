"""Numbers in prose, found by the words before them: ``lm loss: 3.2E+00``, ``loss=3.2``, ``'loss': '3.2'``."""

import re
from contextlib import suppress

from stabilitykit.store.logs.names import VALIDATION, is_validation
from stabilitykit.store.logs.numbers import number

FIRST = "first number"
"""The column of the whole number that a line begins with."""

# Possessive throughout, and words of bounded length: a megabyte of garbage must not be tried twice.
_WORD = r"[A-Za-z_][\w./()%\-]{0,60}+"
_DIGITS = r"(?:\d++(?:,\d++)*+(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?"
_NUMBER = rf"[-+]?(?:{_DIGITS}|(?i:nan|inf(?:inity)?)(?!\w))"
_BETWEEN = r"(?:[\"']?\s{0,40}+[:=]\s{0,40}+[\"'\[(]?\s{0,40}+|\s{1,40}+[\[(]?\s{0,40}+)"
_VALUE = rf"{_BETWEEN}({_NUMBER})(?![\d.])"
_PAIR = re.compile(rf"(?<![\w./%\-])({_WORD}(?: {_WORD}){{0,5}}+){_VALUE}")
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
    for pair in _PAIR.finditer(line):
        name = pair[1]
        for level in _LEVELS:
            name = name.removeprefix(level)
        if "loss" in name.lower() and not is_validation(name) and of_validation(line, pair.start()):
            return {}
        with suppress(ValueError):
            if (value := number(pair[2])) is not None:
                found.setdefault(name, value)
    return found


class Finder:
    """Finds the number of one name in line after line.

    Args:
        name: One that ``numbers_in`` gave.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._value = re.compile(_VALUE).match

    def find(self, line: str) -> tuple[int, str] | None:
        """Return where the name stands, and its number as it is written, or None where there is none."""
        if self._name == FIRST:
            leading = _LEADING.match(line)
            return None if leading is None else (0, leading[1])
        name, at = self._name, line.find(self._name)
        while at >= 0:
            # The value first: it is the rarer, and the quicker to tell.
            found = self._value(line, at + len(name))
            if found is not None and _begins_name(line, at):
                return at, found[1]
            at = line.find(name, at + 1)
        return None


def _begins_name(line: str, at: int) -> bool:
    """Return whether a name that stands at a place is whole, and not the end of ``val loss``."""
    if at == 0:
        return True
    before = line[at - 1]
    if before != " ":
        return not (before.isalnum() or before in "_./%-")
    last = line[at - 2 : at - 1]
    return not (last.isalpha() or last in _LAST) or line.startswith(_LEVELS, _word_at(line, at))


def _word_at(line: str, at: int) -> int:
    """Return where the word before a blank begins."""
    return max(line.rfind(" ", 0, at - 1), line.rfind("\t", 0, at - 1)) + 1
