"""Do the rules of peers, written anew in this room, flag what the peers' own code flags?

One line a rule: points and flags over one run of each family, and where the two differ. Peers that are not
installed are passed over. In an environment of its own:

    pip install -c constraints.txt -e '.[test]' trainpulse==0.4.0 trainscope==1.8.1 zclip==1.0.0
    pip install ai2-olmo-core==3.0.0     # takes rich back to 13, with which this still runs
    python -m benchmarks.detection.peer_agreement

llm-foundry and Megatron-LM do not install beside this torch.
"""

import argparse
import math
import warnings
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch

from benchmarks.detection import peer_deviations, peer_ratios
from benchmarks.detection.cases import generate
from benchmarks.detection.families import FAMILIES
from benchmarks.detection.log import Values
from benchmarks.detection.peer_ratios import Flags

Step = Callable[[float], bool]
"""Takes the next value and returns whether the peer's code flags it."""


def lightning() -> Step:
    """Return the callback of Lightning; it raises at a spike, and goes on after it."""
    from lightning.fabric.utilities.spike import SpikeDetection, TrainingSpikeException

    strategy = SimpleNamespace(
        root_device=torch.device("cpu"),
        barrier=lambda: None,
        reduce_boolean_decision=lambda decision, all: decision,
    )
    # Only rank 0 writes a file.
    fabric = SimpleNamespace(strategy=strategy, global_rank=1)
    detection, seen = SpikeDetection(exclude_batches_path="none.json"), 0

    def step(value: float) -> bool:
        nonlocal seen
        seen += 1
        try:
            detection.on_train_batch_end(fabric, torch.tensor(value), None, seen - 1)
        except TrainingSpikeException:
            return True
        return False

    return step


def olmo_monitor() -> Step:
    """Return the callback of OLMo-core, fed as its trainer does."""
    from olmo_core.train.callbacks.stability_monitor import StabilityMonitorCallback

    monitor = StabilityMonitorCallback()

    def step(value: float) -> bool:
        monitor.pre_log_metrics(0, {monitor.loss_metric_name: value})
        return monitor._spike_history[-1]

    return step


def olmo_skip_step() -> Step:
    """Return the optimizer of OLMo-core that skips steps."""
    from olmo_core.optim.skip_step_optimizer import SkipStepOptimizer

    optimizer = SkipStepOptimizer([torch.nn.Parameter(torch.zeros(1))], {})

    def step(value: float) -> bool:
        optimizer.latest_loss = torch.tensor(value, dtype=torch.float64)
        return bool(optimizer.step_skipped)

    return step


def trainpulse() -> Step:
    """Return the spike detector of trainpulse."""
    from trainpulse.detectors import LossSpikeDetector

    detector = LossSpikeDetector()
    return lambda value: detector.check(0, value) is not None


def zclip() -> Step:
    """Return ZClip, on a model whose gradient norm is the value; a spike is what has a limit of its own."""
    from zclip import ZClip

    clip, model = ZClip(), torch.nn.Linear(1, 1, bias=False).double()

    def step(value: float) -> bool:
        flag = clip.initialized and clip._compute_clip_val(value) is not None
        model.weight.grad = torch.full((1, 1), value, dtype=torch.float64)
        clip.step(model)
        return flag

    return step


def trainscope_cusum() -> Step:
    """Return the detector that trainscope takes by default; it sees finite losses only."""
    from trainscope.core.detectors.changepoint import ChangePointDetector

    detector = ChangePointDetector()
    return lambda value: math.isfinite(value) and detector.update(value) is not None


def trainscope_z() -> Step:
    """Return the z-score detector of trainscope."""
    from trainscope.core.detectors.z_score import ZScoreDetector

    detector = ZScoreDetector()
    return lambda value: math.isfinite(value) and detector.update(value) is not None


PAIRS: tuple[tuple[Callable[[Values], Flags], Callable[[], Step]], ...] = (
    (peer_ratios.lightning, lightning),
    (peer_ratios.trainpulse, trainpulse),
    (peer_deviations.olmo_monitor, olmo_monitor),
    (peer_deviations.olmo_skip_step, olmo_skip_step),
    (peer_deviations.zclip, zclip),
    (peer_deviations.trainscope_cusum, trainscope_cusum),
    (peer_deviations.trainscope_z, trainscope_z),
)


def compare(ours: Callable[[Values], Flags], theirs: Callable[[], Step]) -> str:
    """Return what came of comparing a rule with the peer's code."""
    try:
        theirs()
    except ImportError as error:
        return f"not installed: {error}"
    points = flags = 0
    differing = []
    for name in FAMILIES:
        loss = generate(name, seed=1).log.loss[:1200]
        step = theirs()
        flagged = np.array([step(value) for value in loss.tolist()])
        points, flags = points + len(loss), flags + int(flagged.sum())
        if not np.array_equal(flagged, ours(loss)):
            differing.append(name)
    return f"{points} points, {flags} flags, different in {differing or 'none'}"


def main() -> None:
    """Compare, and print."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    warnings.filterwarnings("ignore")
    for ours, theirs in PAIRS:
        print(f"{ours.__name__:18s} {compare(ours, theirs)}", flush=True)


if __name__ == "__main__":
    main()
