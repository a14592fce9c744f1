"""JSON and YAML that somebody else may have written: a document, or one line that says why there is none."""

import json
from typing import Any

import yaml

_DEEPEST = 100
"""Levels of a document; what is deeper would end in Python's own limit somewhere later."""
_NODES = 200_000
"""Values of a YAML document, those counted anew that are referred to."""
_YAML_RAISES = (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)


class DocumentError(ValueError):
    """A text is no document that can be used; says why, without its name."""


def parse_json(text: str | bytes) -> Any:
    """Return a JSON document.

    Raises:
        DocumentError: It is none, is no UTF-8, or is nested too deeply.
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise DocumentError(f"nested more than {_DEEPEST} levels deep") from None
    except ValueError as error:
        raise DocumentError(f"not JSON ({' '.join(str(error).split())})") from None
    _check_depth(document)
    return document


def parse_yaml(text: str | bytes) -> Any:
    """Return a YAML document of plain values.

    Raises:
        DocumentError: It is none, is no UTF-8, is nested too deeply, or grows by references to itself.
    """
    try:
        return yaml.load(text, _Bounded)  # of SafeLoader
    except DocumentError:
        raise
    except RecursionError:
        raise DocumentError(f"nested more than {_DEEPEST} levels deep") from None
    except _YAML_RAISES as error:
        raise DocumentError(f"not YAML ({' '.join(str(error).split())[:300]})") from None


class _Bounded(yaml.SafeLoader):
    """Refuses what is too deep, or too large once its references are written out."""

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._depth = 0
        self._count = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, and count it with all that is below it."""
        if self._depth >= _DEEPEST:
            raise DocumentError(f"nested more than {_DEEPEST} levels deep")
        is_alias = self.check_event(yaml.AliasEvent)
        before = self._count
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise DocumentError("refers to itself")
        self._count += self._sizes[id(node)] if is_alias else 1
        if self._count > _NODES:
            raise DocumentError(f"more than {_NODES} values, those counted anew that are referred to")
        self._sizes.setdefault(id(node), self._count - before)
        return node


def _check_depth(document: Any) -> None:
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise DocumentError(f"nested more than {_DEEPEST} levels deep")
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += [value for value in each.values() if isinstance(value, dict | list)]
            elif isinstance(each, list):
                below += [value for value in each if isinstance(value, dict | list)]
        level = below
