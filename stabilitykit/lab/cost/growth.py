"""What decoding costs where the cache grows."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from stabilitykit.lab.cost.comparisons import GROWTH
from stabilitykit.lab.cost.document import GrowthMeasured, GrowthRow, WorkRow
from stabilitykit.lab.cost.measured.measurement import Seconds
from stabilitykit.lab.cost.measured.variant import Variant
from stabilitykit.lab.cost.operation import Operation, Work
from stabilitykit.lab.cost.peaks import Peaks
from stabilitykit.lab.cost.predicted.optimizer import OptimizerName
from stabilitykit.lab.cost.pricing import OnProgress, Priced, priced
from stabilitykit.lab.cost.spread import median_ratio, spread
from stabilitykit.lab.cost.workload import Workload
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.validation import validated

_ATTENTION = ("attn.scores", "attn.softmax", "attn.weighted_sum", "attn.repeat_kv")
"""What reads the cache."""


def growth(
    variants: Sequence[Variant],
    workload: Workload,
    optimizer: OptimizerName,
    peaks: Peaks | None,
    seconds: float | None,
    on_progress: OnProgress = lambda done: None,
) -> list[GrowthRow]:
    """Return a row for every length of the cache, 1, 4, 16 and 64 times the workload's, and variant.

    Args:
        variants: The first is what the others are compared with.
        workload: Decoding.
        optimizer: Not looked at; decoding has none.
        peaks: The machine's.
        seconds: About how long each model is measured at each length; None to predict alone.
        on_progress: Called with the share of all lengths that is done.

    Raises:
        DataError: A length is to be measured and does not fit in memory.
    """
    rows = []
    for n, times in enumerate(GROWTH):
        length = workload.length * times
        longer = [each._replace(config=_reaching(each.config, length)) for each in variants]
        sides = priced(longer, replace(workload, length=length), optimizer, seconds, _part(on_progress, n))
        rows += [_row(length, sides[0], each, peaks) for each in sides]
    return rows


def _reaching(config: TransformerConfig, length: int) -> TransformerConfig:
    return validated(TransformerConfig, {**config.model_dump(), "seq_len": max(config.seq_len, length)})


def _part(on_progress: OnProgress, n: int) -> Callable[[float], None]:
    return lambda done: on_progress((n + done) / len(GROWTH))


def _row(length: int, first: Priced, side: Priced, peaks: Peaks | None) -> GrowthRow:
    prediction = side.prediction
    reading = [each for each in prediction.operations if each.name in _ATTENTION]
    return GrowthRow.model_validate(
        {
            "cache": length,
            "arch": side.label,
            **WorkRow.model_validate(prediction.total).given(),
            "kv_cache": prediction.memory.kv_cache,
            "bound_s": peaks and prediction.seconds(peaks),
            "attention": _forward(reading),
            "measured": _measured(first, side),
        }
    )


def _forward(operations: Sequence[Operation]) -> Work:
    return sum((each.forward for each in operations), Work())


def _measured(first: Priced, side: Priced) -> GrowthMeasured | None:
    if first.measurement is None or side.measurement is None:
        return None
    own, other = (_attention_seconds(each) for each in (side, first))
    return GrowthMeasured(
        step_s=side.measurement.step,
        attention_s=spread(own),
        step_ratio=median_ratio(side.measurement.plain, first.measurement.plain),
        attention_ratio=median_ratio(own, other),
    )


def _attention_seconds(side: Priced) -> Seconds:
    operations = () if side.measurement is None else side.measurement.operations
    found: Seconds = np.sum([each.seconds for each in operations if each.name in _ATTENTION], axis=0)
    return found
