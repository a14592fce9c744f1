"""Find the repeated blocks of a model in the calls of one forward pass."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from torch import nn

from stabilitykit.observe.call import Call
from stabilitykit.observe.containers import Containers, paths_above, pattern
from stabilitykit.observe.kinds import is_linear, is_norm
from stabilitykit.observe.links import MAIN, Stream, streams_of


@dataclass(frozen=True, slots=True)
class Block:
    """One block: a module, or a stretch of a module's calls that plays the part of one."""

    calls: tuple[Call, ...]
    """The block's call, or the calls of the stretch; none where it did not run."""
    path: str
    """Path of its module; of a stretch that of its first one."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the modules that are the block."""
        return tuple(call.path for call in self.calls) or (self.path,)

    @property
    def whole(self) -> Call | None:
        """The block's own call; None for a stretch and for a block that did not run."""
        return self.calls[0] if len(self.calls) == 1 else None


@dataclass(frozen=True, slots=True)
class Stack:
    """Blocks through which one residual stream runs."""

    name: str
    """What tells it from the model's other stacks; empty if it is the only one."""
    blocks: tuple[Block, ...]
    streams: tuple[Stream, ...] = MAIN
    """What runs through it, the main one first."""
    is_merged: bool = False
    """Whether its blocks run several times in a pass, and a reading is of all of these."""

    @property
    def calls(self) -> list[Call]:
        """The calls of its blocks."""
        return [call for block in self.blocks for call in block.calls]

    @property
    def has_run(self) -> bool:
        """Whether any of its blocks ran."""
        return bool(self.calls)

    @property
    def start(self) -> int:
        """Number of its first call; 0 if it did not run."""
        return min((call.number for call in self.calls), default=0)

    @property
    def end(self) -> int:
        """How many calls had begun when it returned; 0 if it did not run."""
        return max((call.end for call in self.calls), default=0)


@dataclass(slots=True)
class _Group:
    """Calls that are the blocks of a stack, or branches off a line that somebody else carries."""

    calls: list[Call]
    streams: tuple[Stream, ...] = ()
    """Empty of branches."""
    is_merged: bool = False
    unseen: list[str] = field(default_factory=list)
    """Paths of blocks beside these that did not run."""


def find_stacks(
    calls: Sequence[Call], containers: Containers, shapes_known: bool = True
) -> tuple[Stack, ...]:
    """Return the stacks of blocks, in the order in which they ran.

    Blocks are calls that were made from the same place of modules that are registered beside each other, and
    of which each is given the very tensor that the one before it gave; where something is mixed in between,
    a residual stream runs through each of them. Modules beside them that did not run are blocks as well.
    Where repeated modules are neither, they are branches off a line that somebody else carries: a block then
    is the stretch from one attention, with the norm before it, to the next.

    Args:
        calls: The calls of one forward pass.
        containers: The modules of the model.
        shapes_known: Whether shapes and hand-overs were observed; else the outermost repetition is taken.
    """
    if not shapes_known:
        groups = [_Group(group, MAIN) for group in _alike(calls, same_shape=False)]
        return _named(_outermost(groups), [], calls)
    groups = [group for family in _families(calls) for group in _parted(family, calls, containers)]
    outer = _outermost(groups)
    chained = [_unpacked(group, groups, calls, containers) for group in outer if group.streams]
    chained += _strewn(calls, chained)
    taken = [call for group in chained for call in group.calls]
    loose = [group.calls for group in outer if not group.streams]
    loose = [group for group in loose if not any(call.holds(group[0]) for call in taken)]
    stretches = _stretches(calls, loose, containers)
    if not stretches:
        chained += _changing(calls, chained)
    if not chained and not stretches:
        chained = _lone(calls, containers)
    found = _named(chained, stretches, calls)
    return (*found, *_dormant(calls, containers, found))


def _families(calls: Sequence[Call]) -> list[list[Call]]:
    """Return the calls from one caller to modules whose paths differ in numbers alone."""
    found: dict[tuple[object, ...], list[Call]] = {}
    for call in calls:
        if any(call.module.children()) and next(call.module.parameters(), None) is not None:
            found.setdefault((call.parent, pattern(call.path)), []).append(call)
    return list(found.values())


def _parted(family: list[Call], calls: Sequence[Call], containers: Containers) -> Iterator[_Group]:
    """Yield the groups within a family: all of it where it is one stack, else those of one class."""
    whole = _stack_of([call for call in family if _keeps_shape(call)], family, calls, containers)
    if whole is not None:
        yield whole
        return
    for group in _alike(family, same_shape=True):
        streams = streams_of(group)
        if not streams and _are_blocks(group, calls):
            streams = MAIN
        rounds = list(_rounds(group))
        if not streams and len(rounds) > 1 and all(streams_of(each) for each in rounds):
            # A loop over the same blocks in which something else stands between two turns.
            yield _Group(rounds[0], streams_of(rounds[0]), is_merged=True)
        else:
            yield _Group(group, streams)


def _stack_of(
    members: list[Call], family: list[Call], calls: Sequence[Call], containers: Containers
) -> _Group | None:
    """Return members of a family as a stack, with those beside them that belong; None if they are none."""
    members = _trimmed(members, containers)
    if not members or len({call.shape_in for call in members}) > 1 or _is_rerun(members):
        return None
    beside = [path for path in containers.siblings(members[0].path) if path not in {c.path for c in calls}]
    unseen = [path for path in beside if _belongs(path, members, containers)]
    members = _with_front(members, family, calls)
    streams = streams_of(members)
    if not streams and _are_blocks(members, calls):
        streams = MAIN
    if len(members) == 1 and not (unseen and (members[0].carries or _attends(members[0], calls))):
        return None
    return _Group(members, streams, unseen=unseen) if streams else None


def _keeps_shape(call: Call) -> bool:
    """Return whether a call returns a tensor of the shape of one that it is given."""
    if call.shape_in is not None and call.shape_in == call.shape_out:
        return True
    if isinstance(call.module, nn.Sequential):
        return False
    given = {each.shape for each in call.given if each.is_floating and len(each.shape) > 2}
    return any(each.is_floating and each.shape in given for each in call.returned)


def _trimmed(members: list[Call], containers: Containers) -> list[Call]:
    """Return members without those at either end whose class occurs once, unless a line runs through them."""
    classes = [type(call.module) for call in members]
    if len(set(classes)) == 1 or not members:
        return members
    is_list = containers.is_list(members[0].path)
    kept = [
        i for i, call in enumerate(members) if classes.count(classes[i]) > 1 or (is_list and call.carries)
    ]
    return members[kept[0] : kept[-1] + 1] if kept else []


def _belongs(path: str, members: list[Call], containers: Containers) -> bool:
    """Return whether a module that did not run is a block beside some that did."""
    module = containers.modules[path]
    if any(type(module) is type(call.module) for call in members):
        return True
    has_weights = next(module.parameters(), None) is not None
    return containers.is_list(path) and has_weights and any(module.children())


def _with_front(members: list[Call], family: list[Call], calls: Sequence[Call]) -> list[Call]:
    """Return members, and the one in front if it changes the shape: a stage's first block often does."""
    at = next(i for i, call in enumerate(family) if call is members[0])
    before = family[at - 1] if at else None
    if before is None or not streams_of([before, members[0]]):
        return members
    is_alike = any(type(before.module) is type(call.module) for call in members)
    return [before, *members] if is_alike and not _is_stage(before, calls) else members


def _is_stage(call: Call, calls: Sequence[Call]) -> bool:
    """Return whether a call holds a chain of blocks."""
    inner = _alike(calls[call.number + 1 : call.end], same_shape=True)
    return any(streams_of(group) and all(c.carries or _attends(c, calls) for c in group) for group in inner)


def _are_blocks(group: Sequence[Call], calls: Sequence[Call]) -> bool:
    """Return whether each call is a block by itself, although something is mixed in between them."""
    if len({call.path for call in group}) < len(group) or len(group) < 2:
        return False
    if not all(call.carries for call in group) or _are_parallel(group):
        return False
    return all(not call.sources for call in group[1:]) or all(_is_full(call, calls) for call in group)


def _are_parallel(group: Sequence[Call]) -> bool:
    first = [call.given[0].number for call in group if call.given]
    return len(set(first)) < len(group)


def _is_full(call: Call, calls: Sequence[Call]) -> bool:
    """Return whether a call holds attention and, behind its projection, a feed-forward sublayer."""
    inside = calls[call.number : call.end]
    attention = max((c.attends_from for c in inside if c.attends_from is not None), default=None)
    return attention is not None and sum(is_linear(c.module) for c in calls[attention : call.end]) > 2


def _rounds(group: Sequence[Call]) -> Iterator[list[Call]]:
    """Yield the stretches of a group in which no module runs twice."""
    current: list[Call] = []
    for call in group:
        if any(call.path == other.path for other in current):
            yield current
            current = []
        current.append(call)
    yield current


def _alike(calls: Sequence[Call], same_shape: bool) -> list[list[Call]]:
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
        found.setdefault((call.parent, type(call.module), shape, pattern(call.path)), []).append(call)
    return [group for group in found.values() if len(group) > 1 and not _is_rerun(group)]


def _changing(calls: Sequence[Call], chained: list[_Group]) -> list[_Group]:
    """Return chains outside of others whose shapes change: the chain alone has to tell."""
    taken = [call for group in chained for call in group.calls]
    rest = [c for c in calls if not any(c is t or c.holds(t) or t.holds(c) for t in taken)]
    found = _outermost([_Group(group, streams_of(group)) for group in _alike(rest, same_shape=False)])
    return [group for group in found if group.streams]


def _unpacked(group: _Group, groups: list[_Group], calls: Sequence[Call], containers: Containers) -> _Group:
    """Return a group, or where its members are themselves stretches of full blocks these blocks."""
    parts = [_blocks_within(member, groups, calls, containers) for member in group.calls]
    if not all(parts):
        return group
    inner = [part for part in parts if part]
    unseen = [path for part in inner for path in part.unseen]
    return _Group([call for part in inner for call in part.calls], inner[0].streams, unseen=unseen)


def _blocks_within(
    member: Call, groups: list[_Group], calls: Sequence[Call], containers: Containers
) -> _Group | None:
    """Return the chain of blocks that a call is made of, be it with projections around; None if of none."""
    for group in groups:
        if group.streams and member.holds(group.calls[0]):
            full = sum(_is_full(call, calls) for call in group.calls)
            if full > 1 and (_spans(group, member) or full == len(group.calls)):
                return group
    chain = _chain_through(member, calls)
    if sum(_is_full(call, calls) for call in chain) > 1:
        return _Group(chain, MAIN)
    single = [
        call
        for call in calls[member.number + 1 : member.end]
        if call.carries
        and _is_full(call, calls)
        and containers.is_list(call.path)
        and len(_numbers(call.path)) > len(_numbers(member.path))
    ]
    return _Group(single, MAIN) if len(single) == 1 else None


def _chain_through(member: Call, calls: Sequence[Call]) -> list[Call]:
    """Return the calls, of modules of any names, that hand on what a call is given up to what it returns."""
    if not member.given or not member.returned:
        return []
    chain: list[Call] = []
    at = member.given[0].number
    for call in calls[member.number + 1 : member.end]:
        has_weights = next(call.module.parameters(), None) is not None
        if call.given and call.returned and call.given[0].number == at and has_weights:
            if chain and chain[-1].holds(call):
                continue
            if call.returned[0].number == member.returned[0].number and not chain:
                # Only a wrapper of all that there is.
                continue
            chain.append(call)
            at = call.returned[0].number
    return chain if at == member.returned[0].number else []


def _spans(group: _Group, member: Call) -> bool:
    """Return whether a chain of calls begins with what a call was given and ends with what it returned."""
    given = {each.number for each in member.given}
    returned = {each.number for each in member.returned}
    first, last = group.calls[0].given, group.calls[-1].returned
    return bool(first and last) and first[0].number in given and last[0].number in returned


def _lone(calls: Sequence[Call], containers: Containers) -> list[_Group]:
    """Return the only block of a model that has one, be it run once or again and again."""
    found = {
        group[0].path: _Group([group[0]], MAIN, is_merged=len(group) > 1)
        for group in reversed(_families(calls))
        if len({call.path for call in group}) == 1
        and _keeps_shape(group[0])
        and _attends(group[0], calls)
        and (containers.is_list(group[0].path) or len(group) > 1)
    }
    return [
        group for path, group in found.items() if not any(path.startswith(f"{above}.") for above in found)
    ]


def _dormant(calls: Sequence[Call], containers: Containers, stacks: Sequence[Stack]) -> Iterator[Stack]:
    """Yield the blocks in lists of which nothing has run so far, and that lie in no other block."""
    called = {above for call in calls for above in paths_above(call.path)}
    taken = {path for stack in stacks for block in stack.blocks for path in block.paths}
    found = [
        path for path in containers.stacks() if path not in called and taken.isdisjoint(paths_above(path))
    ]
    outer = [path for path in found if not any(path.startswith(f"{above}.") for above in found)]
    for path in outer:
        name = "" if len(outer) == 1 and not stacks else _word(path)
        yield Stack(name, tuple(Block((), each) for each in containers.blocks_in(path)))


def _word(path: str) -> str:
    """Return a path as one word of a tag."""
    return re.sub(r"[^a-z0-9_]", "_", path.lower())


def _strewn(calls: Sequence[Call], chained: list[_Group]) -> list[_Group]:
    """Return single blocks of the classes of others, elsewhere in the model, such as a U-Net's middle."""
    taken = [call for group in chained for call in group.calls]
    classes = {type(call.module) for call in taken}
    paths = {call.path for call in taken}
    found = [
        call
        for call in calls
        if type(call.module) in classes
        and call.path not in paths
        and call.carries
        and _attends(call, calls)
        and not any(call.holds(t) or t.holds(call) for t in taken)
    ]
    once = {call.path: call for call in reversed(found)}
    return [_Group([call], MAIN) for call in reversed(once.values())]


def _is_rerun(group: Sequence[Call]) -> bool:
    """Return whether one module only ran several times, each time on something new."""
    return len({call.path for call in group}) == 1 and not _is_chain(group)


def _outermost(groups: list[_Group]) -> list[_Group]:
    """Return the groups whose members lie in no member of another."""
    members = [call for group in groups for call in group.calls]
    return [group for group in groups if not any(member.holds(group.calls[0]) for member in members)]


def _is_chain(group: Sequence[Call]) -> bool:
    return all(one.number in other.sources for one, other in pairwise(group))


def _stretches(calls: Sequence[Call], loose: list[list[Call]], containers: Containers) -> list[list[Block]]:
    """Return the blocks of every caller whose branches are attentions."""
    callers = dict.fromkeys(
        group[0].parent for group in loose if any(_attends(call, calls) for call in group)
    )
    cut = [list(_cut([c for c in calls if c.parent == caller], calls)) for caller in callers]
    return [_with_missing(blocks, calls, containers) for blocks in cut]


def _with_missing(blocks: list[Block], calls: Sequence[Call], containers: Containers) -> list[Block]:
    """Return stretches, with a block without calls for each attention like theirs that did not run.

    What lies between two attentions may then be another block's: only they, and their norms, are known.
    """
    attentions = {call.path: block for block in blocks for call in block.calls if _attends(call, calls)}
    makes = {(pattern(path), type(containers.modules[path])) for path in attentions}
    alike = [path for path, module in containers.modules.items() if (pattern(path), type(module)) in makes]
    if all(path in attentions for path in alike):
        return blocks
    return [
        Block(_up_to(path, attentions[path].calls), attentions[path].path)
        if path in attentions
        else Block((), path)
        for path in alike
    ]


def _up_to(path: str, calls: tuple[Call, ...]) -> tuple[Call, ...]:
    return calls[: next(i for i, call in enumerate(calls) if call.path == path) + 1]


def _cut(children: list[Call], calls: Sequence[Call]) -> Iterator[Block]:
    starts = [_start(children, i) for i, call in enumerate(children) if _attends(call, calls)]
    ends = [*starts[1:], len(children)]
    sizes = [end - start for start, end in zip(starts, ends, strict=True)]
    for start, size in zip(starts, sizes, strict=True):
        # What follows the last block, such as a final norm, is no part of it.
        stretch = tuple(children[start : start + min(size, sizes[0])])
        yield Block(stretch, stretch[0].path)


def _start(children: list[Call], i: int) -> int:
    return i - 1 if i and is_norm(children[i - 1].module) else i


def _attends(call: Call, calls: Sequence[Call]) -> bool:
    return any(c.attends_from is not None for c in calls[call.number : call.end])


def _named(groups: list[_Group], stretches: list[list[Block]], calls: Sequence[Call]) -> tuple[Stack, ...]:
    """Return stacks with names; modules that ran as a stack more than once are one."""
    found = [_as_stack(group) for group in groups]
    found += [Stack("", tuple(blocks)) for blocks in stretches if len(blocks) > 1]
    by_modules: dict[tuple[str, ...], Stack] = {}
    for stack in sorted(found, key=lambda stack: stack.start):
        key = tuple(sorted({path for block in stack.blocks for path in block.paths}))
        by_modules[key] = _joined(by_modules[key], stack) if key in by_modules else stack
    stacks = [_settled(stack, calls) for stack in by_modules.values()]
    # A single block is no stack that others would have to be told from.
    several = [stack for stack in stacks if len(stack.blocks) > 1] or stacks
    prefixes = [_container(stack.blocks[0].path) for stack in several]
    names = [""] if len(several) == 1 else _distinct(prefixes)
    by_start = {stack.start: name for stack, name in zip(several, names, strict=True)}
    single = (_word(stack.blocks[0].path) for stack in stacks)
    return tuple(
        replace(stack, name=by_start.get(stack.start, own)) for stack, own in zip(stacks, single, strict=True)
    )


def _as_stack(group: _Group) -> Stack:
    return Stack("", tuple(_ordered(group)), group.streams, group.is_merged)


def _joined(first: Stack, second: Stack) -> Stack:
    """Return as one what the same modules did as a stack twice: each block as it ran first."""
    is_merged = first.is_merged or first.calls[0].parent == second.calls[0].parent
    if len({len(stack.blocks) for stack in (first, second)}) > 1:
        # They ran round after round, and not as many each time.
        longer = max(first, second, key=lambda stack: len(stack.blocks))
        return replace(longer, is_merged=is_merged)
    pairs = zip(first.blocks, second.blocks, strict=True)
    return replace(first, blocks=tuple(a if a.calls else b for a, b in pairs), is_merged=is_merged)


def _ordered(group: _Group) -> list[Block]:
    """Return the blocks of a group as they ran; where some did not, by their numbers."""
    blocks = [Block((call,), call.path) for call in group.calls]
    if not group.unseen:
        return blocks
    numbers = [_numbers(call.path) for call in group.calls]
    runs_down = len(numbers) > 1 and all(one > other for one, other in pairwise(numbers))
    unseen = [Block((), path) for path in group.unseen]
    return sorted([*blocks, *unseen], key=lambda block: _numbers(block.path), reverse=runs_down)


def _numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


def _settled(stack: Stack, calls: Sequence[Call]) -> Stack:
    """Return a stack whose calls know their turns; where nobody counts them each module is one block."""
    caller = _common_caller(stack.calls, calls)
    paths = [call.path for call in stack.calls]
    if caller is None or stack.is_merged:
        once = {block.path: block for block in reversed(stack.blocks)}
        is_merged = stack.is_merged or len(set(paths)) < len(paths)
        return replace(stack, blocks=tuple(reversed(once.values())), is_merged=is_merged)
    for forward in calls:
        members = [call for call in stack.calls if forward.holds(call)]
        if forward.path == caller.path and members:
            _give_turns(forward, members, calls)
    return stack


def _give_turns(forward: Call, members: Sequence[Call], calls: Sequence[Call]) -> None:
    """Number the calls of each module from the first member to the last, among all within one forward."""
    by_path: dict[str, list[int]] = {}
    for call in calls[forward.number + 1 : forward.end]:
        by_path.setdefault(call.path, []).append(call.number)
    for call in calls[members[0].number : members[-1].end]:
        same = by_path[call.path]
        call.turn = (same.index(call.number), len(same))
        call.caller = forward.path


def _common_caller(members: Sequence[Call], calls: Sequence[Call]) -> Call | None:
    """Return the innermost call during which all of some calls were made, or another one of its module."""
    above = members[0].parent
    while above is not None and not all(
        calls[above].holds(call) or _ran_again(calls[above], call, calls) for call in members
    ):
        above = calls[above].parent
    return None if above is None else calls[above]


def _ran_again(caller: Call, member: Call, calls: Sequence[Call]) -> bool:
    """Return whether a call was made during another forward of a caller's module."""
    above = member.parent
    while above is not None and calls[above].path != caller.path:
        above = calls[above].parent
    return above is not None


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
        names.append(_word(name) or f"stack{i}")
    repeated = {name for name in names if names.count(name) > 1}
    return [f"{name}{i}" if name in repeated else name for i, name in enumerate(names)]
