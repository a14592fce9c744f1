"""The table of everything a transformer does, from its configuration alone."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from stabilitykit.lab.cost.operation import SUMS, Operation, forward_only, gathered, work
from stabilitykit.lab.cost.predicted.attention import attention
from stabilitykit.lab.cost.predicted.ends import embedding, head
from stabilitykit.lab.cost.predicted.feedforward import feedforward
from stabilitykit.lab.cost.predicted.traffic import Case, dropout, factor, norm, pointwise
from stabilitykit.lab.model.block import branch_scale, first_scale, norm_names, own_slots, skip_scale

_ALIASES = {"attn.sinks": "attn.softmax"}
"""Parameters that belong to an operation of another name."""


def model_operations(case: Case, parameters: dict[str, int]) -> list[Operation]:
    """Return every operation of forward and backward, summed over layers, in data order.

    Args:
        case: Model and workload.
        parameters: How many there are under each name, from ``parameters_by_name``.
    """
    config = case.config
    # Layers that are alike are worked out once.
    alike: Counter[tuple[object, ...]] = Counter()
    first: dict[tuple[object, ...], int] = {}
    for layer in range(config.n_layers):
        key = _alike(case, layer)
        alike[key] += 1
        first.setdefault(key, layer)
    blocks = [
        replace(each, layers=1).times(alike[key])
        for key, layer in first.items()
        for each in gathered(_block(case, layer))
    ]
    everything = gathered([*embedding(case), *blocks, *head(case)])
    if case.workload.mode != "train":
        everything = [forward_only(each) for each in everything if each.name != SUMS]
    return _with_parameters(everything, parameters)


def _alike(case: Case, layer: int) -> tuple[object, ...]:
    config = case.config
    slots = tuple(config.slots(layer, sublayer) for sublayer in ("attn", "mlp"))
    scaled = tuple(first_scale(config.residual_of(name), layer) == 1 for name in ("attn", "mlp"))
    return config.layer_kind(layer), slots, scaled


def _block(case: Case, layer: int) -> Iterator[Operation]:
    """Yield what one block does, in data order."""
    if case.config.order == "parallel":
        yield from _parallel(case, layer)
        return
    for sublayer in ("attn", "mlp"):
        yield from _before(case, sublayer, layer)
        yield from _branch(case, sublayer, layer)
        yield from _joined(case, sublayer, layer)


def _parallel(case: Case, layer: int) -> Iterator[Operation]:
    """Yield a block whose branches read the same line, one of which keeps it for both."""
    yield from _before(case, "attn", layer)
    yield from _branch(case, "attn", layer)
    own = "branch_in" in _names(case, "mlp", layer)
    if own:
        yield from _before(case, "mlp", layer, keeps=False)
    yield from _branch(case, "mlp", layer, keeps_input=own)
    yield pointwise(case, "parallel_add", _line(case), reads=2, back=(0, 0, 0))
    # What both branches read.
    yield _sums(case, 1)
    yield from _joined(case, "mlp", layer)


def _before(case: Case, sublayer: str, layer: int, keeps: bool = True) -> Iterator[Operation]:
    """Yield the norms in front of a branch."""
    names = _names(case, sublayer, layer)
    for slot in ("line_in", "branch_in"):
        if slot in names:
            yield _norm(case, sublayer, names[slot], keeps)
    if "branch_in" in names and first_scale(case.config.residual_of(sublayer), layer) != 1:
        yield pointwise(case, f"{sublayer}_depth_scale", _line(case))


def _branch(case: Case, sublayer: str, layer: int, keeps_input: bool = True) -> Iterator[Operation]:
    """Yield a branch from its function on, up to where it is added."""
    config, n = case.config, _line(case)
    section, slots = config.residual_of(sublayer), config.slots(layer, sublayer)
    if sublayer == "attn":
        yield from attention(case, config.layer_kind(layer), keeps_input)
        yield _sums(case, 2)
    else:
        yield from feedforward(case, keeps_input)
        yield _sums(case, int(config.feedforward.gated))
    names = _names(case, sublayer, layer)
    if "branch_out" in names:
        yield _norm(case, sublayer, names["branch_out"])
    if slots.skip == "lerp":
        yield pointwise(case, f"{sublayer}_difference", n, reads=2, back=(1, 2, 1))
    if branch_scale(section, config) != 1:
        yield pointwise(case, f"{sublayer}_scale", n)
    if section.gate != "none" or slots.skip == "lerp":
        yield factor(case, f"{sublayer}_gate", n, 1 if section.gate == "scalar" else config.d_model)
    yield from dropout(case, f"{sublayer}_dropout", n, section.dropout)


def _joined(case: Case, sublayer: str, layer: int) -> Iterator[Operation]:
    """Yield the addition to the line, and what acts on the line behind it."""
    config, n = case.config, _line(case)
    if skip_scale(config, sublayer, config.slots(layer, sublayer)) != 1:
        yield pointwise(case, f"{sublayer}_line_scale", n)
    yield pointwise(case, f"{sublayer}_add", n, reads=2, back=(0, 0, 0))
    # Where line and branch part.
    yield _sums(case, 1)
    names = _names(case, sublayer, layer)
    if "line_out" in names:
        yield _norm(case, sublayer, names["line_out"])
    if config.residual_of(sublayer).gpas:
        yield pointwise(case, f"{sublayer}_gpas", n, flops=2, shared=1, back=(2, 2, 0), keeps=1)


def _sums(case: Case, times: int) -> Operation:
    """Return the additions of gradients of a tensor that is read so many times more than once."""
    n, s = times * _line(case), case.size
    return Operation(SUMS, "element-wise", backward=work(n, 2 * s * n, s * n))


def _norm(case: Case, sublayer: str, name: str, keeps: bool = True) -> Operation:
    config = case.config
    section = config.attention.norm if sublayer == "attn" else config.feedforward.norm
    return norm(case, name, case.tokens, config.d_model, section or config.norm, keeps)


def _names(case: Case, sublayer: str, layer: int) -> dict[str, str]:
    slots = case.config.slots(layer, sublayer)
    return norm_names(sublayer, own_slots(case.config, sublayer, slots))


def _line(case: Case) -> int:
    return case.tokens * case.config.d_model


def _with_parameters(operations: list[Operation], parameters: dict[str, int]) -> list[Operation]:
    """Return the operations with the parameters that are their own, by name."""
    counts: Counter[str] = Counter()
    known = {each.name for each in operations}
    for name, count in parameters.items():
        counts[_owner(name.removeprefix("blocks."), known)] += count
    return [replace(each, parameters=counts[each.name]) for each in operations]


def _owner(name: str, known: set[str]) -> str:
    """Return the operation that a parameter belongs to: of its own name, or of a module that holds it.

    Raises:
        LookupError: There is none: an operation is missing in the table.
    """
    place = _ALIASES.get(name, name)
    while place and place not in known:
        place = place.rpartition(".")[0]
    if not place:
        raise LookupError(f"no operation uses the parameter {name}")
    return place
