"""``cost --recipe``: workloads priced in turn, and what a recipe claims of them. Loads torch."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import stabilitykit
from stabilitykit.errors import ConfigError, StabilityKitError, closest
from stabilitykit.lab.claims.costs import CostRecipe, check_cost_claims, judge_costs, read_cost_recipe
from stabilitykit.lab.cost import Peaks, Priced, cost_document, measure_peaks
from stabilitykit.lab.probe.spec import naming
from stabilitykit_cli import consoles, exits
from stabilitykit_cli.cost_request import Asked, asked_for
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.render.cost_claims import cost_claims


def run_recipe(name: str, seconds: float | None, json: bool) -> int:
    """Price a recipe's workloads, print what becomes of its claims, and return the exit status.

    Args:
        name: A recipe of ours by its name, or a file.
        seconds: About how long to measure each model; None to judge what needs no time.
        json: Whether to print a document.

    Raises:
        ConfigError: The recipe cannot be read or does not fit.
        DataError: What is to be measured does not fit in memory.
    """
    path = _found(name)
    recipe = read_cost_recipe(path)
    with naming(path):
        asked, found = {}, {}
        for each, workload in recipe.workloads.items():
            with _workload(each):
                asked[each] = asked_for(workload)
                found[each] = asked[each].priced(None, None)
        check_cost_claims(recipe.claims, found)
    if seconds is not None:
        found = _measured(asked, seconds)
    results = judge_costs(recipe.claims, found)
    if json:
        peaks: dict[str, Peaks] = {
            each.dtype: measure_peaks(each.dtype) for each in recipe.workloads.values()
        }
        print_document(_document(path, recipe, found, peaks) | {"claims": [one.to_json() for one in results]})
    else:
        consoles.show(cost_claims(recipe.question, found, results))
    return exits.OK


def _found(name: str) -> Path:
    if Path(name).is_file():
        return Path(name)
    folder = Path(stabilitykit.__file__).parent / "recipes"
    known = {
        each.stem: each for each in sorted(folder.glob("*.yaml")) if "\nworkloads:" in each.read_text("utf-8")
    }
    if name not in known:
        raise ConfigError(f"--recipe: got {name!r}, which is no file; {closest(name, known)}")
    return known[name]


@contextmanager
def _workload(name: str) -> Iterator[None]:
    """Begin every message with the workload's name; what is an option elsewhere is a field there."""
    try:
        yield
    except StabilityKitError as error:
        raise type(error)(f"workloads.{name}: {str(error).removeprefix('--')}") from None


def _measured(asked: Mapping[str, Asked], seconds: float) -> dict[str, list[Priced]]:
    whole, before = sum(len(each.labels) for each in asked.values()), 0
    found = {}
    for name, each in asked.items():
        consoles.progress().print(f"measuring {name}: {'; '.join(each.labels)}")
        with consoles.counting(f"measuring {name}") as told:

            def show(
                done: float, told: Callable[[int, int], None] = told, before: int = before, own: Asked = each
            ) -> None:
                told(round(1000 * (before + done * len(own.labels))), 1000 * whole)

            with _workload(name):
                found[name] = each.priced(seconds, show)
        before += len(each.labels)
    return found


def _document(
    path: Path, recipe: CostRecipe, found: Mapping[str, list[Priced]], peaks: Mapping[str, Peaks]
) -> dict[str, Any]:
    told = {}
    for name, sides in found.items():
        told[name] = cost_document(sides, peaks[recipe.workloads[name].dtype]).to_json()
    return {"recipe": str(path), "question": recipe.question, "workloads": told}
