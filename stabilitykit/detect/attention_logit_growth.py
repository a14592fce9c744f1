"""Attention logits that grow much faster than they have been growing."""

import math
from typing import ClassVar

from stabilitykit.detect.growth import Growth


class AttentionLogitGrowth(Growth):
    """Flags a block whose largest attention logit doubles three times without a plateau in between.

    Looks at the upper bound, which never under-warns. Evidence only: small models live with logits in the
    thousands, and others fail below 200. The absolute marks at which large runs had trouble are named.

    Args:
        factor: Growth within 60 records that counts.
    """

    kind: ClassVar[str] = "attention_logit_growth"
    statistics: ClassVar[tuple[str, ...]] = ("attn/logit_max_bound",)
    LAG: ClassVar[int] = 60
    MARKS: ClassVar[tuple[float, ...]] = (1e4, 1e3, 1e2)
    """Every run beyond 1e4 diverged (2309.14322); at 1e3 spikes came, at 100 QK-clip begins (Kimi K2)."""

    def __init__(self, factor: float = 8.0) -> None:
        super().__init__(math.log(factor), factor=factor)

    def _message(self, site: str, value: float, reference: float) -> str:
        level = next((f", beyond {mark:g}" for mark in self.MARKS if value > mark), "")
        growth = f"{value / reference:.3g}-fold, to at most {value:.4g}{level}"
        return f"attention logits of {site} have grown {growth}"
