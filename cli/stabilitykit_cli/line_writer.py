"""Progress as lines in a file or a pipe that may go away."""

from typing import IO

from stabilitykit_cli.printable import printable


class LineWriter:
    """Writes lines at once; when the stream refuses them, what they tell of goes on in silence.

    Args:
        stream: Where the lines go.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream: IO[str] | None = stream

    def write(self, line: str) -> None:
        """Write a line; line breaks inside it become spaces."""
        if self._stream is None:
            return
        try:
            self._stream.write(printable(" ".join(line.split())) + "\n")
            self._stream.flush()
        except OSError:
            self._stream = None
