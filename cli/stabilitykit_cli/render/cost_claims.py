"""What became of what a recipe claims of costs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stabilitykit_cli.render.words import number

if TYPE_CHECKING:
    from stabilitykit.lab.claims.costs import CostClaimResult
    from stabilitykit.lab.cost import Priced

_STYLES = {"holds": "bold green", "does not hold": "bold red", "undecided": "bold yellow"}


def cost_claims(
    question: str, priced: "Mapping[str, Sequence[Priced]]", results: "Sequence[CostClaimResult]"
) -> RenderableType:
    """Return the question, a line for each claim, and what the numbers stand on.

    Args:
        question: The recipe's.
        priced: The variants of each workload.
        results: What became of the claims.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("claim", overflow="fold")
    table.add_column("outcome", no_wrap=True)
    table.add_column("measured", no_wrap=True)
    table.add_column("band", no_wrap=True)
    for each in results:
        says = Text(each.says)
        if each.note:
            says.append(f" ({each.note})", style="dim")
        outcome = Text(each.outcome, style=_STYLES.get(each.outcome, "dim"))
        table.add_row(says, outcome, _value(each), f"{_end(each.band[0])} to {_end(each.band[1])}")
    counted = ", ".join(
        f"{sum(each.outcome == outcome for each in results)} {outcome}"
        for outcome in dict.fromkeys(each.outcome for each in results)
    )
    notes = [f"{len(results)} claims: {counted}", *(_workload(*each) for each in priced.items())]
    if any(each.rounds for each in results):
        notes.append("[ , ] 95 % over rounds; undecided: it reaches across an end of the band")
    return Group(
        "", Text(question, style="bold"), "", table, "", *(Text(each, style="dim") for each in notes)
    )


def _value(each: "CostClaimResult") -> str:
    if each.value is None:
        return "-"
    interval = f" [{_end(each.low)}, {_end(each.high)}]" if each.rounds else " computed"
    return f"{number(each.value)}{interval}"


def _end(value: float | None) -> str:
    return "…" if value is None else number(value)


def _workload(name: str, sides: "Sequence[Priced]") -> str:
    asked = sides[0].prediction.described()
    tokens = f"cache {asked['length']}" if asked["mode"] == "decode" else f"{asked['length']} tokens"
    measured = sides[0].measurement
    rounds = f", {len(measured.plain)} rounds" if measured else ""
    labels = "; ".join(side.label for side in sides)
    return f"{name}: {asked['mode']}, batch {asked['batch']}, {tokens}, {asked['dtype']}{rounds}: {labels}"
