"""Sites, parameter groups and norm gains of a model whose modules carry names of their own."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType

from torch import nn

from stabilitykit.observe.calls import Call
from stabilitykit.observe.heads import HeadFinder, head_of
from stabilitykit.observe.kinds import gain_name, is_linear, is_norm
from stabilitykit.observe.parts import Branch, Parts, parts_of
from stabilitykit.observe.site import Layout, Role, Router, Site
from stabilitykit.observe.stacks import Block, Stack, find_stacks
from stabilitykit.tags import block_site

_MAX_LOOSE_SITES = 64


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
    stacks = find_stacks(calls, watched)
    blocks = [
        (f"{stack.name}.{block_site(i, len(stack.blocks))}".lstrip("."), block)
        for stack in stacks
        for i, block in enumerate(stack.blocks)
    ]
    parts = {name: parts_of(block, calls) for name, block in blocks}
    ends = _ends(calls, stacks)
    behind = max((stack.end for stack in stacks), default=0)
    head, dim, told = head_of(model, _outside(calls, stacks), behind, heads)
    named = [(name, call) for name, block in blocks for call in block.calls]
    last = head or _last_linear(_outside(calls, stacks), behind)
    named += [*ends.items(), *([("head", last)] if last else [])]
    sites = [site for name, block in blocks for site in _block_sites(name, block, parts[name])]
    sites += [site for name, call in ends.items() for site in _end_sites(name, call)]
    if head:
        sites.append(Site("head.logits", head.path, Role.LOGITS, dim=dim))
    if not stacks:
        sites = [*_loose_sites(calls), *(site for site in sites if site.role is Role.LOGITS)]
    return Layout(
        tuple(dict.fromkeys(sites)),
        _groups(model, calls, stacks, named),
        MappingProxyType(dict(_gains(parts, ends))),
        (*_notes(stacks, parts, watched), *([told] if told else [])),
        MappingProxyType(dict(_hidden(parts))),
        MappingProxyType(dict(_routers(blocks, calls))),
    )


def bare_layout(model: nn.Module, why: str) -> Layout:
    """Return a layout without sites, for a model that could not be looked into.

    Args:
        model: The model, for its groups of parameters.
        why: What is said of it in the coverage report.
    """
    return Layout((), _groups(model, (), (), ()), MappingProxyType({}), (why,))


def _block_sites(name: str, block: Block, parts: Parts) -> Iterator[Site]:
    """Yield a block's sites in forward order."""
    first = block.calls[0]
    yield _site(f"{name}.resid_pre", first, "input")
    found = [each for branch in parts.branches for each in _branch_sites(name, branch)]
    for norm, call in parts.norms.items():
        if norm == "mlp_norm" and parts.reads_line(call):
            found.append((call.number, _site(f"{name}.resid_mid", call, "input")))
        found.append((call.number, _site(f"{name}.{norm}_in", call, "input")))
        found.append((call.end - 0.5, _site(f"{name}.{norm}_out", call)))
    yield from (site for _, site in sorted(found, key=lambda each: each[0]))
    if block.whole:
        yield _site(f"{name}.resid_post", block.whole)


def _hidden(parts: dict[str, Parts]) -> Iterator[tuple[str, str]]:
    """Yield the site of each feed-forward's hidden units, and the module that they enter."""
    for name, each in parts.items():
        for branch in each.branches:
            if branch.last:
                yield f"{name}.mlp_hidden", branch.last.path


def _routers(blocks: Sequence[tuple[str, Block]], calls: Sequence[Call]) -> Iterator[tuple[str, Router]]:
    """Yield the routers in each block; a second one of a block carries its number."""
    for name, block in blocks:
        inside = [call for top in block.calls for call in calls[top.number : top.end]]
        found = [(call.path, call.choices.router) for call in inside if call.choices.router]
        for i, (path, router) in enumerate(found):
            yield name + f".router{i}" * (i > 0), replace(router, module=path)


def _branch_sites(name: str, branch: Branch) -> Iterator[tuple[float, Site]]:
    """Yield the sites of a branch, each with when it is seen: before that call begins."""
    if branch.name != "mlp":
        suffix = "" if branch.name == "attn" else f".{branch.name}"
        yield branch.first, _site(f"{name}{suffix}", branch.owner, role=Role.ATTENTION)
    if branch.out:
        yield branch.out.end - 0.5, _site(f"{name}.{branch.name}_out", branch.out)


def _site(name: str, call: Call, side: str = "output", role: Role = Role.ACTIVATION) -> Site:
    return Site(name, call.path, role, side, *call.turn)


def _ends(calls: Sequence[Call], stacks: Sequence[Stack]) -> dict[str, Call]:
    """Return each stack's last norm."""
    outside = _outside(calls, stacks)
    found: dict[str, Call] = {}
    for stack in stacks:
        last = stack.blocks[-1].calls[-1]
        behind = (c for c in outside if c.number >= last.end and (is_norm(c.module) or is_linear(c.module)))
        norm = next(behind, None)
        if norm and is_norm(norm.module) and norm.shape_in == stack.blocks[-1].calls[0].shape_in:
            found[f"{stack.name}.final_norm".lstrip(".")] = norm
    return found


def _last_linear(outside: Sequence[Call], start: int) -> Call | None:
    """Return the last matrix behind all blocks, whose parameters are called head even where it is none."""
    last = next((c for c in reversed(outside) if c.number >= start and is_linear(c.module)), None)
    if last and (last.shape_out is None or (len(last.shape_out) > 1 and last.shape_out[-1] > 1)):
        return last
    return None


def _outside(calls: Sequence[Call], stacks: Sequence[Stack]) -> list[Call]:
    tops = [call for stack in stacks for block in stack.blocks for call in block.calls]
    # By path, not by number: a critic that runs on real and on made data is one module.
    inside = {call.path for call in tops}
    return [call for call in calls if not inside.intersection(_upward(call.path))]


def _upward(path: str) -> Iterator[str]:
    """Yield a path and all those above it."""
    parts = path.split(".")
    return (".".join(parts[:n]) for n in range(len(parts), 0, -1))


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
    model: nn.Module, calls: Sequence[Call], stacks: Sequence[Stack], named: Sequence[tuple[str, Call]]
) -> MappingProxyType[str, tuple[str, ...]]:
    """Return trainable parameters by block and last norm, by what ran before and after them, else by module.

    Args:
        model: The model.
        calls: All calls.
        stacks: The stacks of blocks.
        named: Calls whose parameters are a group of that name.
    """
    owners = {call.path: name for name, call in reversed(named)}
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
    if not stacks:
        return found
    first, last = min(stack.start for stack in stacks), max(stack.end for stack in stacks)
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


def _gains(parts: dict[str, Parts], ends: dict[str, Call]) -> Iterator[tuple[str, str]]:
    """Yield every norm that has a gain, and that parameter's name."""
    norms = [
        (f"{name}.{norm}", call) for name, each in parts.items() for norm, call in each.all_norms.items()
    ]
    norms += ends.items()
    for name, call in norms:
        gain = gain_name(call.module)
        if gain is not None:
            yield name, f"{call.path}.{gain}".lstrip(".")


def _notes(stacks: Sequence[Stack], parts: dict[str, Parts], watched: bool) -> Iterator[str]:
    if not watched:
        yield "the model was not seen running outside a compiled graph: sites are taken from its structure"
    if not stacks:
        yield "no repeated blocks: the outputs of the innermost modules are watched"
    elif not any(each.branches for each in parts.values()):
        yield "no attention was seen in the blocks"
    if any(block.whole is None for stack in stacks for block in stack.blocks):
        yield "the residual line is read in front of the norms: no module carries it whole"


def _words(path: str) -> str:
    """Return a module's path in the alphabet of tags."""
    return re.sub(r"[^a-z0-9_.]", "_", path.lower()).strip(".")
