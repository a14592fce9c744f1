"""Name what a block is made of: its attention, feed-forward and norms, in the words of our own blocks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stabilitykit.observe.call import Call
from stabilitykit.observe.kinds import holds_matrices, is_linear, is_norm
from stabilitykit.observe.links import MAIN, Stream
from stabilitykit.observe.stacks import Block


@dataclass(frozen=True, slots=True)
class Branch:
    """What a block adds to its stream."""

    name: str
    """``attn``, ``cross_attn`` or ``mlp``; in a block without attention also the module's own."""
    owner: Call
    """The module that computes it; the block's own call where no module of the block does alone."""
    calls: tuple[Call, ...]
    """The owner, or where that is the block the matrices between which it is computed."""
    out: Call | None
    """Whose output is added; None where that is not known."""
    last: Call | None = None
    """Its last matrix, which a feed-forward's hidden units enter; None of attention."""
    attends: bool = False
    """Whether it computes attention."""

    @property
    def first(self) -> int:
        """Number of its first call."""
        return self.calls[0].number

    @property
    def end(self) -> int:
        """How many calls had begun when it ended."""
        return max(call.end for call in (*self.calls, *([self.out] if self.out else [])))

    def holds(self, call: Call) -> bool:
        """Return whether a call is a part of the branch."""
        return any(each.holds(call) or each is call for each in (*self.calls, self.out) if each)


@dataclass(frozen=True, slots=True)
class Parts:
    """What was recognised in a block."""

    branches: tuple[Branch, ...] = ()
    """In the order in which they ran."""
    norms: Mapping[str, Call] = field(default_factory=dict)
    """The norms on the block's line and branches, by name."""
    inner_norms: Mapping[str, Call] = field(default_factory=dict)
    """The norms inside a branch, such as those of queries and keys."""

    @property
    def all_norms(self) -> dict[str, Call]:
        """All of them."""
        return {**self.norms, **self.inner_norms}

    def reads_line(self, norm: Call) -> bool:
        """Return whether a norm reads the stream between attention and feed-forward, of a pre-norm block."""
        names = [branch.name for branch in self.branches]
        if names != ["attn", "mlp"] or "attn_norm" not in self.norms:
            return False
        attn, mlp = self.branches
        is_pre_norm = self.norms["attn_norm"].number < attn.first
        return is_pre_norm and attn.end <= norm.number < mlp.first


def parts_of(block: Block, calls: Sequence[Call], streams: Sequence[Stream] = MAIN) -> Parts:
    """Return the parts of a block.

    Attention is the module that computed one; the feed-forward sublayer is what holds the last matrix outside
    of it. A block without attention has neither name.

    Args:
        block: The block.
        calls: All calls of the forward pass.
        streams: What runs through the block. Of several, only what is added to the main one has a role.
    """
    inside = _calls_of(block, calls)
    norms = _outermost_norms(inside)
    attentions = list(_attentions(block, inside, calls))
    if not attentions:
        return Parts(tuple(_added(block, inside)), _by_leaf(norms, block))
    if len(streams) > 1:
        return _of_streams(block, inside, attentions, calls, norms, streams[0])
    mlp = _feed_forward(block, inside, attentions, calls)
    branches = sorted([*attentions, *([mlp] if mlp else [])], key=lambda branch: branch.first)
    inner = {f"{b.name}.{_leaf(call)}": call for b in branches for call in norms if b.holds(call)}
    outer = [call for call in norms if not any(branch.holds(call) for branch in branches)]
    return Parts(tuple(branches), _named_norms(outer, branches), inner)


def _added(block: Block, inside: list[Call]) -> Iterator[Branch]:
    """Yield the modules of a block without attention that add to its stream: mixer and feed-forward."""
    if block.whole is None or not block.whole.returned:
        return
    terms = block.whole.returned[0].terms
    found = [
        call
        for call in inside
        if call.parent == block.whole.number
        and call.shape_out == block.whole.shape_out
        and call.returned[0].number in terms
        and call.returned[0].number not in {each.number for each in block.whole.given}
        and any(call.module.children())
        and next(call.module.parameters(), None) is not None
    ]
    for i, call in enumerate(found):
        yield Branch("mlp" if (i, len(found)) == (1, 2) else _leaf(call), call, (call,), call)


def _of_streams(
    block: Block,
    inside: list[Call],
    attentions: list[Branch],
    calls: Sequence[Call],
    norms: list[Call],
    main: Stream,
) -> Parts:
    """Return the parts of a block of several streams: what is known to be added to the main one."""
    line = next((each for each in block.calls[0].returned if main.returned in ((), each.place)), None)
    terms = line.terms if line else frozenset()

    def adds(call: Call | None) -> bool:
        return call is not None and any(each.number in terms for each in call.returned[:1])

    # The next matrix behind an attention may be the other stream's.
    branches = [
        branch if branch.out is branch.owner or adds(branch.out) else replace(branch, out=None)
        for branch in attentions
    ]
    ends = [call.end for call in inside if adds(call)]
    own = [call for call in inside if call.number < max(ends, default=0)]
    mlp = _feed_forward(block, own, attentions, calls)
    if mlp is not None and adds(mlp.out):
        branches.append(mlp)
    return Parts(tuple(branches), _by_leaf(norms, block))


def _by_leaf(norms: list[Call], block: Block) -> dict[str, Call]:
    """Return norms by their own names; of several of one name the others by the path within the block."""
    found = {_leaf(call): call for call in norms}
    kept = {call.number for call in found.values()}
    prefix = f"{block.path}."
    return found | {
        call.path.removeprefix(prefix).replace(".", "_").lower(): call
        for call in norms
        if call.number not in kept and call.path not in {each.path for each in found.values()}
    }


def _outermost_norms(inside: list[Call]) -> list[Call]:
    """Return the norms that are no part of another."""
    norms = [call for call in inside if is_norm(call.module)]
    return [call for call in norms if not any(other.holds(call) for other in norms)]


def _calls_of(block: Block, calls: Sequence[Call]) -> list[Call]:
    """Return every call made in a block but its own."""
    if block.whole:
        return list(calls[block.whole.number + 1 : block.whole.end])
    return [call for top in block.calls for call in calls[top.number : top.end]]


def _attentions(block: Block, inside: list[Call], calls: Sequence[Call]) -> Iterator[Branch]:
    owners: dict[int, tuple[Call, int]] = {}
    for call in [*block.calls[:1], *inside]:
        if call.attends_from is not None:
            owner = _widened(_with_weights(call, calls), inside, calls)
            owners.setdefault(owner.number, (owner, call.attends_from))
    names = ("attn", "cross_attn", *(f"attn{i}" for i in range(2, len(owners))))
    for name, (owner, attends_from) in zip(names, owners.values(), strict=False):
        if owner is block.whole:
            out = _next_linear(attends_from, inside)
            matrices = [*_linears_before(attends_from, inside), *([out] if out else [])]
            yield Branch(name, owner, tuple(matrices) or (owner,), out, attends=True)
            continue
        projected = any(is_linear(call.module) for call in calls[attends_from : owner.end])
        # Where the module ends before its output projection, that is the next matrix up to a norm.
        out = owner if projected else _next_linear(owner.end, inside) or owner
        yield Branch(name, owner, (owner,), out, attends=True)


def _with_weights(call: Call, calls: Sequence[Call]) -> Call:
    while next(call.module.parameters(), None) is None and call.parent is not None:
        call = calls[call.parent]
    return call


def _widened(
    call: Call, inside: list[Call], calls: Sequence[Call], line: tuple[int, ...] | None = None
) -> Call:
    """Return the largest module of the block around a call that adds no norm and no attention to it.

    It gives what the call gives, or where a line's shape is known such a shape: an expert has few tokens.
    """
    numbers = {each.number for each in inside}
    while call.parent in numbers:
        parent = calls[call.parent]
        more = [c for c in calls[parent.number : parent.end] if not call.holds(c) and c is not call]
        added = any(is_norm(c.module) or c.attends_from is not None for c in more)
        if added or parent.shape_out not in (call.shape_out, line):
            break
        call = parent
    return call


def _next_linear(start: int, inside: list[Call]) -> Call | None:
    """Return the first matrix from a call on, up to the next norm."""
    after = (c for c in inside if c.number >= start and (is_linear(c.module) or is_norm(c.module)))
    found = next(after, None)
    return found if found and is_linear(found.module) else None


def _linears_before(end: int, inside: list[Call]) -> list[Call]:
    """Return the matrices in front of a call, back to the last norm."""
    before = [call for call in inside if call.number < end]
    last_norm = max((call.number for call in before if is_norm(call.module)), default=-1)
    return [call for call in before if call.number > last_norm and is_linear(call.module)]


def _feed_forward(
    block: Block, inside: list[Call], attentions: list[Branch], calls: Sequence[Call]
) -> Branch | None:
    outside = [call for call in inside if not any(branch.holds(call) for branch in attentions)]
    matrices = [call for call in outside if is_linear(call.module)]
    experts = [call for call in outside if holds_matrices(call.module)]
    if not experts:
        return None
    # Packed experts hold matrices of their own, in place of linear layers.
    last = experts[-1]
    if not matrices or (last.number > matrices[-1].number and not any(m.holds(last) for m in matrices)):
        owner = _widened(last, inside, calls, block.calls[0].shape_in)
        return Branch("mlp", owner, (owner,), owner) if owner.shape_out is not None else None
    owner = _widened(matrices[-1], inside, calls, block.calls[0].shape_in)
    if owner is not matrices[-1]:
        return Branch("mlp", owner, (owner,), owner, matrices[-1])
    return Branch("mlp", owner, tuple(matrices), owner, owner)


def _named_norms(norms: list[Call], branches: list[Branch]) -> dict[str, Call]:
    """Return each norm under the name it has in our blocks: its branch's, with ``_out`` for a second one."""
    found: dict[str, Call] = {}
    for i, branch in enumerate(branches):
        start = branches[i - 1].end if i else 0
        stop = branches[i + 1].first if i + 1 < len(branches) else None
        free = [norm for norm in norms if norm not in found.values()]
        own = [norm for norm in free if start <= norm.number < branch.first][:1]
        behind = [norm for norm in free if norm.number >= branch.end and (stop is None or norm.number < stop)]
        # A single norm between two branches belongs to the first only if that has none yet.
        if behind and (not own or len(behind) > 1 or stop is None):
            own = [*own, behind[0]]
        found |= dict(zip((f"{branch.name}_norm", f"{branch.name}_out_norm"), own, strict=False))
    return found


def _leaf(call: Call) -> str:
    return call.path.rpartition(".")[2].lower()
