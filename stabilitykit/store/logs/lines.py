"""The characters of a log, whatever their encoding, and its lines."""

import codecs
import io
from collections.abc import Iterator

from stabilitykit.store.logs.omissions import Omissions
from stabilitykit.store.opening import LogFile

CHUNK = 2**18
LONGEST = 2**22
"""Characters a line may have: a whole JSON row with its histograms is shorter."""
ENDLESS = 2**26
"""Characters of such a line after which no end is expected: zeros that a crash left, or no log."""


def encoding_of(head: bytes) -> str:
    """Return the encoding that a file which begins so is most likely written in."""
    for mark, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16")):
        if head.startswith(mark):
            return name
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16"
    even, odd = head[:1024:2].count(0), head[1:1024:2].count(0)
    half = max(1, min(len(head), 1024) // 2)
    # Latin letters in UTF-16 without a mark: every other byte is 0.
    if max(even, odd) > 0.9 * half and min(even, odd) < 0.1 * half:
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        # The last character may be cut.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


class Characters:
    """A log's text in pieces; what cannot be decoded is replaced, and every line break is a newline.

    Args:
        file: The log.
        encoding: Its encoding.
    """

    def __init__(self, file: LogFile, encoding: str) -> None:
        self._file = file
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)

    def stop(self, why: str) -> None:
        """Read no more of it.

        Args:
            why: What is said of it.
        """
        self._file.stopped = why

    def read(self) -> str:
        """Return the next piece, or nothing where there is none for now."""
        while data := self._file.read(CHUNK):
            if text := self._decoder.decode(data):
                return text
        return ""


class Lines:
    """The lines of a log in batches; one that grows can be read on after its end.

    Args:
        characters: The log's text.
        omissions: Where overlong lines are counted.
    """

    def __init__(self, characters: Characters, omissions: Omissions) -> None:
        self._characters = characters
        self._omissions = omissions
        self._rest = ""
        self._skipping = False
        self._skipped = 0

    def batches(self) -> Iterator[list[str]]:
        """Yield whole lines until there are none for now."""
        while text := self._characters.read():
            lines = (self._rest + text).split("\n")
            self._rest = lines.pop()
            if self._skipping and lines:
                # The end of a line whose beginning was thrown away.
                del lines[0]
                self._skipping = False
            if len(self._rest) > LONGEST or self._skipping:
                self._skip()
            if lines:
                yield lines

    def _skip(self) -> None:
        """Throw away what there is of an overlong line."""
        if not self._skipping:
            self._omissions.count(f"lines of more than {LONGEST} characters passed over")
            self._skipped = 0
        self._skipped += len(self._rest)
        self._rest, self._skipping = "", True
        if self._skipped > ENDLESS:
            self._characters.stop(f"a line does not end within {ENDLESS} characters; read up to there")

    def rest(self) -> list[str]:
        """Return the last line where no line break follows it: the log has ended."""
        rest, self._rest = self._rest, ""
        return [rest] if rest else []
