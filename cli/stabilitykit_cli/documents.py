"""JSON documents on stdout."""

import json
from collections.abc import Mapping
from typing import Any

from stabilitykit_cli import consoles


def print_document(document: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout; a non-finite number becomes null, anything unknown its text."""
    # Imported here: it loads numpy, which --help does without.
    from stabilitykit.records import finite_json

    text = json.dumps(finite_json(document), allow_nan=False, indent=2, default=str)
    # JSON leaves this one control character as it is.
    consoles.write(text.replace("\x7f", "\\u007f") + "\n")
