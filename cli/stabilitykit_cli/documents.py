"""JSON documents on stdout."""

import json
import math
from collections.abc import Mapping
from typing import Any

from stabilitykit_cli import consoles


def print_document(document: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout; a non-finite number becomes null, anything unknown its text."""
    text = json.dumps(_finite(document), allow_nan=False, indent=2, default=str)
    # JSON leaves this one control character as it is.
    consoles.write(text.replace("\x7f", "\\u007f") + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
