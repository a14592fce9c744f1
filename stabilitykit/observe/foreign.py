"""Sites, parameter groups and norm gains of a model whose modules carry names of their own."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from torch import nn

from stabilitykit.observe.call import Call
from stabilitykit.observe.containers import Containers, paths_above
from stabilitykit.observe.heads import HeadFinder, head_of
from stabilitykit.observe.kinds import gain_name, is_linear, is_norm
from stabilitykit.observe.links import Stream
from stabilitykit.observe.parts import Branch, Parts, parts_of
from stabilitykit.observe.site import Layout, Role, Router, Site
from stabilitykit.observe.stacks import Block, Stack, find_stacks
from stabilitykit.observe.unseen import Found, named_blocks, stack_notes, with_unseen

_MAX_LOOSE_SITES = 64
_T = TypeVar("_T")


def layout_of(
    model: nn.Module, calls: Sequence[Call], watched: bool = True, heads: HeadFinder | None = None
) -> Layout:
    """Return what there is to watch in a model, from the calls of one forward pass.

    Sites carry the names of our own blocks where their role is known, and else their module's path.

    Args:
        model: The model.
        calls: The calls.
        watched: Whether they were observed, rather than assumed from the modules' order.
        heads: What the loss was seen to take for logits.
    """
    containers = Containers(model)
    stacks = find_stacks(calls, containers, watched)
    seen = [found for stack in stacks for found in _looked_at(stack, calls)]
    blocks = [each for stack in stacks for each in with_unseen(stack, seen, containers)]
    ends = _ends(calls, stacks)
    outside = _outside(calls, stacks)
    behind = max((stack.end for stack in stacks if stack.has_run), default=0)
    head, dim, told = head_of(model, outside, behind, heads)
    last = head or _last_linear(outside, behind)
    named = [(each.name, path) for each in blocks for path in each.paths]
    named += [(name, call.path) for name, call in ends.items()]
    named += [("head", last.path)] if last else []
    sites = [site for each in blocks for site in each.sites]
    sites += [site for name, call in ends.items() for site in _end_sites(name, call)]
    sites += [Site("head.logits", head.path, Role.LOGITS, dim=dim)] if head else []
    if not any(stack.has_run for stack in stacks):
        sites = [*_loose_sites(calls), *sites]
    return Layout(
        tuple(dict.fromkeys(sites)),
        _groups(model, calls, stacks, named),
        MappingProxyType({**_joined(each.gains for each in blocks), **dict(_gains(ends.items()))}),
        (*_notes(stacks, blocks, watched), *([told] if told else [])),
        MappingProxyType(_joined(each.hidden for each in blocks)),
        MappingProxyType(dict(_routers(stacks, calls))),
    )


def bare_layout(model: nn.Module, why: str) -> Layout:
    """Return a layout without sites, for a model that could not be looked into.

    Args:
        model: The model, for its groups of parameters.
        why: What is said of it in the coverage report.
    """
    return Layout((), _groups(model, (), (), ()), MappingProxyType({}), (why,))


def _looked_at(stack: Stack, calls: Sequence[Call]) -> Iterator[Found]:
    """Yield what is to be watched in the blocks of a stack that ran."""
    for name, block in named_blocks(stack):
        if not block.calls:
            continue
        parts = parts_of(block, calls, stack.streams)
        norms = ((f"{name}.{norm}", call) for norm, call in parts.all_norms.items())
        hidden = (branch for branch in parts.branches if branch.last)
        yield Found(
            name,
            block.path,
            tuple(call.path for call in block.calls),
            tuple(_block_sites(name, block, parts, stack.streams)),
            dict(_gains(norms)),
            {
                f"{name}.mlp_hidden": _site(f"{name}.mlp_hidden", branch.last, "input")
                for branch in hidden
                if branch.last
            },
        )


def _joined(parts: Iterable[Mapping[str, _T]]) -> dict[str, _T]:
    return {name: value for part in parts for name, value in part.items()}


def _block_sites(name: str, block: Block, parts: Parts, streams: Sequence[Stream]) -> Iterator[Site]:
    """Yield a block's sites in forward order."""
    yield from _stream_sites(name, "resid_pre", block.calls[0], streams)
    found = [each for branch in parts.branches for each in _branch_sites(name, branch)]
    for norm, call in parts.norms.items():
        if norm == "mlp_norm" and parts.reads_line(call):
            found.append((call.number, _site(f"{name}.resid_mid", call, "input")))
        found.append((call.number, _site(f"{name}.{norm}_in", call, "input")))
        found.append((call.end - 0.5, _site(f"{name}.{norm}_out", call)))
    yield from (site for _, site in sorted(found, key=lambda each: each[0]))
    if block.whole:
        yield from _stream_sites(name, "resid_post", block.whole, streams)


def _stream_sites(name: str, end: str, call: Call, streams: Sequence[Stream]) -> Iterator[Site]:
    """Yield the sites of the streams in front of a block or behind it."""
    for stream in streams:
        tag = ".".join(part for part in (name, stream.name, end) if part)
        if end == "resid_pre":
            yield replace(_site(tag, call, "input"), place=stream.given)
        else:
            yield replace(_site(tag, call), place=stream.returned)


def _routers(stacks: Sequence[Stack], calls: Sequence[Call]) -> Iterator[tuple[str, Router]]:
    """Yield the routers in each block; a second one of a block carries its number."""
    for name, block in (each for stack in stacks for each in named_blocks(stack)):
        inside = [call for top in block.calls for call in calls[top.number : top.end]]
        found = [(call.path, call.choices.router) for call in inside if call.choices.router]
        for i, (path, router) in enumerate(found):
            yield name + f".router{i}" * (i > 0), replace(router, module=path)


def _branch_sites(name: str, branch: Branch) -> Iterator[tuple[float, Site]]:
    """Yield the sites of a branch, each with when it is seen: before that call begins."""
    if branch.attends:
        suffix = "" if branch.name == "attn" else f".{branch.name}"
        yield branch.first, _site(f"{name}{suffix}", branch.owner, role=Role.ATTENTION)
    if branch.out:
        yield branch.out.end - 0.5, _site(f"{name}.{branch.name}_out", branch.out)


def _site(name: str, call: Call, side: str = "output", role: Role = Role.ACTIVATION) -> Site:
    return Site(name, call.path, role, side, *call.turn, call.caller)


def _ends(calls: Sequence[Call], stacks: Sequence[Stack]) -> dict[str, Call]:
    """Return each stack's last norm."""
    outside = _outside(calls, stacks)
    found: dict[str, Call] = {}
    for stack in stacks:
        if not stack.has_run:
            continue
        last = stack.calls[-1]
        behind = (c for c in outside if c.number >= last.end and (is_norm(c.module) or is_linear(c.module)))
        norm = next(behind, None)
        if norm and is_norm(norm.module) and norm.shape_in in _line_shapes(stack):
            found[f"{stack.name}.final_norm".lstrip(".")] = norm
    return found


def _line_shapes(stack: Stack) -> set[tuple[int, ...] | None]:
    first = stack.calls[0]
    return {first.shape_in, *(each.shape for each in first.given if stack.streams[0].given == each.place)}


def _last_linear(outside: Sequence[Call], start: int) -> Call | None:
    """Return the last matrix behind all blocks, whose parameters are called head even where it is none."""
    last = next((c for c in reversed(outside) if c.number >= start and is_linear(c.module)), None)
    if last and (last.shape_out is None or (len(last.shape_out) > 1 and last.shape_out[-1] > 1)):
        return last
    return None


def _outside(calls: Sequence[Call], stacks: Sequence[Stack]) -> list[Call]:
    # By path, not by number: a critic that runs on real and on made data is one module.
    inside = {path for stack in stacks for block in stack.blocks for path in block.paths}
    return [call for call in calls if not inside.intersection(paths_above(call.path))]


def _end_sites(name: str, call: Call) -> Iterator[Site]:
    yield _site(f"{name}_in", call, "input")
    yield _site(f"{name}_out", call)


def _loose_sites(calls: Sequence[Call]) -> list[Site]:
    """Return the outputs of a model's innermost modules with weights, for want of blocks."""
    leaves = [
        call
        for call in calls
        if not any(call.module.children()) and next(call.module.parameters(), None) is not None
    ]
    return [_site(f"{_words(call.path)}.out", call) for call in leaves[:_MAX_LOOSE_SITES]]


def _groups(
    model: nn.Module, calls: Sequence[Call], stacks: Sequence[Stack], named: Sequence[tuple[str, str]]
) -> MappingProxyType[str, tuple[str, ...]]:
    """Return trainable parameters by block and last norm, by what ran before and after them, else by module.

    Args:
        model: The model.
        calls: All calls.
        stacks: The stacks of blocks.
        named: Groups, and paths of the modules whose parameters they hold.
    """
    owners = {path: name for name, path in reversed(named)}
    owners |= {path: name for path, name in _around(model, calls, stacks).items() if path not in owners}
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    root = _common_root([name.rpartition(".")[0] for name in names])
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_group(name, owners, root), []).append(name)
    order = {group: i for i, group in enumerate(dict.fromkeys(("embed", *(name for name, _ in named))))}
    ordered = sorted(groups, key=lambda group: order.get(group, len(order)))
    return MappingProxyType({group: tuple(groups[group]) for group in ordered})


def _around(model: nn.Module, calls: Sequence[Call], stacks: Sequence[Stack]) -> dict[str, str]:
    """Return ``embed`` or ``head`` by the path of modules that ran before or after all blocks."""
    found = {path: "embed" for path, module in model.named_modules() if isinstance(module, nn.Embedding)}
    if not any(stack.has_run for stack in stacks):
        return found
    ran = [stack for stack in stacks if stack.has_run]
    first, last = min(stack.start for stack in ran), max(stack.end for stack in ran)
    for call in _outside(calls, stacks):
        if call.end <= first:
            found.setdefault(call.path, "embed")
        elif call.number >= last:
            found.setdefault(call.path, "head")
    return found


def _group(parameter: str, owners: dict[str, str], root: str) -> str:
    above = parameter.rpartition(".")[0]
    while above:
        if above in owners:
            return owners[above]
        above = above.rpartition(".")[0]
    below = parameter.removeprefix(root).lstrip(".")
    return _words(below.partition(".")[0]) or "model"


def _common_root(paths: Sequence[str]) -> str:
    split = [path.split(".") for path in paths]
    shared: list[str] = []
    for level in zip(*split, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return ".".join(shared)


def _gains(norms: Iterable[tuple[str, Call]]) -> Iterator[tuple[str, str]]:
    """Yield every norm that has a gain, and that parameter's name."""
    for name, call in norms:
        gain = gain_name(call.module) if is_norm(call.module) else None
        if gain is not None:
            yield name, f"{call.path}.{gain}".lstrip(".")


def _notes(stacks: Sequence[Stack], blocks: Sequence[Found], watched: bool) -> Iterator[str]:
    if not watched:
        yield "the model was not seen running outside a compiled graph: sites are taken from its structure"
    if not any(stack.has_run for stack in stacks):
        yield "no repeated blocks: the outputs of the innermost modules are watched"
    elif not any(site.role is Role.ATTENTION for each in blocks for site in each.sites):
        yield "no attention was seen in the blocks"
    if any(len(block.calls) > 1 for stack in stacks for block in stack.blocks):
        yield "the residual stream is read in front of the norms: no module carries it whole"
    yield from (note for stack in stacks for note in stack_notes(stack))


def _words(path: str) -> str:
    """Return a module's path in the alphabet of tags."""
    return re.sub(r"[^a-z0-9_.]", "_", path.lower()).strip(".")
