"""Runs put together from random numbers, with a tag of every family."""

import numpy as np

from benchmarks.alarms.runs import Run
from stabilitykit.tags import REGISTRY, block_site

EVERY_TENTH = ("act/massive", "act/kurtosis", "act/token_spread", "act/silent_units")
LINEAR = {"optim/grad_cosine": 0.3, "grad/cosine": 0.3, "output/log_z": 1.0}
"""Families whose readings may be negative, and how far they scatter."""
_SITES = {"block": ("",), "norm": (".attn_norm",), "site": (".attn_norm_in", ".mlp_out", ".resid_post")}


def config(seed=0, lr=3e-3, warmup=0, **fields):
    """Return as much of a resolved configuration as is looked at."""
    return {
        "schema_version": 1,
        "arch": "pre_norm",
        "seed": seed,
        "model": {"n_layers": 2, "wiring": "pre_norm", "attention": {"qk_norm": "none"}},
        "data": {"kind": "text", "batch_size": 16},
        "optimizer": {"kind": "adamw", "lr": lr},
        "schedule": {"kind": "constant", "warmup": warmup},
        "corpus": {"name": "made-up"},
        "environment": {"torch": "2.13.0"},
        **fields,
    }


def tags(n_blocks=2):
    """Return a tag of every family at a few sites."""
    found = []
    for family in REGISTRY.values():
        if family.sites == "group":
            groups = ["embed", *(block_site(n, n_blocks) for n in range(n_blocks)), "head"]
            found += [f"{family.name}/{site}" for site in groups]
        elif family.sites:
            blocks = [block_site(n, n_blocks) for n in range(n_blocks)]
            found += [f"{family.name}/{block}{end}" for block in blocks for end in _SITES[family.sites]]
        else:
            found.append(family.name)
    return tuple(found)


def made_up(seed, n=80, wild=True, name=None):
    """Return a run whose readings are random walks.

    Args:
        seed: Of everything.
        n: Steps.
        wild: Whether some readings are NaN, infinite or zero, and some are not there.
        name: Its name.
    """
    rng = np.random.default_rng(seed)
    names = tags()
    # A walk of logs with jumps, so that rules have something to find.
    moves = rng.normal(0, 0.1, (n, len(names))) + (rng.random((n, len(names))) < 0.02) * rng.normal(
        0, 3, (n, len(names))
    )
    values = np.exp(np.cumsum(moves, axis=0))
    missing = np.zeros(values.shape, dtype=bool)
    for place, tag in enumerate(names):
        if scale := next((s for family, s in LINEAR.items() if tag.startswith(family)), 0.0):
            values[:, place] = rng.normal(0, scale, n)
        elif tag.startswith(("attn/entropy", "optim/clip_factor", "optim/staleness", "grad/share")):
            values[:, place] = np.minimum(values[:, place], 1.0)
        elif tag.startswith(("act/nonfinite", "optim/skipped")):
            values[:, place] = rng.random(n) < 0.02
        elif tag in ("train/loss", "train/cross_entropy", "train/unigram_cross_entropy"):
            values[:, place] = 3 + rng.normal(0, 0.05, n)
        if tag.startswith(EVERY_TENTH):
            missing[:, place] = np.arange(n) % 10 > 0
    if wild:
        odd = rng.random(values.shape)
        for limit, value in ((0.01, np.nan), (0.015, np.inf), (0.02, 0.0)):
            values[(odd < limit) & (odd >= limit - 0.01)] = value
        missing |= rng.random(values.shape) < 0.01
    values[missing] = np.nan
    return Run(
        name or f"made_up-{seed}",
        "boundary",
        config(seed),
        np.arange(n, dtype=np.int64),
        names,
        values.astype(np.float32),
        missing,
        {"outcome": "stable", "incidents": []},
    )
