"""What one call of attention leaves behind for the statistics."""

from dataclasses import dataclass

import torch

from stabilitykit.stats import AttentionCall, AttentionReading, LogitRows, read_attention, read_logits


@dataclass(frozen=True, slots=True)
class Seen:
    """One call of attention."""

    data: AttentionCall | LogitRows
    """Queries and keys beside a kernel, or rows of logits that were in memory."""
    complete: bool
    """Whether every sequence was looked at: exact or well bounded then, sampled otherwise."""
    queries: int = 0
    """Rows of a sequence's head."""
    is_doubtful: bool = False
    """Whether it is not known to be attention: then its largest logit is a bound of what attention had."""

    @property
    def key(self) -> tuple[object, ...]:
        """What must be alike for calls to be read together."""
        data = self.data
        if isinstance(data, LogitRows):
            return data.logits.shape, data.logits.device, self.is_doubtful
        return (
            data.q.shape,
            data.k.shape,
            data.q.dtype,
            data.k.dtype,
            data.q.device,
            data.scale,
            data.causal,
            None if data.bias is None else data.bias.dtype,
            data.level.shape,
            data.modify is None,
            data.elsewhere is None,
        )

    @property
    def size(self) -> int:
        """Elements that are held until the call is read."""
        data = self.data
        if isinstance(data, LogitRows):
            return data.logits.numel()
        return data.q.numel() + data.k.numel() + data.level.numel()

    @property
    def version(self) -> int:
        """Grows when what is held is changed in place."""
        data = self.data
        return 0 if isinstance(data, LogitRows) else data.q._version + data.k._version


def read(calls: list[Seen]) -> AttentionReading:
    """Return the readings of calls with one key; logits are computed in float32 whatever autocast says."""
    kernels = [call.data for call in calls if isinstance(call.data, AttentionCall)]
    logits = [call.data for call in calls if isinstance(call.data, LogitRows)]
    device = kernels[0].q.device if kernels else logits[0].logits.device
    if torch.is_autocast_enabled(device.type):
        with torch.autocast(device.type, enabled=False):
            return read(calls)
    with torch.no_grad():
        return read_attention(kernels) if kernels else read_logits(logits)
