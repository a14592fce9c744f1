"""Text of others on a terminal: what that would take for a command is shown as such, and not done."""

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# C0 but for line breaks and tabs, DEL, C1, marks of direction, Unicode's own line breaks, and what no
# terminal can be sent: lone surrogates.
_COMMANDS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return a text without the characters that a terminal obeys; each is a replacement character instead.

    Line breaks and tabs stay. Whatever is written to stdout or stderr goes through here, last of all.

    Args:
        text: From a log, a path, a config, an error: anybody's.
    """
    return _COMMANDS.sub(REPLACEMENT, text)
