"""What a reader passed over: counted by sort, the first case shown."""

_SHOWN = 40
"""Characters of the first case."""


class Omissions:
    """Counts of what was passed over; of a million bad rows one line is said."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}
        self._said: dict[str, None] = {}
        self.unreadable = 0
        """Rows that held something that is no number where one belongs."""
        self.first_unreadable = ""

    def count(self, what: str, first: str = "", n: int = 1) -> None:
        """Count ``n`` more of ``what``, such as ``rows without 3 cells passed over``."""
        if not n:
            return
        self._first.setdefault(what, shortened(first))
        self._counts[what] = self._counts.get(what, 0) + n

    def cannot_read(self, message: str) -> None:
        """Count a row that cannot be read; the first one's message is kept."""
        self.first_unreadable = self.first_unreadable or message
        self.unreadable += 1

    def say(self, note: str) -> None:
        """Add a line, once."""
        self._said[note] = None

    @property
    def notes(self) -> tuple[str, ...]:
        """One line each."""
        lines = list(self._said)
        if self.unreadable:
            lines.append(f"rows that cannot be read passed over: {self.unreadable}; {self.first_unreadable}")
        for what, n in self._counts.items():
            first = f", the first {self._first[what]!r}" if self._first[what] else ""
            lines.append(f"{what}: {n}{first}")
        return tuple(lines)


def shortened(text: str) -> str:
    """Return the beginning of a text that may be a megabyte long."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
