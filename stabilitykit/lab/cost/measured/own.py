"""The operations of our own models, by the function that calls torch for them.

Names are the prediction's. What it does not know of has a name here, too, and no predicted work.
"""

from collections.abc import Container
from typing import NamedTuple

from stabilitykit.lab.cost.measured.places import Namer, Place

MASKS, COPIES, CACHE, MONITOR = "attn.mask", "attn.copies", "attn.cache", "monitor"
"""Masks; copies that bring heads together, or blocks of a window; writing to a cache; a monitor's own."""


class _Rule(NamedTuple):
    """One function, or one function of torch in it."""

    caller: str
    operation: str
    functions: tuple[str, ...] = ()
    """Functions of torch; all when empty."""


_RULES = (
    _Rule("Embedding.forward", "embed.scale", ("mul", "__mul__")),
    _Rule("Embedding.forward", "embed.dropout", ("dropout",)),
    _Rule("Embedding.forward", "embed.position"),
    _Rule("sine_positions", "embed.position"),
    _Rule("_rotation", "attn.rope"),
    _Rule("rotation", "attn.rope"),
    _Rule("rotate", "attn.rope"),
    _Rule("_temperature", "attn.temperature"),
    _Rule("_tempered", "attn.temperature"),
    _Rule("Attention._heads", "attn.clip", ("clamp",)),
    _Rule("fused", "attn.scores"),
    _Rule("eager", "attn.repeat_kv", ("repeat_interleave",)),
    _Rule("eager", "attn.dropout", ("dropout",)),
    _Rule("eager", "attn.weighted_sum", ("matmul", "__matmul__")),
    _Rule("eager", "attn.softmax"),
    _Rule("_scores", "attn.scores"),
    _Rule("_weights", "attn.softmax"),
    _Rule("_masked", "attn.softmax"),
    _Rule("Attention._head_scaled", "attn.head_scale"),
    _Rule("Attention.forward", COPIES),
    _Rule("Attention._heads", COPIES),
    _Rule("Attention._attend_once", COPIES),
    _Rule("windowed", COPIES),
    _Rule("_blocks", COPIES),
    _Rule("_before", COPIES),
    _Rule("FeedForward._scaled", "mlp.pre_scale"),
    _Rule("FeedForward._clamped", "mlp.clamp"),
    _Rule("FeedForward._hidden", "mlp.clamp", ("clamp",)),
    _Rule("FeedForward._hidden", "mlp.product", ("mul", "__mul__")),
    _Rule("FeedForward._hidden", "mlp.up_offset", ("add", "__add__")),
    _Rule("FeedForward._hidden", "mlp.activation"),
    _Rule("FeedForward.forward", "mlp.hidden_dropout", ("dropout",)),
    _Rule("Block._both", "parallel_add"),
    _Rule("Head._scaled", "head.scale"),
    _Rule("Head._gained", "head.gain"),
    _Rule("Head._capped", "head.softcap"),
    _Rule("next_token_losses", "loss.cross_entropy"),
    _Rule("cross_entropy_with_z_loss", "loss.cross_entropy"),
    _Rule("_CrossEntropyWithZLoss.forward", "loss.cross_entropy"),
    _Rule("_CrossEntropyWithZLoss.backward", "loss.cross_entropy"),
)

_SUBLAYER_RULES = (
    _Rule("Block._first_norm", "depth_scale"),
    _Rule("Block._branch", "difference", ("sub", "__sub__")),
    _Rule("Block._branch", "dropout", ("dropout",)),
    _Rule("Block._branch", "scale"),
    _Rule("Block._joined", "line_scale", ("mul", "__mul__")),
    _Rule("Block._joined", "add"),
)
"""Operations that attention and feed-forward both have: the module that began last tells of which."""

_ROOMS = {
    "stabilitykit.lab.model.activations": "mlp.activation",
    "stabilitykit.lab.model.rope": "attn.rope",
    "stabilitykit.lab.model.rotate": "attn.rope",
    "stabilitykit.lab.model.cache": CACHE,
    "stabilitykit.lab.model.context": MASKS,
    "stabilitykit.lab.model.windows": MASKS,
}
"""Operations of whole files, where no rule is narrower."""

_ELSEWHERE = {
    "attn.softmax": "attn.scores",
    "attn.weighted_sum": "attn.scores",
    "attn.dropout": "attn.scores",
    "loss.z_loss": "loss.cross_entropy",
}
"""Operations that may have no kernel of their own, and the one whose kernel then does them, too."""

_WATCHING = ("stabilitykit.observe", "stabilitykit.stats", "stabilitykit.live")


def own_namer(operations: Container[str]) -> Namer:
    """Return what names the places of our own models.

    Args:
        operations: The names of everything that is predicted.
    """

    def name(place: Place) -> str | None:
        if "scaled_dot_product" in place.function:
            # A monitor calls the same kernel in the model's stead.
            return "attn.scores"
        if place.room.startswith(_WATCHING):
            return MONITOR
        path = _known(_without_block(place.path), operations)
        if path is not None or not place.function:
            return path
        return _by_rule(place)

    return name


def done_by(operation: str) -> str:
    """Return the operation whose kernel does one that has none of its own.

    Args:
        operation: A predicted one; the bias of a product is added by the product's kernel.
    """
    return _ELSEWHERE.get(operation, operation.removesuffix(".bias"))


def _without_block(path: str) -> str:
    parts = path.split(".")
    return ".".join(parts[2:] if parts[0] == "blocks" else parts)


def _known(path: str, operations: Container[str]) -> str | None:
    """Return the operation that a module is, or is inside of."""
    while path and path not in operations:
        path = path.rpartition(".")[0]
    return path or None


def _by_rule(place: Place) -> str | None:
    for rule in _RULES:
        if rule.caller == place.caller and (not rule.functions or place.function in rule.functions):
            return rule.operation
    for rule in _SUBLAYER_RULES:
        if rule.caller == place.caller and (not rule.functions or place.function in rule.functions):
            sublayer = _without_block(place.entered).partition(".")[0].partition("_")[0]
            return f"{sublayer}_{rule.operation}"
    if place.caller == "FeedForward._gained":
        return _without_block(place.entered).replace("_proj", "_gain")
    return _ROOMS.get(place.room)
