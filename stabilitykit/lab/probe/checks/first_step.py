"""One forward and backward pass on a run's first batch, with everything read; nothing is trained."""

from collections.abc import Mapping

import torch

from stabilitykit.lab.probe.quiet import log_to, one_thread_count, quiet_lightning
from stabilitykit.lab.probe.spec import ProbeSpec
from stabilitykit.lab.training import TextDataModule, TransformerModule
from stabilitykit.lab.training.optimizers import build_optimizer
from stabilitykit.live.loop import watch


def read_first_step(spec: ProbeSpec) -> Mapping[str, float]:
    """Return the readings of a run's first step, by tag, as the run itself would record them.

    The model has its initial weights and the batch is the run's own first one. No optimizer steps, nothing is
    written, and the process's random state is left as it was. It is computed on the CPU.

    Args:
        spec: The run.

    Raises:
        DataError: The corpus cannot be used.
    """
    with quiet_lightning(), log_to(_no_notice), one_thread_count(spec.trainer.threads):
        data = TextDataModule(spec.data, spec.model.seq_len, spec.seed, spec.trainer.steps)
        batch, unigram = data.batch(0), data.corpus.unigram
        module = TransformerModule(
            spec.model, spec.optimizer, spec.schedule, spec.trainer.steps, spec.seed, unigram=unigram
        )
        # The optimizer never steps: it says which gradients are meant.
        with (
            torch.random.fork_rng(devices=[]),
            watch(module, build_optimizer(module.model, spec.optimizer), on_incident=_no_policy) as monitor,
        ):
            torch.manual_seed(spec.seed)
            losses = module.training_step(batch, 0)
            losses["loss"].backward()  # type: ignore[no-untyped-call]
            monitor.step(**{name: value.detach() for name, value in losses.items()})
            record = monitor.latest()
    return dict(record.readings) if record else {}


def _no_policy(incident: object) -> None:
    """Let an incident be: the check has limits of its own."""


def _no_notice(message: str) -> None:
    """Let what the monitor logs be."""
