"""docs/science.md, made from the folder of finished runs."""

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stabilitykit.lab.claims import ClaimResult, judge
from stabilitykit.lab.sweep import Sweep, SweepPlan
from stabilitykit.lab.sweep.grid import read_sweep
from stabilitykit.store import open_run

MACHINE = "machine.json"
OUTCOMES = ("holds", "does not hold", "undecided")

HEAD = """# Science

The lecture's claims, and some of this project's own, as runs that anyone can repeat:
`make science` trains them all and writes this page. A claim *holds* where the whole 95 % interval
of what was measured lies within its band, *does not hold* where it lies outside, and is *undecided*
in between. Intervals are over seeds: a seed's runs are averaged, differences and ratios are taken
inside each seed. Bands are the sources' where they have one. What does not hold stands here like
the rest. The models are small and train briefly: nothing here says what a large one does.

"""


@dataclass(frozen=True)
class Finding:
    """What a recipe's runs say."""

    sweep: Sweep
    claims: tuple[ClaimResult, ...]

    @property
    def plan(self) -> SweepPlan:
        """The recipe."""
        return self.sweep.plan

    @property
    def seconds(self) -> dict[str, float]:
        """What each run took, by its cell's name."""
        return {run.cell.key: run.result.seconds for run in self.sweep.done if run.result}


def findings(plan: SweepPlan, folder: Path) -> Finding:
    """Return what a folder's runs say of a recipe's claims.

    Args:
        plan: The recipe's.
        folder: Of all runs; nothing is trained.
    """
    sweep = read_sweep(plan, folder)
    return Finding(sweep, judge(sweep))


def page(found: Sequence[Finding], folder: Path, recipes: Path) -> str:
    """Return the page.

    Args:
        found: One for each recipe.
        folder: Of all runs, for what they ran on.
        recipes: Folder of the recipes, for what was tried before them.
    """
    order = sorted(found, key=lambda each: each.plan.name)
    parts = [HEAD + _environment(order, folder), _summary(order), _negatives(order)]
    parts += [_section(each, recipes / f"{each.plan.name}.yaml") for each in order]
    return "\n\n".join(parts) + "\n"


def cpu_of_this_machine() -> str:
    """Return the processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def keep_machine(folder: Path, cpu: str) -> None:
    """Note in the runs' folder what they are trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    known = _machines(folder)
    if cpu not in known:
        (folder / MACHINE).write_text(json.dumps([*known, cpu]) + "\n", encoding="utf-8")


def _machines(folder: Path) -> list[str]:
    try:
        return [str(each) for each in json.loads((folder / MACHINE).read_text(encoding="utf-8"))]
    except (OSError, ValueError):
        return []


def _environment(found: Sequence[Finding], folder: Path) -> str:
    runs = [
        run for each in found for run in each.sweep.done if run.result and run.result.outcome != "crashed"
    ]
    # One of each model: to read every run's configuration would take longer than all else.
    some = {run.cell.spec.model_dump_json(include={"model"}): run for run in runs}.values()
    configs = [open_run(run.folder).config for run in some]
    versions = " and ".join(sorted({_versions(config["environment"]) for config in configs}))
    texts = " and ".join(sorted({str(config["corpus"]["name"]) for config in configs}))
    seconds = sum({key: value for each in found for key, value in each.seconds.items()}.values())
    count = len({run.cell.key for each in found for run in each.sweep.done})
    cpu = " and ".join(_machines(folder)) or "a processor that nobody noted"
    return (
        f"{count} runs, {seconds / 60:.0f} minutes of one core in all, on {cpu}, one thread each. "
        f"{versions}. Text: {texts}. Other versions and processors give other bits, perhaps other outcomes."
    )


def _versions(environment: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {environment[name]}" for name in ("stabilitykit", "torch", "numpy", "python"))


def _summary(found: Sequence[Finding]) -> str:
    rows = []
    for each in found:
        counts = Counter(claim.outcome for claim in each.claims)
        rows.append(
            (
                f"[{each.plan.name}](#{each.plan.name})",
                str(each.plan.about["question"]),
                *(str(counts[outcome] or "") for outcome in OUTCOMES),
                f"{sum(each.seconds.values()) / 60:.1f}",
            )
        )
    total = Counter(claim.outcome for each in found for claim in each.claims)
    rows.append(("all", "", *(f"**{total[outcome]}**" for outcome in OUTCOMES), ""))
    return _table(("recipe", "question", *OUTCOMES, "core minutes"), rows) + (
        "\n\nRecipes share runs; the minutes of a shared one are counted in each."
    )


def _negatives(found: Sequence[Finding]) -> str:
    lines = [
        f"- [{each.plan.name}](#{each.plan.name}): *{claim.says}* {claim.outcome}: {_value(claim)}, "
        f"band {_band(claim)}."
        for outcome in OUTCOMES[1:]
        for each in found
        for claim in each.claims
        if claim.outcome == outcome
    ]
    return "## What does not hold, or is undecided\n\n" + ("\n".join(lines) or "Nothing.")


def _section(each: Finding, recipe: Path) -> str:
    about = each.plan.about
    rows = [
        (claim.outcome, _plain(claim.says), _value(claim), _band(claim), str(claim.n), claim.note)
        for claim in each.claims
    ]
    done, asked = len(each.sweep.done), len(each.sweep.runs)
    missing = f" ({asked - done} of {asked} runs have not ended)" if done < asked else ""
    lines = [
        f"## {each.plan.name}",
        f"**{about['question']}** Source: {about['source']}. Band: {about['band']}.",
        f"```sh\nstabilitykit sweep recipes/{recipe.name}\n```",
        _table(("", "claim", "value and 95 % interval", "band", "seeds", "note"), rows),
        f"{asked} runs, {sum(each.seconds.values()) / 60:.1f} minutes of one core{missing}. {_tried(recipe)}",
    ]
    return "\n\n".join(lines)


def _tried(recipe: Path) -> str:
    """Return the comment at a recipe's head but for the command: how its values were chosen."""
    lines = recipe.read_text(encoding="utf-8").splitlines()
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return " ".join(line for line in comments if not line.startswith("stabilitykit "))


def _value(claim: ClaimResult) -> str:
    if claim.value is None:
        return "–"
    interval = "" if claim.low is claim.high is None else f" [{_end(claim.low)}, {_end(claim.high)}]"
    return f"{_number(claim.value)}{interval} {claim.unit}".strip()


def _band(claim: ClaimResult) -> str:
    low, high = claim.band
    if low is None:
        return f"≤ {_number(high)}"
    return f"≥ {_number(low)}" if high is None else f"{_number(low)} to {_number(high)}"


def _end(value: float | None) -> str:
    return "open" if value is None else _number(value)


def _number(value: float | None) -> str:
    """Return a number with three digits that count."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text.replace("-", "−") if "e" not in text else f"{value:.1e}".replace("-", "−")


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
