"""Attention logits that grow much faster than they have been growing."""

from typing import ClassVar

from stabilitykit.detect.growth import Growth


class AttentionLogitGrowth(Growth):
    """Flags a block whose largest attention logit multiplies within 20 steps.

    Looks at the upper bound, which never under-warns. Evidence only: small models live with logits in the
    thousands, and others fail below 200.

    Args:
        factor: Growth within 20 steps that counts.
    """

    kind: ClassVar[str] = "attention_logit_growth"
    statistics: ClassVar[tuple[str, ...]] = ("attn/logit_max_bound",)

    def __init__(self, factor: float = 4.0) -> None:
        super().__init__(factor)

    def _message(self, site: str, value: float, reference: float, since: int) -> str:
        level = next((f", beyond {mark:g}" for mark in (1e4, 1e3, 1e2) if value > mark), "")
        growth = f"{value / reference:.3g}-fold, to at most {value:.4g}{level}"
        return f"attention logits of {site} have grown {growth}"
