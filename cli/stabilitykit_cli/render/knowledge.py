"""What ``explain`` prints."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

if TYPE_CHECKING:
    from stabilitykit.detect.knowledge import Knowledge


def explained(known: "Knowledge", text: str) -> RenderableType:
    """Return the title, the text and the sources of one kind of incident."""
    parts: list[RenderableType] = [
        Text.assemble((known.kind, "bold cyan"), "  ", (known.title, "bold")),
        Text(),
        Markdown(text),
    ]
    if known.sources:
        parts += [Text(), Text("Sources", style="dim")]
        parts += [Padding(Text(source), (0, 0, 0, 2)) for source in known.sources]
    return Group(*parts)
