"""The page of the documents that the benchmark writes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.detection.families import pooled
from benchmarks.detection.gradients import Found
from benchmarks.detection.left_out import LeftOut
from benchmarks.detection.log import Tool
from benchmarks.detection.shapes import SHAPES
from benchmarks.detection.tables import (
    confusion_table,
    families_table,
    gains_table,
    gradients_table,
    left_out_table,
    matrix_table,
    rules_table,
    sources_table,
    tools_table,
    toys_table,
    traces_table,
)
from benchmarks.detection.traces import Score
from benchmarks.detection.truth import Counts
from benchmarks.detection.unigram import Gain

TEMPLATE = Path(__file__).with_name("page.md")
_BY_HAND = re.compile(r"<!-- by hand: (?P<name>[a-z ]+) -->\n(?P<text>.*?)<!-- end -->\n", re.DOTALL)


@dataclass(frozen=True)
class Findings:
    """Everything that the page tells of."""

    tools: Sequence[Tool]
    scores: Sequence[Score]
    families: Mapping[str, Mapping[str, Counts]]
    seeds: int
    toys: Mapping[str, Mapping[str, Counts]]
    gains: Sequence[Gain]
    left_out: LeftOut
    pictures: Mapping[str, Path]
    """By family."""
    gradients: Mapping[str, Found]
    """By kind of series."""


def write_page(path: Path, findings: Findings) -> None:
    """Write the page; what was written into it by hand, between marks, stays."""
    text = TEMPLATE.read_text()
    for name, part in _parts(path.parent, findings).items():
        text = text.replace("{" + name + "}", part)
    if path.exists():
        kept = {found["name"]: found["text"] for found in _BY_HAND.finditer(path.read_text())}
        text = _BY_HAND.sub(lambda found: _block(found["name"], kept.get(found["name"], found["text"])), text)
    path.write_text(text)


def _block(name: str, text: str) -> str:
    return f"<!-- by hand: {name} -->\n{text}<!-- end -->\n"


def _parts(folder: Path, f: Findings) -> dict[str, str]:
    families = {name: dict(by_family) for name, by_family in f.families.items()}
    ours = f.scores[0]
    return {
        "traces": str(len(ours.rows)),
        "sources": str(len(ours.by_source)),
        "seeds": str(f.seeds),
        "traces_table": traces_table(f.scores).markdown(),
        "sources_table": sources_table(f.scores).markdown(),
        "confusion_table": confusion_table("", ours.confusion()).markdown(),
        "left_out_table": left_out_table(f.left_out).markdown(),
        "tools_table": tools_table(families).markdown(),
        "ours_table": families_table("", families[ours.tool.name]).markdown(),
        "said_table": confusion_table("", pooled(families[ours.tool.name]).verdicts).markdown(),
        "matrix_table": matrix_table(families, f.tools).markdown(),
        "toys_table": toys_table({name: dict(by_curve) for name, by_curve in f.toys.items()}).markdown(),
        "pictures": "\n\n".join(_picture(folder, name, picture) for name, picture in f.pictures.items()),
        "gains_table": gains_table(f.gains).markdown(),
        "gradients_table": gradients_table(f.gradients).markdown(),
        "rules_table": rules_table(f.tools).markdown(),
    }


def _picture(folder: Path, name: str, picture: Path) -> str:
    return f"![{SHAPES[name]}: the loss, and what each tool said]({picture.relative_to(folder).as_posix()})"
