"""Find the repeated blocks of a model in the calls of one forward pass."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from stabilitykit.observe.calls import Call
from stabilitykit.observe.kinds import is_norm


@dataclass(frozen=True, slots=True)
class Block:
    """One block: a module, or a stretch of a module's calls that plays the part of one."""

    calls: tuple[Call, ...]
    """The block's call, or the calls of the stretch."""

    @property
    def whole(self) -> Call | None:
        """The block's own call; None for a stretch."""
        return self.calls[0] if len(self.calls) == 1 else None


@dataclass(frozen=True, slots=True)
class Stack:
    """Blocks through which one residual line runs."""

    name: str
    """What tells it from the model's other stacks; empty if it is the only one."""
    blocks: tuple[Block, ...]

    @property
    def start(self) -> int:
        """Number of its first call."""
        return self.blocks[0].calls[0].number

    @property
    def end(self) -> int:
        """How many calls had begun when it returned."""
        return self.blocks[-1].calls[-1].end


def find_stacks(calls: Sequence[Call], shapes_known: bool = True) -> tuple[Stack, ...]:
    """Return the stacks of blocks, in the order in which they ran.

    Blocks are calls of one class that were made from the same place, take and give a tensor of the same
    shape, and of which each is given the very tensor that the one before it gave. Where repeated modules are
    not chained so, they are branches off a line that somebody else carries: a block then is the stretch
    from one attention, with the norm before it, to the next.

    Args:
        calls: The calls of one forward pass.
        shapes_known: Whether shapes and hand-overs were observed; else the outermost repetition is taken.
    """
    if not shapes_known:
        return _named([_blocks(group) for group in _outermost(_groups(calls, False))], calls)
    groups = _outermost(_groups(calls, True))
    chained = [group for group in groups if _is_chain(group)]
    taken = {call.number for group in chained for call in group}
    loose = [group for group in groups if not _is_chain(group)]
    stretches = _stretches(calls, loose)
    # Where shapes change from block to block, the chain alone has to tell.
    rest = [c for c in calls if not any(c.holds(calls[n]) or calls[n].holds(c) for n in taken)]
    if not stretches:
        more = [g for g in _outermost(_groups(rest, False)) if _is_chain(g) and g[0].number not in taken]
        chained += more
    stacks = [_blocks(group) for group in chained] + stretches
    return _named(sorted(stacks, key=lambda blocks: blocks[0].calls[0].number), calls)


def _groups(calls: Sequence[Call], same_shape: bool) -> list[list[Call]]:
    """Return the calls that repeat: of one class, from one caller, with the same name but for numbers."""
    found: dict[tuple[object, ...], list[Call]] = {}
    for call in calls:
        if not any(call.module.children()) or next(call.module.parameters(), None) is None:
            continue
        if same_shape and (call.shape_in is None or call.shape_in != call.shape_out):
            continue
        if not same_shape and isinstance(call.module, nn.Sequential):
            continue
        shape = call.shape_in if same_shape else None
        key = (call.parent, type(call.module), shape, re.sub(r"\d+", "#", call.path))
        found.setdefault(key, []).append(call)
    return [group for group in found.values() if len(group) > 1 and not _is_rerun(group)]


def _is_rerun(group: Sequence[Call]) -> bool:
    """Return whether one module only ran several times, each time on something new."""
    return len({call.path for call in group}) == 1 and not _is_chain(group)


def _outermost(groups: list[list[Call]]) -> list[list[Call]]:
    """Return the groups whose members lie in no member of another."""
    members = [call for group in groups for call in group]
    return [group for group in groups if not any(member.holds(group[0]) for member in members)]


def _is_chain(group: Sequence[Call]) -> bool:
    return all(one.number in other.sources for one, other in pairwise(group))


def _blocks(group: Sequence[Call]) -> list[Block]:
    return [Block((call,)) for call in group]


def _stretches(calls: Sequence[Call], loose: list[list[Call]]) -> list[list[Block]]:
    """Return the blocks of every caller whose branches are attentions."""
    callers = dict.fromkeys(
        group[0].parent for group in loose if any(_attends(call, calls) for call in group)
    )
    return [list(_cut([c for c in calls if c.parent == caller], calls)) for caller in callers]


def _cut(children: list[Call], calls: Sequence[Call]) -> Iterator[Block]:
    starts = [_start(children, i) for i, call in enumerate(children) if _attends(call, calls)]
    ends = [*starts[1:], len(children)]
    sizes = [end - start for start, end in zip(starts, ends, strict=True)]
    for start, size in zip(starts, sizes, strict=True):
        # What follows the last block, such as a final norm, is no part of it.
        yield Block(tuple(children[start : start + min(size, sizes[0])]))


def _start(children: list[Call], i: int) -> int:
    return i - 1 if i and is_norm(children[i - 1].module) else i


def _attends(call: Call, calls: Sequence[Call]) -> bool:
    return any(c.attends_from is not None for c in calls[call.number : call.end])


def _named(stacks: list[list[Block]], calls: Sequence[Call]) -> tuple[Stack, ...]:
    """Return stacks with names; modules that ran as a stack more than once are one, as they first ran."""
    by_modules = {tuple(c.path for b in blocks for c in b.calls): blocks for blocks in reversed(stacks)}
    stacks = [blocks for blocks in reversed(by_modules.values()) if len(blocks) > 1]
    prefixes = [_container(blocks[0].calls[0].path) for blocks in stacks]
    names = [""] if len(stacks) == 1 else _distinct(prefixes)
    found = tuple(Stack(name, tuple(blocks)) for name, blocks in zip(names, stacks, strict=True))
    for stack in found:
        _give_turns(calls[stack.start : stack.end])
    return found


def _give_turns(calls: Sequence[Call]) -> None:
    """Number the calls of each module in a pass through a stack: layers may share one."""
    by_path: dict[str, list[Call]] = {}
    for call in calls:
        by_path.setdefault(call.path, []).append(call)
    for same in by_path.values():
        for i, call in enumerate(same):
            call.turn = (i, len(same))


def _container(path: str) -> list[str]:
    """Return the parts of a block's path before its own number."""
    parts = path.split(".")
    last = max((i for i, part in enumerate(parts) if re.search(r"\d", part)), default=len(parts) - 1)
    return parts[:last]


def _distinct(prefixes: list[list[str]]) -> list[str]:
    """Return what differs between some paths, as names."""
    names = []
    for i, parts in enumerate(prefixes):
        others = [set(other) for j, other in enumerate(prefixes) if j != i]
        own = [part for part in parts if not all(part in other for other in others)]
        name = "_".join(f"stage{part}" if part.isdigit() else part for part in own)
        names.append(re.sub(r"[^a-z0-9_]", "_", name.lower()) or f"stack{i}")
    repeated = {name for name in names if names.count(name) > 1}
    return [f"{name}{i}" if name in repeated else name for i, name in enumerate(names)]
