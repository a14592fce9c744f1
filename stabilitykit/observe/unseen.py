"""Blocks that the forward pass which was looked at skipped: what they are is taken from their like."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stabilitykit.observe.containers import Containers
from stabilitykit.observe.site import Role, Site
from stabilitykit.observe.stacks import Block, Stack
from stabilitykit.tags import block_site


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be watched in a block."""

    name: str
    path: str
    """Path of its module; of a stretch of calls that of the first one."""
    paths: tuple[str, ...]
    """Paths of all modules that are the block."""
    sites: tuple[Site, ...]
    """In forward order."""
    gains: Mapping[str, str]
    """Names of gain parameters by norm."""
    hidden: Mapping[str, Site]
    """What a feed-forward's hidden units enter, by name."""


def named_blocks(stack: Stack) -> Iterator[tuple[str, Block]]:
    """Yield the blocks of a stack with their names."""
    for i, block in enumerate(stack.blocks):
        yield f"{stack.name}.{block_site(i, len(stack.blocks))}".lstrip("."), block


def with_unseen(stack: Stack, seen: Sequence[Found], containers: Containers) -> Iterator[Found]:
    """Yield all blocks of a stack in order: those seen, and between them those that did not run.

    Args:
        stack: The stack.
        seen: What was found in the blocks that ran, of all stacks.
        containers: The modules of the model.
    """
    are_whole = all(block.whole or not block.calls for block in stack.blocks)
    by_name = {found.name: found for found in seen}
    own = [by_name[name] for name, _ in named_blocks(stack) if name in by_name]
    for name, block in named_blocks(stack):
        if block.calls:
            yield by_name[name]
            continue
        if not are_whole:
            # A branch off a stream: no module carries the stream itself.
            yield Found(name, block.path, block.paths, (), {}, {})
            continue
        make = containers.make(block.path)
        like = next((found for found in (*own, *seen) if containers.make(found.path) == make), None)
        if like is not None:
            yield _moved(like, name, block.path, is_beside=like in own)
        else:
            yield _bare(own[0].sites if own else (), name, block.path)


def _moved(found: Found, name: str, path: str, is_beside: bool) -> Found:
    """Return what would be found in a block that is made as another one is, be it of another stack."""

    def own(text: str) -> str:
        return name + text.removeprefix(found.name)

    def there(text: str) -> str:
        return path + text.removeprefix(found.path)

    def moved(site: Site) -> Site:
        caller = site.caller if is_beside else None
        name, module = own(site.name), there(site.module)
        return replace(site, name=name, module=module, call=0, of_calls=1, caller=caller)

    return Found(
        name,
        path,
        (path,),
        tuple(moved(site) for site in found.sites if _is_within(site.module, found.path)),
        {own(norm): there(gain) for norm, gain in found.gains.items() if _is_within(gain, found.path)},
        {own(key): moved(site) for key, site in found.hidden.items() if _is_within(site.module, found.path)},
    )


def _is_within(path: str, above: str) -> bool:
    return path == above or path.startswith(f"{above}.")


def _bare(beside: Sequence[Site], name: str, path: str) -> Found:
    """Return a block of which nothing is known but that the line of its stack runs through it."""
    known = {
        end: site for site in beside for end in _ENDS if site.name.endswith(end) and "blocks" in site.name
    }
    sites = []
    for end, side in zip(_ENDS, ("input", "output"), strict=True):
        line = known.get(end) or Site(end, path, Role.ACTIVATION, side)
        sites.append(replace(line, name=f"{name}{end}", module=path, call=0, of_calls=1))
    return Found(name, path, (path,), tuple(sites), {}, {})


_ENDS = (".resid_pre", ".resid_post")


def stack_notes(stack: Stack) -> Iterator[str]:
    """Yield what is to be said of the blocks of a stack."""
    unseen = [name for name, block in named_blocks(stack) if not block.calls]
    if unseen and any(len(block.calls) > 1 for block in stack.blocks):
        names = ", ".join(unseen[:4]) + (", …" if len(unseen) > 4 else "")
        yield f"did not run in the first forward pass and are not watched: {names}; of others attention is"
    elif unseen and stack.has_run:
        names = ", ".join(unseen[:4]) + (", …" if len(unseen) > 4 else "")
        yield (
            f"did not run in the first forward pass: {names}; what is in one is taken from its like, "
            "and a step in which a block does not run has no reading of it"
        )
    elif unseen:
        yield f"{unseen[0]} to {unseen[-1]} did not run in the first forward pass: they are taken from a list"
    if stack.is_merged:
        name = f"{stack.name}.blocks".lstrip(".")
        yield f"{name} may run several times in a forward pass: a reading is of all its runs together"
