"""How attention is seen while it runs: one file for each way of writing it."""

from stabilitykit.observe.attention.mode import AttentionMode
from stabilitykit.observe.attention.pending import PendingCalls, write_readings
from stabilitykit.observe.attention.seen import Seen

__all__ = ["AttentionMode", "PendingCalls", "Seen", "write_readings"]
