"""What ``cost --hf`` is asked for: public models, by their configuration files. Loads transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from stabilitykit.errors import ConfigError
from stabilitykit.lab.cost import COMPARISONS, Priced, Workload
from stabilitykit.lab.cost.pricing import OnProgress
from stabilitykit.lab.cost.public import (
    LENGTH,
    PublicModel,
    PublicOptimizer,
    check_public,
    priced_public,
    read_public,
)
from stabilitykit.lab.cost.workload import DType, Mode


@dataclass(frozen=True)
class AskedOfPublic:
    """Models, of which the first is what the others are compared with, and what they are to do."""

    models: list[PublicModel]
    workload: Workload
    optimizer: PublicOptimizer

    def priced(self, seconds: float | None, on_progress: OnProgress | None = None) -> list[Priced]:
        """Return what they cost.

        Args:
            seconds: About how long to measure each; None to count alone.
            on_progress: Called with the share that is done.

        Raises:
            DataError: What is to be measured does not fit in memory.
        """
        return priced_public(self.models, self.workload, self.optimizer, seconds, on_progress)


def asked_of_public(
    path: str,
    compare: str | None,
    without: Sequence[tuple[str, object]],
    mode: str | None,
    batch: int,
    seq: int | None,
    dtype: str,
    optimizer: str,
) -> AskedOfPublic:
    """Return what was typed, resolved.

    Args:
        path: A configuration file or its folder.
        compare: Another one.
        without: Options that public models have no use for, with what was typed there.
        mode: ``train`` or ``prefill``.
        batch: Sequences at once.
        seq: Tokens of a sequence.
        dtype: The type of everything.
        optimizer: What steps, in training.

    Raises:
        ConfigError: Something is not known, out of range, or does not go together; names the option.
        MissingExtraError: transformers is not installed.
    """
    for option, typed in without:
        if typed not in (None, []):
            raise ConfigError(f"{option}: got {typed}; not with --hf, whose file says what the model is")
    if compare in COMPARISONS or (compare and "=" in compare):
        raise ConfigError(f"--compare: got {compare}; with --hf another config.json")
    models = [read_public(each) for each in (path, compare) if each is not None]
    longest = min((each.longest for each in models if each.longest is not None), default=LENGTH)
    length = min(LENGTH, longest) if seq is None else seq
    workload = Workload(cast(Mode, mode or "train"), batch, length, cast(DType, dtype))
    for each in models:
        check_public(each, workload, optimizer)
    # Checked just now.
    return AskedOfPublic(models, workload, cast(PublicOptimizer, optimizer))
