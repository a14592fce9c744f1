"""Does what a few steps of Adam change depend on the width? Under µP it should not (Yang et al. 2203.03466).

Prints the root mean square of the change in the last block's branches, its line and the logits, by width,
with the exponent of the width that fits best. The heads' number is fixed, and their width grows.

    python -m benchmarks.science.coordinate_check
    python -m benchmarks.science.coordinate_check --widths 64 128 256 512 1024 --steps 10 --random-head
"""

import argparse
import os
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from stabilitykit.lab.model import TransformerConfig
from stabilitykit.lab.training import OptimizerConfig, coordinate_check, width_exponent
from stabilitykit.lab.validation import validated

PARAMETRISATIONS: dict[str, dict[str, Any]] = {
    "mup": {
        "attention": {"logit_scale": "inv_head_dim"},
        "initialization": {"scheme": "mup", "mup_base_width": 32},
    },
    # The same at a width of 32, but for attention's scale.
    "fan_in": {"initialization": {"scheme": "fan_in", "embed_std": 1.0}},
}


def config_of(parametrisation: str, width: int, random_head: bool) -> TransformerConfig:
    """Return a model of three blocks."""
    chosen = PARAMETRISATIONS[parametrisation]
    fields = {
        "d_model": width,
        "n_layers": 3,
        "attention": {"n_heads": 4, **chosen.get("attention", {})},
        "initialization": {"zero_head": not random_head, **chosen["initialization"]},
    }
    return validated(TransformerConfig, fields)


def main() -> None:
    """Print a table for each parametrisation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 64, 128, 256, 512])
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--random-head", action="store_true", help="do not start the head at zero")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':8s} {'site':8s}", *(f"{width:>8d}" for width in arguments.widths), "  exponent")
    for name in PARAMETRISATIONS:
        configs = {width: config_of(name, width, arguments.random_head) for width in arguments.widths}
        optimizer = OptimizerConfig(lr=arguments.lr)
        changes = coordinate_check(configs, optimizer, arguments.steps, arguments.seeds)
        for site, by_width in changes.items():
            row = (f"{value:8.4f}" for value in by_width.values())
            print(f"{name:8s} {site:8s}", *row, f"{width_exponent(by_width):+10.2f}", flush=True)


if __name__ == "__main__":
    main()
