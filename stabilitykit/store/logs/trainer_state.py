"""One JSON document: ``trainer_state.json`` of Hugging Face's Trainer, or an array of objects."""

import json
import re
from collections.abc import Iterator
from typing import Any

from stabilitykit.store.logs.columns import NoLossError
from stabilitykit.store.logs.lines import LONGEST
from stabilitykit.store.logs.objects import ObjectPicker
from stabilitykit.store.logs.omissions import Omissions
from stabilitykit.store.logs.row_source import FileSource, Row, Sample, Selection
from stabilitykit.store.opening import LogFile

_HISTORY = re.compile(r'"log_history"\s*:\s*\[')
_ARRAY = re.compile(r"\s*\[")
_BETWEEN = re.compile(r"[\s,]*")
_BATCH = 2_000
_FARTHEST = 2**26
"""Characters within which the history must begin."""


class TrainerStateRows(FileSource):
    """Rows of ``log_history``, taken from the document object by object: it is never parsed as a whole.

    Args:
        file: The document.
        encoding: How its characters are written.
        omissions: Where it counts what it passes over.
    """

    title = "JSON history"
    rewritten = True

    def __init__(self, file: LogFile, encoding: str, omissions: Omissions) -> None:
        super().__init__(file, encoding, omissions)
        self._picker = ObjectPicker(omissions, "entry")
        self._objects = self._parsed()
        self._head: list[dict[str, Any]] = []
        self._read = 0

    def sample(self, ended: bool) -> Sample | None:
        """Return which columns the next objects have, or None where there are none."""
        if not (batch := self._batch()):
            return None
        self._read += len(self._head)
        self._head = batch
        return self._picker.sample(batch)

    def select(self, selection: Selection) -> None:
        """Say which columns rows shall hold."""
        self._picker.select(selection)

    def rows(self, ended: bool) -> Iterator[list[Row]]:
        """Yield rows in batches."""
        batch, self._head = self._head, []
        while batch:
            picked = (self._picker.pick(each, at) for at, each in enumerate(batch, start=self._read + 1))
            yield [row for row in picked if row is not None]
            self._read += len(batch)
            batch = self._batch()

    def _batch(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for each in self._objects:
            found.append(each)
            if len(found) == _BATCH:
                break
        return found

    def _parsed(self) -> Iterator[dict[str, Any]]:
        text = self._to_history()
        decoder, at = json.JSONDecoder(), 0
        while True:
            at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
            if text.startswith("]", at):
                return
            try:
                found, at = decoder.raw_decode(text, at)
            except RecursionError:
                self.omissions.say("the history is nested too deeply; read as far as it goes")
                return
            except ValueError:
                text, at = text[at:], 0
                more = self.characters.read() if len(text) < LONGEST else ""
                if not more:
                    self.omissions.say("the document is cut or damaged; read as far as it goes")
                    return
                text += more
                continue
            if isinstance(found, dict):
                yield found

    def _to_history(self) -> str:
        """Return the text from within the array of objects on."""
        text, looked = self.characters.read(), 0
        while looked < _FARTHEST and text:
            begins = _HISTORY.search(text) or (_ARRAY.match(text) if looked == 0 else None)
            if begins is not None:
                return text[begins.end() :]
            # The key may stand across the border of two pieces.
            looked += len(text)
            more = self.characters.read()
            text = text[-100:] + more if more else ""
        raise NoLossError("no 'log_history' in it, as trainer_state.json has, and no array of objects")
