"""The document that ``stabilitykit cost --json`` prints, as far as a report tells of it."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stabilitykit.errors import DataError
from stabilitykit.store.disk import reason

_MARKS = ("operations", "classes", "passes")
"""Fields by which a document is known."""
_LARGEST = 64_000_000
"""Bytes; a document of many variants has less than one million."""


class _Part(BaseModel):
    """Part of the document; what a report does not tell of is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Spread(_Part):
    """A median, and what it lies between: quartiles of repeats, or an interval of a ratio."""

    median: float
    low: float
    high: float


class Work(_Part):
    """Arithmetic and traffic."""

    flops: float
    bytes: float


class ClassRow(_Part):
    """All operations of one class."""

    name: str = Field(alias="class")
    flops_share: float
    bytes_share: float
    bound_s: float | None = None
    seconds: Spread | None = None
    time_share: float | None = None


class MeasuredRow(_Part):
    """What one operation took."""

    seconds: Spread
    kernels: dict[str, list[str]]
    """By pass."""
    fused: bool


class OperationRow(_Part):
    """One operation."""

    name: str
    op_class: str = Field(alias="class")
    layers: int
    forward: Work
    backward: Work
    step: Work
    bound_s: float | None = None
    bound_by: str | None = None
    measured: MeasuredRow | None = None
    done_by: str | None = None
    """The operation whose kernel does it."""

    @property
    def flops(self) -> float:
        """Of all passes."""
        return self.forward.flops + self.backward.flops + self.step.flops

    @property
    def bytes(self) -> float:
        """Of all passes."""
        return self.forward.bytes + self.backward.bytes + self.step.bytes


class StepMeasured(_Part):
    """How a step was measured."""

    rounds: int
    step_s: Spread
    profiled_s: Spread
    kernels_s: Spread
    outside_share: float
    unattributed_share: float
    device: str
    threads: int
    torch: str


class Memory(_Part):
    """Bytes held at once."""

    kv_cache: float
    total: float


class Peaks(_Part):
    """The machine's best rates."""

    flops_per_s: float
    bytes_per_s: float


class Side(_Part):
    """One model."""

    arch: str
    mode: Literal["train", "prefill", "decode"]
    batch: int
    length: int
    dtype: str
    optimizer: str | None = None
    parameters: float
    total: Work
    classes: list[ClassRow] = Field(min_length=1)
    operations: list[OperationRow] = Field(min_length=1)
    memory: Memory
    bound_s: float | None = None
    measured: StepMeasured | None = None


class ComparedSide(Side):
    """Another model, and what it costs for each unit of the first one's cost."""

    ratios: dict[str, float | None]
    measured_ratios: dict[str, Spread | None] = Field(default_factory=dict)


class GrowthMeasured(_Part):
    """A step at one length of the cache."""

    step_s: Spread
    attention_s: Spread
    step_ratio: Spread
    attention_ratio: Spread


class GrowthRow(_Part):
    """One variant at one length of the cache."""

    cache: int
    arch: str
    kv_cache: float
    bound_s: float | None = None
    attention: Work
    measured: GrowthMeasured | None = None

    def attention_bound(self, peaks: Peaks | None) -> float | None:
        """Return the roofline's least time of all that reads the cache, in seconds.

        Args:
            peaks: The machine's.
        """
        if peaks is None:
            return None
        return max(self.attention.flops / peaks.flops_per_s, self.attention.bytes / peaks.bytes_per_s)


class CostDocument(Side):
    """What the first model costs, and the others beside it."""

    peaks: Peaks | None = None
    compared: list[ComparedSide] = Field(default_factory=list)
    growth: list[GrowthRow] = Field(default_factory=list)

    @property
    def sides(self) -> list[Side]:
        """All models; the first is what the others are compared with."""
        return [self, *self.compared]


def is_cost_document(path: Path) -> bool:
    """Return whether a file is what ``cost --json`` printed, by what is in it.

    Args:
        path: Any path.
    """
    document = _json(path)
    return isinstance(document, dict) and all(mark in document for mark in _MARKS)


def read_cost(path: Path) -> CostDocument:
    """Return a document.

    Args:
        path: A file that ``is_cost_document`` knows.

    Raises:
        DataError: It cannot be read, or has another shape; names the field.
    """
    try:
        return CostDocument.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "document"
        told = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
        raise DataError(
            f"{path}: {field}: {told}; accepted: what this version's stabilitykit cost --json prints"
        ) from None


def _json(path: Path) -> Any:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        with path.open("rb") as file:
            if not file.read(64).lstrip().startswith(b"{"):
                return None
            file.seek(0)
            return json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None
