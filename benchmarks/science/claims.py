"""The lecture's claims, rerun: every recipe that claims something, and docs/science.md from what it gives.

    python -m benchmarks.science.claims                        # all recipes, into runs/science; then the page
    python -m benchmarks.science.claims --only warmup,qk_norm  # these recipes, and no page
    python -m benchmarks.science.claims --page-only            # the page from the folder as it is

What ended it does not matter: the same command goes on with what is missing. Recipes share cells.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.science.page import Finding, cpu_of_this_machine, findings, keep_machine, page
from benchmarks.science.recipe_runs import trained
from stabilitykit.errors import StabilityKitError
from stabilitykit.lab.sweep import SweepPlan, read_plan

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
COLOURS = {"holds": "green", "does not hold": "red", "undecided": "yellow"}


def recipes(only: Sequence[str]) -> list[SweepPlan]:
    """Return the sweeps that claim something, or those of them that are named; the largest first."""
    texts = {path: path.read_text("utf-8") for path in sorted(RECIPES.glob("*.yaml"))}
    with_claims = [path for path, text in texts.items() if "\naxes:" in text and "\nclaims:" in text]
    names = [path.stem for path in with_claims]
    for name in only:
        if name not in names:
            raise SystemExit(f"--only: got {name!r}; accepted: {', '.join(names)}")
    plans = [read_plan(path) for path in with_claims if not only or path.stem in only]
    # Others take their cells from it, and workers are idle only at a sweep's end.
    return sorted(plans, key=lambda plan: -plan.about["cpu_minutes"])


def run(plans: Sequence[SweepPlan], folder: Path, workers: int, console: Console) -> None:
    """Train what is missing, and print each recipe's claims once it is done."""
    keep_machine(folder, cpu_of_this_machine())
    for plan in trained(plans, folder, workers, console):
        show(findings(plan, folder), console)


def show(finding: Finding, console: Console) -> None:
    """Print what became of a recipe's claims."""
    for claim in finding.claims:
        colour = COLOURS[claim.outcome]
        console.print(f"  [{colour}]{claim.outcome:13}[/] {claim.says}", highlight=False)


def main() -> None:
    """Run the recipes and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logdir", type=Path, default=ROOT / "runs" / "science", help="folder of all runs")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="runs at a time, each one thread"
    )
    parser.add_argument("--only", default="", help="recipes by their names, with commas between them")
    parser.add_argument("--page-only", action="store_true", help="train nothing")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "science.md", help="where the page goes")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    plans = recipes(only)
    if not arguments.page_only:
        try:
            run(plans, arguments.logdir, arguments.workers, console)
        except StabilityKitError as error:
            raise SystemExit(str(error)) from None
    if not only:
        found = [findings(plan, arguments.logdir) for plan in plans]
        arguments.docs.write_text(page(found, arguments.logdir, RECIPES), encoding="utf-8")
        console.print(f"{arguments.docs} is written")


if __name__ == "__main__":
    main()
