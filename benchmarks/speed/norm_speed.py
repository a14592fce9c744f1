"""What RMSNorm costs, forward and backward: paired ratios to torch's layer norm and to torch's RMSNorm.

python -m benchmarks.speed.norm_speed
python -m benchmarks.speed.norm_speed --widths 1024 --rows 8192
"""

import argparse
import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.paired import paired_times
from stabilitykit.lab.cost.spread import median_ratio
from stabilitykit.lab.model.rms_norm import rms_norm

EPS = 1e-5


def training_call(norm: Callable[[Tensor, Tensor], Tensor], rows: int, width: int) -> Callable[[], object]:
    """Return one forward and backward of a norm with a gain, on fixed numbers."""
    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(rows, width, generator=generator) for _ in range(2))
    gain = torch.ones(width, requires_grad=True)
    x.requires_grad_()
    return lambda: torch.autograd.grad(norm(x, gain), (x, gain), dy)


def main() -> None:
    """Measure and print a line for every size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512, 768, 1024])
    parser.add_argument("--rows", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.01, help="of each norm in a round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    norms: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda x, gain: rms_norm(x, gain, EPS),
        lambda x, gain: F.layer_norm(x, gain.shape, gain, None, EPS),
        lambda x, gain: F.rms_norm(x, gain.shape, gain, EPS),
    ]
    for rows in arguments.rows:
        for width in arguments.widths:
            calls = [training_call(norm, rows, width) for norm in norms]
            ours, layer, rms = paired_times(calls, arguments.rounds, arguments.seconds).T
            print(
                f"{rows:5d} rows, d {width:4d}: {median_ratio(ours, layer)} x F.layer_norm, "
                f"{median_ratio(ours, rms)} x F.rms_norm; F.layer_norm {1e6 * layer.mean():.0f} us",
                flush=True,
            )


if __name__ == "__main__":
    main()
