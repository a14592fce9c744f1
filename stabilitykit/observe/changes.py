"""Whether a model is still made of the modules and parameters that were found."""

from collections import OrderedDict
from collections.abc import Collection
from itertools import chain
from operator import attrgetter
from typing import Any

from torch import nn

_is_trained = attrgetter("requires_grad")


class Structure:
    """A model's modules and parameters as they are now, to be compared with later ones.

    Comparing costs a look at each place that holds one, in C. Models that swap their parameters at every
    pass, as ``fully_shard`` makes them, are taken to stay as they are.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        # A scripted module makes its dictionaries anew at every look.
        held: list[dict[str, Any]] = [
            each for m in modules for each in (m._modules, m._parameters) if _is_plain(each)
        ]
        self._held = [] if any(_swaps(m) for m in modules) else held
        self._model = model
        self._kept = self._values()
        """Keeps them, so that no other gets the place in memory of one."""
        self._ids = list(map(id, self._kept))
        self._untrained: tuple[nn.Parameter, ...] = ()

    def watch(self, parameters: Collection[nn.Parameter]) -> None:
        """Take it as a change when one that is neither trained now nor among these begins to be trained."""
        known = {id(p) for p in parameters}
        others = (p for p in self._model.parameters() if id(p) not in known)
        self._untrained = tuple(p for p in others if not p.requires_grad)

    def has_changed(self) -> bool:
        """Return whether something was put in, replaced or taken out, or is trained now that was not."""
        if any(map(_is_trained, self._untrained)):
            return True
        return list(map(id, self._values())) != self._ids and not any(map(_swaps, self._model.modules()))

    def _values(self) -> list[Any]:
        return list(chain.from_iterable([held.values() for held in self._held]))


def _is_plain(held: Any) -> bool:
    return type(held) in (dict, OrderedDict)


def _swaps(module: nn.Module) -> bool:
    """Return whether a module's parameters are others inside its passes than between them."""
    return hasattr(module, "unshard") and hasattr(module, "reshard")
