"""Removing the runs and sweeps that were chosen, or saying what would go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stabilitykit.errors import RunFolderError
from stabilitykit_cli import consoles, exits
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.render.words import bytes_taken

if TYPE_CHECKING:
    from stabilitykit.lab.sweep.inventory import Kept, Removal


@dataclass
class _Outcome:
    """What came of it."""

    done: bool
    """Whether anything was removed, or only looked at."""
    gone: "list[Removal]" = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Folders of those that still hold something."""
    kept: dict[str, str] = field(default_factory=dict)
    """What stays, and why."""
    failed: dict[str, str] = field(default_factory=dict)
    """What could not be removed, and why."""


def remove_chosen(chosen: "Sequence[Kept]", yes: bool, json: bool, named: bool) -> int:
    """Remove, or say what would be removed, and return the exit status.

    Args:
        chosen: Runs and sweeps.
        yes: Whether to do it.
        json: Whether to print one JSON document and nothing else on stdout.
        named: Whether each was named: then one that must stay is an error.
    """
    outcome = _carried_out(chosen, yes)
    for name, why in outcome.kept.items():
        if named:
            exits.complain(f"{name} {why}")
        else:
            consoles.progress().print(f"kept: {name} {why}", markup=False, soft_wrap=True)
    for why in outcome.failed.values():
        exits.complain(why)
    if json:
        print_document(_document(outcome))
    else:
        consoles.show_lines(_lines(outcome))
    return exits.FAILED if outcome.failed or (named and outcome.kept) else exits.OK


def _carried_out(chosen: "Sequence[Kept]", yes: bool) -> _Outcome:
    from stabilitykit.lab.sweep.inventory import removals, remove

    outcome = _Outcome(done=yes)
    for removal in removals(chosen):
        if removal.refused is not None:
            outcome.kept[removal.name] = removal.refused
            continue
        try:
            if yes and not remove(removal):
                outcome.left.append(str(removal.kept.folder))
            outcome.gone.append(removal)
        except RunFolderError as error:
            outcome.failed[removal.name] = str(error)
    return outcome


def _lines(outcome: _Outcome) -> Iterator[str]:
    for removal in outcome.gone:
        what = "removed" if outcome.done else "would remove"
        yield f"{what}\t{removal.name}\t{bytes_taken(removal.size)}"
    for folder in dict.fromkeys(outcome.left):
        yield f"left\t{folder}\tholds other files"
    size = bytes_taken(_size(outcome))
    if not outcome.gone:
        yield "nothing to remove"
    elif outcome.done:
        yield f"{size} freed"
    else:
        yield f"{size} would be freed; --yes removes"


def _document(outcome: _Outcome) -> dict[str, Any]:
    return {
        "removed" if outcome.done else "would_remove": [
            {"name": each.name, "runs": [str(run.folder) for run in each.runs], "size_bytes": each.size}
            for each in outcome.gone
        ],
        "freed_bytes" if outcome.done else "would_free_bytes": _size(outcome),
        "left": list(dict.fromkeys(outcome.left)),
        "kept": outcome.kept,
        "failed": outcome.failed,
    }


def _size(outcome: _Outcome) -> int:
    return sum(each.size for each in outcome.gone)
