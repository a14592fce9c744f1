"""Healthy trainings of many kinds: how many incidents are told of, all of them false.

Diffusion, contrastive, masked, mixed, adversarial: tiny models whose losses are noisy for a reason
that is no instability. Limits may be chosen on half of the kinds; the others are kept back and judge them.

    python -m benchmarks.detection.healthy_zoo --keep runs/zoo  # trains all: a quarter of an hour on one core
    python -m benchmarks.detection.healthy_zoo --read runs/zoo  # judges what was kept anew
    python -m benchmarks.detection.healthy_zoo --kinds diffusion UNet --seeds 3 --steps 300
"""

import argparse
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from benchmarks.detection.zoo import diffusion, masked, mixtures, pairs
from benchmarks.detection.zoo.kinds import KINDS, LOOKED_AT
from stabilitykit import watch
from stabilitykit.afterwards.replay import replay
from stabilitykit.records import Verdict

MODULES = (diffusion, pairs, masked, mixtures)
"""Where the kinds are; each registers its own, in this order."""


@dataclass
class Said:
    """What was told of the runs of one kind."""

    runs: int = 0
    quiet: int = 0
    """Runs without an incident."""
    verdicts: Counter[str] = field(default_factory=Counter)
    incidents: Counter[str] = field(default_factory=Counter)
    """By kind and severity."""
    places: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict, seed: int) -> None:
        """Count one run."""
        self.runs += 1
        self.quiet += not verdict.incidents
        self.verdicts[verdict.outcome] += 1
        self.incidents.update(f"{incident.kind} {incident.severity}" for incident in verdict.incidents)
        self.places += [f"{seed}: {i.kind}@{i.start} {i.site}" for i in verdict.incidents]


def train(name: str, seed: int, steps: int, folder: Path | None) -> Verdict:
    """Train one model under watch, with its folder where one is given."""
    torch.manual_seed(seed)
    training = KINDS[name](torch.Generator().manual_seed(1000 * seed + 7))
    model = training.watched or training.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.lr)
    with watch(model, optimizer, folder, on_incident=lambda incident: None) as monitor:
        for step in range(steps):
            training.beside(step)
            loss = training.loss(step)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip)
            optimizer.step()
            monitor.step(loss)
        return monitor.verdict()


def folder_of(root: Path, name: str, seed: int) -> Path:
    """Return where a run's readings lie."""
    return root / re.sub(r"\W+", "_", name) / f"seed-{seed}"


def verdicts(name: str, options: argparse.Namespace) -> Iterator[tuple[int, Verdict]]:
    """Yield each seed with what is said of its run."""
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        if options.read:
            yield seed, replay(folder_of(options.read, name, seed)).verdict
        else:
            folder = folder_of(options.keep, name, seed) if options.keep else None
            yield seed, train(name, seed, options.steps, folder)


def line(name: str, said: Said) -> str:
    """Return a row of the table."""
    told = ", ".join(f"{kind} {n}" for kind, n in said.incidents.most_common()) or "–"
    return f"| {name} | {said.runs} | {said.quiet} | {sum(said.incidents.values())} | {told} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or read, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", default=[""], help="kinds whose name holds one of these")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="others than those that rules were made on")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--keep", type=Path, help="folder for the runs' readings")
    parser.add_argument("--read", type=Path, help="folder with the readings of an earlier call")
    parser.add_argument("--where", action="store_true", help="also print each incident")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for is_open, title in ((True, "looked at"), (False, "kept back")):
        print(f"\n| {title} | runs | without incident | incidents | which |\n| --- | --- | --- | --- | --- |")
        total = Said()
        for name in KINDS:
            if (name in LOOKED_AT) is not is_open or not any(part in name for part in options.kinds):
                continue
            said = Said()
            for seed, verdict in verdicts(name, options):
                said.add(verdict, seed)
                total.add(verdict, seed)
            print(line(name, said), *(said.places if options.where else ()), sep="\n  ", flush=True)
        print(line("all", total))


if __name__ == "__main__":
    main()
