"""What a transformer must have in memory at once."""

from collections.abc import Sequence

from stabilitykit.lab.cost.memory import Memory
from stabilitykit.lab.cost.operation import Operation
from stabilitykit.lab.cost.predicted.traffic import Case
from stabilitykit.lab.model.cache import cached_tokens


def memory_needed(case: Case, operations: Sequence[Operation], state: int) -> Memory:
    """Return what a workload needs.

    Args:
        case: Model and workload.
        operations: All operations of it.
        state: The optimizer's bytes.
    """
    weights = case.size * sum(each.parameters for each in operations)
    working = max(_working(each, case.size) for each in operations)
    if case.workload.mode != "train":
        return Memory(weights, kv_cache=kv_cache(case), working=working)
    saved = sum(each.saved for each in operations)
    return Memory(weights, weights, state, saved, working=working)


def _working(operation: Operation, size: int) -> int:
    own = size * operation.parameters
    forward, backward = operation.forward.bytes - own, operation.backward.bytes - 2 * own
    return max(forward, backward, 0) // operation.layers


def kv_cache(case: Case) -> int:
    """Return the bytes of keys and values: 2·g·k a token and layer, in a window no more than it holds.

    Args:
        case: Model and workload.
    """
    config, workload = case.config, case.workload
    tokens = sum(cached_tokens(config.layer_kind(layer), workload.length) for layer in range(config.n_layers))
    return workload.itemsize * workload.batch * tokens * 2 * config.n_kv_heads * config.head_dim
