"""The check: the table of edges, then the rules on the readings of the first step."""

from stabilitykit.lab.probe.checks.edges import read_edges
from stabilitykit.lab.probe.checks.first_step import read_first_step
from stabilitykit.lab.probe.checks.rate import judge, rate_finding
from stabilitykit.lab.probe.checks.report import CheckReport, Expected
from stabilitykit.lab.probe.checks.rules import RULES, failure_at_start
from stabilitykit.lab.probe.spec import ProbeSpec


def check(spec: ProbeSpec) -> CheckReport:
    """Return what is expected of a probe, from the measured edges and from its first step; trains nothing.

    The verdict is the table's, except where the first step's loss is not a number: then it is ``unstable``.
    The limits on the first step's readings warn, but decide nothing: none of them was seen to tell which runs
    fail.

    Args:
        spec: The probe.

    Raises:
        DataError: The corpus cannot be used.
    """
    table = read_edges()
    readings = read_first_step(spec)
    failure, rate = failure_at_start(readings), judge(spec, table)
    # Whatever else is read then follows from the same overflow.
    rules = [failure] if failure else [rule.judge(spec.model, readings) for rule in RULES]
    findings = (rate_finding(spec, table), *(finding for finding in rules if finding))
    expected: Expected = "unstable" if failure else rate.expected
    return CheckReport(expected, findings, spec.resolved())
