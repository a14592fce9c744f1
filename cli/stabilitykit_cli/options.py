"""Options that several commands share, so that they read and mean the same everywhere."""

from typing import Annotated, Literal

import typer


def a_number(text: str) -> float:
    """Return a typed number.

    Raises:
        typer.BadParameter: It is none.
    """
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number such as 3e-3") from None


def a_whole_number(text: str) -> int:
    """Return a typed whole number.

    Raises:
        typer.BadParameter: It is none.
    """
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number such as 300") from None


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
]
FailOn = Annotated[
    Literal["unstable"] | None,
    typer.Option("--fail-on", help="Exit with status 3 when a verdict is not 'stable'.", show_default=False),
]
