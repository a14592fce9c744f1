"""The learning rate against the measured edge. No torch, and a few milliseconds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from stabilitykit.lab.probe.checks.edges import EdgeTable, read_edges
from stabilitykit.lab.probe.checks.interpolation import Edge, edge_at
from stabilitykit.lab.probe.checks.report import CheckFinding, Expected
from stabilitykit.lab.probe.checks.scope import is_on_another_text, outside
from stabilitykit.lab.probe.spec import ProbeSpec
from stabilitykit.records import Severity

NAME = "learning_rate"
_BY_NAME = (("post_norm", "none"), ("pre_norm", "none"), ("double_norm", "none"), ("out_norm", "head"))
"""Wirings and QK-norms that ``--arch`` gives by name."""
_WARMUP = 0.1
"""The longest warmup that is advised: a tenth of the steps, as runs have unless told otherwise."""


@dataclass(frozen=True, slots=True)
class RateVerdict:
    """What the table says of a probe."""

    expected: Expected
    edge: Edge | None
    """None where the table does not speak of the probe."""
    why: str
    """Half a sentence."""


def verdict_of(spec: ProbeSpec, table: EdgeTable | None = None) -> Expected:
    """Return what the table of measured edges expects of a probe; nothing is computed.

    Args:
        spec: The probe.
        table: The edges; those shipped with the package unless given.

    Raises:
        ConfigError: The file of the edges is broken.
    """
    return judge(spec, table or read_edges()).expected


def judge(spec: ProbeSpec, table: EdgeTable) -> RateVerdict:
    """Return what a table expects of a probe, and why.

    Args:
        spec: The probe.
        table: The measured edges.
    """
    if apart := outside(spec, table.sizes):
        more = f" and {len(apart) - 3} more" if len(apart) > 3 else ""
        return RateVerdict("unknown", None, f"no run was measured with {', '.join(apart[:3])}{more}")
    edge, rate = _edge(spec, table), spec.optimizer.lr
    if edge.fails is not None and rate >= edge.fails:
        return RateVerdict(
            "unstable", edge, f"runs failed from {edge.fails:.2g} on, measured at {_blocks(edge)}"
        )
    if edge.holds is None or rate > edge.holds:
        return RateVerdict("unknown", edge, _between(edge))
    if rate < (lowest := min(row.lowest for row in table.rows)):
        return RateVerdict(
            "unknown", edge, f"no run was measured below {lowest:.2g}: it may learn too slowly"
        )
    return RateVerdict("stable", edge, f"runs held up to {edge.holds:.2g}, measured at {_blocks(edge)}")


def rate_finding(spec: ProbeSpec, table: EdgeTable) -> CheckFinding:
    """Return the finding about a probe's learning rate; critical where it is expected to fail.

    Args:
        spec: The probe.
        table: The measured edges.
    """
    verdict, rate = judge(spec, table), spec.optimizer.lr
    severity = Severity.CRITICAL if verdict.expected == "unstable" else Severity.INFO
    limit = None if verdict.edge is None else verdict.edge.fails or verdict.edge.holds
    message = f"peak rate {rate:.4g}, {_setting(spec)}: {verdict.why}{_text(spec)}"
    return CheckFinding(NAME, severity, rate, limit, message, tuple(_remedies(spec, table, verdict)))


def _edge(spec: ProbeSpec, table: EdgeTable) -> Edge:
    model = spec.model
    warmup = spec.warmup / spec.trainer.steps
    return edge_at(table.rows, model.wiring, model.attention.qk_norm, model.n_layers, warmup)


def _between(edge: Edge) -> str:
    if not edge.depths:
        return "no run was measured with this wiring and QK-norm"
    if edge.holds is None and edge.fails is None:
        return "no run was measured near this depth and warmup"
    held = "no rate is known to hold" if edge.holds is None else f"runs held up to {edge.holds:.2g}"
    failed = "none is known to fail" if edge.fails is None else f"failed from {edge.fails:.2g} on"
    return f"{held}, {failed}; here neither is known, measured at {_blocks(edge)}"


def _blocks(edge: Edge) -> str:
    *depths, last = map(str, edge.depths)
    return f"{', '.join(depths)} and {last} blocks" if depths else f"{last} blocks"


def _setting(spec: ProbeSpec) -> str:
    model = spec.model
    qk_norm = "" if model.attention.qk_norm == "none" else f" with {model.attention.qk_norm} QK-norm"
    share = spec.warmup / spec.trainer.steps
    warmup = f"{share:.0%} warmup" if spec.warmup else "no warmup"
    return f"{model.wiring}{qk_norm}, {model.n_layers} blocks, {warmup}"


def _text(spec: ProbeSpec) -> str:
    return " (measured on another text)" if is_on_another_text(spec) else ""


def _remedies(spec: ProbeSpec, table: EdgeTable, verdict: RateVerdict) -> Iterator[str]:
    """Yield what the table itself knows to hold, the smallest change first."""
    if verdict.expected == "stable":
        return
    if verdict.expected == "unknown":
        yield "train it: the same command without --check"
    if verdict.edge is None:
        return
    if verdict.edge.holds is not None:
        yield f"a rate that held: --lr {_rounded_down(verdict.edge.holds)}"
    model, rate = spec.model, spec.optimizer.lr
    share = spec.warmup / spec.trainer.steps

    def holds(wiring: str, qk_norm: str, warmup: float) -> bool:
        rate_held = edge_at(table.rows, wiring, qk_norm, model.n_layers, warmup).holds
        return rate_held is not None and rate <= rate_held

    own = (model.wiring, model.attention.qk_norm)
    if share < _WARMUP and holds(*own, _WARMUP):
        yield f"this rate held with warmup: --warmup {spec.trainer.steps // 10}"
    if others := [
        wiring for wiring, qk_norm in _BY_NAME if wiring != own[0] and holds(wiring, qk_norm, share)
    ]:
        yield f"this rate held in another placement: --arch {' or '.join(others)}"


def _rounded_down(rate: float) -> str:
    """Return two digits of a rate, none above it."""
    unit: float = 10.0 ** (math.floor(math.log10(rate)) - 1)
    # A rate of two digits must not lose its last one to its binary form.
    return f"{math.floor(rate / unit + 1e-6) * unit:.2g}"
