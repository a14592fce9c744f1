"""From a rule's flags to incidents and a verdict, by one rule for all baselines."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.detection import peer_deviations as deviations
from benchmarks.detection import peer_ratios as ratios
from benchmarks.detection.log import Log, Said, Tool
from benchmarks.detection.peer_ratios import Flags

GAP = 3
"""Flags at most so many points apart are one incident."""


def incidents(log: Log, flags: Flags) -> Said:
    """Return the incidents and the verdict that a rule's flags amount to.

    Flags at most ``GAP`` points apart are one incident, announced at its first flag. It is open when its last
    flag is among the last ``GAP`` points. The verdict is ``diverged`` where the last
    loss is not finite or an incident is open, ``recovered`` where there was one, else ``stable``.
    """
    places = np.flatnonzero(flags)
    groups = np.split(places, np.flatnonzero(np.diff(places) > GAP) + 1) if len(places) else []
    found = []
    for group in groups:
        start, end = int(log.steps[group[0]]), int(log.steps[group[-1]])
        is_open = len(log) - 1 - group[-1] < GAP
        found.append(
            {"kind": "loss_spike", "start": start, "end": None if is_open else end, "detected": start}
        )
    if not np.isfinite(log.loss[-1]) or (found and found[-1]["end"] is None):
        return Said("diverged", found)
    return Said("recovered" if found else "stable", found)


def _tool(
    name: str,
    short: str,
    source: str,
    rule: Callable[..., Flags],
    needs: str = "loss",
    nonfinite: bool = False,
) -> Tool:
    """Return a baseline.

    Args:
        name: What tables call it.
        short: The same for narrow columns.
        source: Where the rule is from.
        rule: Takes the series and returns the flags.
        needs: The column that it looks at.
        nonfinite: Whether the same tool stops or warns at a loss that is not finite, by a rule beside this
            one; then such a loss is a flag, too.
    """

    def judge(path: Path, log: Log) -> Said:
        flags = rule(getattr(log, needs))
        return incidents(log, flags | ~np.isfinite(log.loss) if nonfinite else flags)

    return Tool(name, short, source, judge, needs)


BASELINES = (
    _tool("Lightning SpikeDetection", "Lightning", "lightning 2.6.6", ratios.lightning),
    _tool("Lightning, spikes let in", "let in", "lightning 2.6.6", partial(ratios.lightning, admit=True)),
    _tool("KillLossSpike", "KillLoss", "llm-foundry 0.22.0", ratios.kill_loss_spike),
    _tool("OLMo 7σ of 1000", "OLMo 7σ", "OLMo 2, arXiv 2501.00656", deviations.olmo_spike_score),
    _tool("OLMo-core monitor 6σ", "monitor", "ai2-olmo-core 3.0.0", deviations.olmo_monitor, nonfinite=True),
    _tool("OLMo-core skip-step 6σ", "skip", "ai2-olmo-core 3.0.0", deviations.olmo_skip_step, nonfinite=True),
    _tool("Megatron 10×", "Megatron", "megatron-core 0.16.1", ratios.megatron, nonfinite=True),
    _tool("trainpulse 5×", "trainpulse", "trainpulse 0.4.0", ratios.trainpulse, nonfinite=True),
    _tool("ZClip, on the loss", "ZClip", "zclip 1.0.0", deviations.zclip),
    _tool("ZClip, on the gradient norm", "ZClip g", "zclip 1.0.0", deviations.zclip, needs="grad_norm"),
    _tool("trainscope CUSUM", "CUSUM", "trainscope 1.8.1", deviations.trainscope_cusum),
    _tool("trainscope z 3.5", "z 3.5", "trainscope 1.8.1", deviations.trainscope_z),
    _tool("plain median and MAD", "MAD", "of no peer", deviations.median_and_mad),
)
"""The peers' rules with their defaults, and a plain one."""
