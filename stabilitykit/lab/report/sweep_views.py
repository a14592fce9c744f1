"""A sweep as a report shows it: plain data for its pictures and tables."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stabilitykit.errors import ConfigError
from stabilitykit.lab.claims import ClaimResult, judge
from stabilitykit.lab.report.landscape import (
    FailureOrder,
    Landscape,
    Setting,
    number,
    row_title,
    short,
    value_title,
)
from stabilitykit.lab.report.landscapes import failure_order, landscape
from stabilitykit.lab.report.tables import sweep_tables
from stabilitykit.lab.report.words import estimate_text
from stabilitykit.lab.sweep.compare import Estimate, Results, Summary, summarise
from stabilitykit.lab.sweep.grid import TOLERANCE, Sweep


@dataclass(frozen=True)
class SweepView:
    """One sweep."""

    sweep: Sweep
    shown: Landscape
    order: FailureOrder
    summaries: tuple[Summary, ...]
    claims: tuple[ClaimResult, ...]
    refused: str
    """Why claims could not be judged; empty where they could."""
    tables: Mapping[str, str]
    """As CSV, by their names."""

    @classmethod
    def of(cls, sweep: Sweep) -> "SweepView":
        """Return how a sweep is shown."""
        results = Results(sweep)
        shown, order, summaries = landscape(sweep, results), failure_order(sweep, results), summarise(sweep)
        claims: tuple[ClaimResult, ...] = ()
        refused = ""
        try:
            claims = judge(sweep)
        except ConfigError as error:
            refused = str(error)
        tables = sweep_tables(sweep, shown, order, summaries, claims)
        return cls(sweep, shown, order, summaries, claims, refused, tables)

    @property
    def name(self) -> str:
        """What the sweep is called."""
        return self.sweep.plan.name

    @property
    def question(self) -> str:
        """What it asks, or its name."""
        return str(self.sweep.plan.about.get("question") or f"Sweep {self.name}")

    def contents(self) -> dict[str, Any]:
        """Return what the template takes."""
        shown = self.shown
        titles = [row_title(shown.row_names, row.names) for row in shown.rows]
        return {
            "name": self.name,
            "question": self.question,
            "source": str(self.sweep.plan.about.get("source") or ""),
            "counts": self._counts(),
            "x": short(shown.x_name),
            "xs": [number(x) for x in shown.x_values],
            "seeds": len(self.sweep.plan.seeds),
            "rows": [
                {"title": title, "told": shown.told(row), "settings": [_cell(each) for each in row.settings]}
                for title, row in zip(titles, shown.rows, strict=True)
            ],
            "chart": self._chart(titles),
            "order": self.order,
            "tolerance": number(TOLERANCE),
            "has_rates": any(each.lrs for each in self.summaries),
            "summary": [_summarised(each) for each in self.summaries],
            "claims": [_claimed(each) for each in self.claims],
            "refused": self.refused,
            "failures": sum(self.order.failing),
            "csv": {
                f"{self.name}_{name}.csv": "data:text/csv;charset=utf-8;base64,"
                + base64.b64encode(text.encode()).decode()
                for name, text in self.tables.items()
            },
            "unigram": shown.unigram,
        }

    def _counts(self) -> str:
        axes = " × ".join(f"{len(axis.values)} {_plural(axis.name)}" for axis in self.sweep.plan.axes)
        runs, done = len(self.sweep.runs), len(self.sweep.done)
        failed = sum(setting.failed for row in self.shown.rows for setting in row.settings)
        seeds = len(self.sweep.plan.seeds)
        grid = f"{axes} × {seeds} seed{'s' * (seeds != 1)}" if axes else f"{seeds} seed{'s' * (seeds != 1)}"
        state = "all done" if done == runs else f"{done} of {runs} done"
        return f"{grid}: {runs} runs, {state}, {failed} failed"

    def _chart(self, titles: list[str]) -> dict[str, Any]:
        shown = self.shown
        low, high = shown.loss_range
        lines = [
            {
                "title": title,
                "names": list(map(value_title, shown.row_names, row.names)),
                "means": [setting.mean_loss for setting in row.settings],
                "seeds": [
                    [at, ending.seed, ending.counted_loss, ending.outcome, ending.failed, ending.run]
                    for at, setting in enumerate(row.settings)
                    for ending in setting.endings
                ],
                "told": [setting.words for setting in row.settings],
            }
            for title, row in zip(titles, shown.rows, strict=True)
        ]
        return {
            "x": short(shown.x_name),
            "at": shown.positions,
            "labels": [number(x) for x in shown.x_values],
            "log": shown.is_log,
            "ordered": shown.is_ordered,
            "low": low,
            "high": high,
            "unigram": shown.unigram,
            "axes": [short(name) for name in shown.row_names],
            "lines": lines,
        }


def _summarised(each: Summary) -> dict[str, Any]:
    names = list(each.values)
    return {
        "title": row_title(names, [number(value) for value in each.values.values()]),
        "failed": estimate_text(each.failed, percent=True),
        "stable_lr_max": estimate_text(each.stable_lr_max),
        "best_lr": "–" if each.best_lr is None else number(each.best_lr),
        "best_loss": estimate_text(each.best_loss),
        "lr_sensitivity": estimate_text(each.lr_sensitivity),
    }


def _claimed(each: ClaimResult) -> dict[str, Any]:
    found = Estimate(each.value, each.low, each.high, each.n)
    low, high = each.band
    if low is not None and high is not None:
        band = f"{number(low)} to {number(high)}"
    else:
        band = f"at least {number(low)}" if low is not None else f"at most {number(high)}"
    return {
        "says": each.says,
        "outcome": each.outcome,
        "state": each.outcome.replace(" ", "-"),
        "value": f"{estimate_text(found)} {each.unit}".strip(),
        "band": band,
        "n": each.n,
        "note": each.note,
    }


def _plural(name: str) -> str:
    return {"lr": "learning rates", "arch": "architectures", "warmup": "warmups"}.get(
        short(name), f"values of {short(name)}"
    )


def _cell(setting: Setting) -> dict[str, Any]:
    losses = setting.losses
    return {
        "x": number(setting.x),
        "state": setting.state,
        "glyph": setting.glyph,
        "words": setting.words,
        "run": setting.telling.run if setting.telling else None,
        "done": len(setting.endings),
        "failed": setting.failed,
        "mean": setting.mean_loss,
        "low": min(losses, default=None),
        "high": max(losses, default=None),
    }
