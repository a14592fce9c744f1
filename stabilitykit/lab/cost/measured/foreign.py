"""The operations of models that are not ours, by the path of the module and the function of torch."""

import re
from collections import defaultdict

from torch import nn

from stabilitykit.lab.cost.measured.attribution import computes
from stabilitykit.lab.cost.measured.places import Place
from stabilitykit.observe.kinds import is_norm

LOSS, LAYOUT = "loss", "layout"
"""What follows the model; and views, with the copies that they need at times."""

_LOOKS = (
    "contiguous",
    "getitem",
    "setitem",
    "float",
    "type_as",
    "size",
    "dim",
    "numel",
    "unbind",
    "unflatten",
    "flatten",
)
_NORMALISING = (
    "softmax|log_softmax|cross_entropy|layer_norm|rms_norm|group_norm|batch_norm|instance_norm|normalize"
)
_SWAPPED = re.compile("[ir](add|sub|mul|truediv|floordiv|matmul|pow|and|or)")


class ForeignNamer:
    """Names the places of any model.

    A module without children is one operation, whatever it calls: ``model.layers.*.self_attn.q_proj``. In a
    module with children, each function of torch that it calls is one: ``model.layers.*.mlp.mul``. Of numbered
    children that are all of one type the number is left out, so that what layers have in common adds up.
    """

    def __init__(self, model: nn.Module, root: str, loss: str | None = None) -> None:
        """Look through a model.

        Args:
            model: What runs; its hooks will tell of places.
            root: The path in it of the module that operations are named after.
            loss: The path of what computes the loss.
        """
        self._loss, self._root = loss, root
        self._names = dict(_starred(model.get_submodule(root), root, ""))
        self._norms: set[str] = set()
        self._paths: dict[str, set[str]] = defaultdict(set)

    def __call__(self, place: Place) -> str | None:
        """Return the operation of a place; None outside of the model and its loss.

        Args:
            place: The place.
        """
        if self._loss is not None and _within(place.path, self._loss):
            return LOSS
        name = self._names.get(place.path)
        if name is None or place.module is None:
            return None
        called = self._operation(name, place, place.module)
        if called is not None:
            self._paths[called].add(place.path)
        return called

    def layers(self, operation: str) -> int:
        """Return how many modules have done an operation so far; 1 for what no module does.

        Args:
            operation: Its name.
        """
        return max(1, len(self._paths[operation]))

    def is_norm(self, operation: str) -> bool:
        """Return whether an operation is a norm, or a function that is one.

        Args:
            operation: Its name.
        """
        return operation in self._norms or bool(re.fullmatch(_NORMALISING, operation.rpartition(".")[2]))

    def path(self, name: str) -> str:
        """Return the name of the module that holds a parameter, as operations have it.

        Args:
            name: The parameter's, in the model that operations are named after.
        """
        return self._names.get(f"{self._root}.{name}".rpartition(".")[0], "")

    def _operation(self, name: str, place: Place, module: nn.Module) -> str | None:
        if not any(True for _ in module.children()):
            own = name or type(module).__name__.lower()
            if is_norm(module):
                self._norms.add(own)
            return own
        if not place.function:
            return None
        function = _plain(place.function)
        return f"{name}.{function}".removeprefix(".")


def _plain(function: str) -> str:
    """Return a function's name without what tells only of how it was written."""
    plain = function.strip("_")
    if not computes(plain) or plain in _LOOKS:
        return LAYOUT
    swapped = _SWAPPED.fullmatch(plain) if function.startswith("__") else None
    return plain if swapped is None else swapped.group(1)


def _within(path: str, room: str) -> bool:
    return path == room or path.startswith(f"{room}.")


def _starred(module: nn.Module, path: str, name: str) -> "list[tuple[str, str]]":
    """Return the path of a module and of all inside it, each with its name."""
    found = [(path, name)]
    kinds = {type(child) for child in module.children()}
    for own, child in module.named_children():
        part = "*" if own.isdigit() and len(kinds) == 1 else own
        found += _starred(child, f"{path}.{own}", f"{name}.{part}".removeprefix("."))
    return found
