"""A short training, watched or not, and all that came of it."""

import math
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _pop_mode

from stabilitykit import Statistic, watch
from stabilitykit.detect import Detector
from stabilitykit.live.listener import Listener
from stabilitykit.live.loop import LoopMonitor
from stabilitykit.records import Finding, Incident, IncidentChange, StepRecord, Verdict

from .targets import is_faults_own

STEPS = 4
WIDTH, WORDS, LENGTH = 8, 16, 6


class Block(nn.Module):
    """A block of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 16), nn.Linear(16, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after it."""
        q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in self.qkv(self.norm_1(x)).chunk(3, -1))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.dropout(self.out(attended.transpose(1, 2).flatten(2)), 0.1, self.training)
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class Model(nn.Module):
    """Two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class OwnDetector(Detector):
    """Says something at every step."""

    kind = "mine"

    def update(self, record: StepRecord) -> Sequence[Finding]:
        """Return nothing."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """Return little."""
        return {"seen": 1}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it."""


class OwnSink(Listener):
    """Takes everything."""

    def record(self, record: StepRecord) -> None:
        """Take a step."""

    def incident(self, change: IncidentChange) -> None:
        """Take a change."""

    def verdict(self, verdict: Verdict, document: Any) -> None:
        """Take the end."""


class Own:
    """A statistic and a reaction of the user's own."""

    @staticmethod
    def statistic(x: Tensor) -> Tensor:
        """Return a number."""
        return x.abs().mean()

    @staticmethod
    def reaction(incident: Incident) -> None:
        """Do nothing."""


def began() -> tuple[Model, torch.optim.Optimizer]:
    """Return what every run begins with."""
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    model = Model()
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def plain_loop(
    watched: bool, arm: Callable[[int], None] = lambda step: None, folder: Path | None = None
) -> list[Any]:
    """Train, and return losses, gradients, weights and random states.

    Args:
        watched: Whether to watch it.
        arm: Called as each step begins; with -1 before anything is watched.
        folder: Where the run is kept, if it is.
    """
    model, optimizer = began()
    seen: list[Any] = []

    def step(number: int) -> Tensor:
        tokens = (torch.arange(2 * LENGTH).view(2, LENGTH) * (number + 1)) % WORDS
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        seen.extend(p.grad.clone() for p in model.parameters() if p.grad is not None)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen.append(loss.detach().clone())
        return loss

    if not watched:
        for number in range(STEPS):
            step(number)
    else:
        _watched(model, optimizer, folder, step, arm)
    seen += [p.detach().clone() for p in model.parameters()]
    seen += [torch.get_rng_state(), np.random.get_state()[1].tolist()]
    if "beartype" not in sys.modules:
        # Where the tests check types, beartype draws from it to look at one item of each container.
        seen.append(random.getstate())
    return seen


def modes_left() -> int:
    """Take off the modes of torch functions that are still on, and return how many there were."""
    count = 0
    while torch._C._len_torch_function_stack():
        _pop_mode()
        count += 1
    return count


def _watched(
    model: Model,
    optimizer: torch.optim.Optimizer,
    folder: Path | None,
    step: Callable[[int], Tensor],
    arm: Callable[[int], None],
) -> None:
    arm(-1)
    own = {
        "statistics": [Statistic("mine/size", lambda x: Own.statistic(x))],
        "detectors": [OwnDetector()],
        "on_incident": ["stop", lambda incident: Own.reaction(incident)],
    }
    with watch(model, optimizer, folder, **own) as monitor:
        # A plain loop has no argument for sinks; the callbacks do.
        sink = OwnSink()
        monitor._monitor._sinks.append((sink, monitor._monitor._of_sink(sink)))
        for number in range(STEPS):
            arm(number)
            loss = step(number)
            monitor.step(math.nan if number == 2 else loss, other=1.0)
            _ask(monitor)


def _ask(monitor: LoopMonitor) -> None:
    """Ask all that a loop may ask."""
    monitor.latest()
    monitor.coverage()
    # What is asked for is handed on as it is, also where a fault answers in its place.
    verdict, incidents = monitor.verdict(), monitor.incidents
    assert is_faults_own(verdict) or verdict.outcome
    assert is_faults_own(incidents) or len(incidents) >= 0
    assert monitor.host_reads is not None


def differs(found: list[Any], expected: list[Any]) -> bool:
    """Return whether anything is another bit than it was."""
    if len(found) != len(expected):
        return True
    return not all(
        torch.equal(one, other) if isinstance(one, Tensor) else one == other
        for one, other in zip(found, expected, strict=True)
    )
