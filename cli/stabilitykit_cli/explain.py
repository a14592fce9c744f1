"""``stabilitykit explain``: what a kind of incident is, healthy values, known false alarms, sources."""

from typing import Annotated

import typer

from stabilitykit.errors import ConfigError, closest
from stabilitykit_cli import consoles, exits
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.options import Debug, Json

HELP = """Say what a kind of incident is, how it is computed, healthy values, known false alarms, sources.

Kinds are the words that incidents carry, such as loss_spike, stuck or gradient_spike.

Examples:
  stabilitykit explain vanishing_gradient
  stabilitykit explain loss_spike --json
"""


def explain(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="For example loss_spike, divergence or stuck.")],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Print one entry of the knowledge that stands behind causes and remedies, and return the exit status.

    Raises:
        ConfigError: There is no such kind.
    """
    from stabilitykit.detect.explanation import explanation
    from stabilitykit.detect.knowledge import KNOWLEDGE

    if kind not in KNOWLEDGE:
        raise ConfigError(f"KIND {kind!r} is not known: {closest(kind, KNOWLEDGE)}")
    known, text = KNOWLEDGE[kind], explanation(kind)
    if json:
        print_document({"kind": known.kind, "text": text, "sources": known.sources})
        return exits.OK
    from stabilitykit_cli.render import explained

    consoles.show(explained(known, text))
    return exits.OK
