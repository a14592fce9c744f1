"""Do the alarms stay silent on healthy deep models with a wide vocabulary?

Trains 12- and 32-block models on the words of the Python standard library (8,192 tokens) at a learning
rate that they hold, every reading at every step, and prints the incidents. The right answer is none.

    python -m benchmarks.detection.healthy_deep --layers 12 32 --steps 250 --seeds 0 1
"""

import argparse
import os
import re
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F

from stabilitykit import watch
from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.lab.training.corpus import read_corpus
from stabilitykit.records import Severity

VOCABULARY = 8192
WORDS = re.compile(rb"[A-Za-z_]+|[0-9]+|\n *| +|[^A-Za-z0-9_ \n]")


def word_tokens() -> tuple[np.ndarray, np.ndarray]:
    """Return the corpus as token indices, and the probability of each token; index 0 is any rarer word."""
    train = read_corpus().train
    words = WORDS.findall(train.read(0, train.size).tobytes())
    common = [word for word, _ in Counter(words).most_common(VOCABULARY - 1)]
    index = {word: place for place, word in enumerate(common, start=1)}
    tokens = np.array([index.get(word, 0) for word in words])
    counts = np.bincount(tokens, minlength=VOCABULARY) + 1.0
    return tokens, counts / counts.sum()


def train(arch: str, layers: int, lr: float, steps: int, seed: int, folder: Path | None) -> str:
    """Train one model and return a line on what the monitor said."""
    tokens, unigram = word_tokens()
    surprise = torch.from_numpy(-np.log(unigram)).float()
    config = TransformerConfig.model_validate(
        {"vocab_size": VOCABULARY, "n_layers": layers, "wiring": arch}
        | ({"attention": {"qk_norm": "head"}} if arch == "out_norm" else {})
    )
    model = Transformer(config, seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95))
    draw = np.random.default_rng(seed)
    losses, low = [], 0
    with watch(model, optimizer, folder, on_incident=lambda incident: None) as monitor:
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1.0, (step + 1) / (steps // 10))
            starts = draw.integers(0, len(tokens) - config.seq_len - 1, 8)
            batch = torch.from_numpy(np.stack([tokens[s : s + config.seq_len + 1] for s in starts]))
            targets = batch[:, 1:]
            loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            monitor.step(loss, unigram_cross_entropy=surprise[targets].mean())
            losses.append(loss.item())
            readings = monitor.latest().readings
            low += any(v < 0.01 for tag, v in readings.items() if tag.startswith("grad/share/blocks."))
        verdict = monitor.verdict()
    alarms = [f"{i.kind}@{i.detected} {i.site}" for i in verdict.incidents if i.severity is not Severity.INFO]
    entropy = float(-(unigram * np.log(unigram)).sum())
    return (
        f"{arch:12s} L {layers:2d} LR {lr:g} seed {seed}: {verdict.outcome}, loss {losses[0]:.2f} -> "
        f"{np.mean(losses[-10:]):.2f} (unigram {entropy:.2f}), a share below 1 % on {low} of {steps} steps; "
        f"alarms: {', '.join(alarms) or 'none'}"
    )


def main() -> None:
    """Run every combination that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", nargs="+", default=["pre_norm", "double_norm"])
    parser.add_argument("--layers", nargs="+", type=int, default=[12, 32])
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--keep", type=Path, help="folder for the runs' readings")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for layers in arguments.layers:
        for arch in arguments.arch:
            for seed in arguments.seeds:
                keep = arguments.keep and arguments.keep / f"{arch}-L{layers}-s{seed}"
                print(train(arch, layers, arguments.lr, arguments.steps, seed, keep), flush=True)


if __name__ == "__main__":
    main()
