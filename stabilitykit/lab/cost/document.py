"""The document of a cost: pricing builds it, ``cost --json`` prints it, terminal and page read it. No torch.

Fields stand in the order in which they are printed; what was not given is not printed. Those with a default
may be missing in what is read.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from stabilitykit.errors import DataError
from stabilitykit.lab.cost.spread import Ratio, Spread

Number = int | float
"""What is counted stays whole."""
Times = Annotated[Spread, PlainSerializer(Spread._asdict)]
"""A median with its quartiles, in seconds."""
Quotient = Annotated[Ratio, PlainSerializer(Ratio._asdict)]
"""A measured ratio with its 95 % interval."""


class Part(BaseModel):
    """Part of the document; read by its fields' names from objects, too."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)

    def given(self) -> dict[str, Any]:
        """Return what was given, by field."""
        return {name: each for name, each in self if name in self.model_fields_set}

    def to_json(self) -> dict[str, Any]:
        """Return what was given as plain data."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class WorkRow(Part):
    """Arithmetic and traffic."""

    flops: Number
    dense_flops: Number = 0
    read: Number = 0
    written: Number = 0
    bytes: Number
    intensity: float | None = None


class _OfClass(Part):
    name: str = Field(alias="class")


class ClassRow(WorkRow, _OfClass):
    """All operations of one class; its name stands before its work."""

    flops_share: float
    bytes_share: float
    bound_s: Number | None = None
    seconds: Times | None = None
    time_share: float | None = None


class MeasuredRow(Part):
    """What one operation took."""

    seconds: Times
    pass_seconds: dict[str, Times] = Field(default_factory=dict)
    kernels: dict[str, list[str]]
    """By pass."""
    fused: bool


class OperationRow(Part):
    """One operation."""

    name: str
    op_class: str = Field(validation_alias=AliasChoices("class", "op_class"), serialization_alias="class")
    layers: int
    parameters: Number = 0
    saved: Number = 0
    forward: WorkRow
    backward: WorkRow
    step: WorkRow
    bound_s: Number | None = None
    bound_by: str | None = None
    measured: MeasuredRow | None = None
    done_by: str | None = None
    """The operation whose kernel does it."""

    @property
    def flops(self) -> Number:
        """Of all passes."""
        return self.forward.flops + self.backward.flops + self.step.flops

    @property
    def bytes(self) -> Number:
        """Of all passes."""
        return self.forward.bytes + self.backward.bytes + self.step.bytes


class StepMeasured(Part):
    """How a step was measured."""

    rounds: int
    step_s: Times
    profiled_s: Times
    kernels_s: Times
    pass_s: dict[str, Times] = Field(default_factory=dict)
    outside_share: float
    unattributed_share: float
    device: str
    threads: int
    torch: str


class MemoryRow(Part):
    """Bytes held at once."""

    weights: Number = 0
    gradients: Number = 0
    optimizer: Number = 0
    activations: Number = 0
    kv_cache: Number
    working: Number = 0
    total: Number


class PeaksRow(Part):
    """The machine's best rates."""

    flops_per_s: float = Field(validation_alias=AliasChoices("flops_per_s", "flops"))
    bytes_per_s: float = Field(validation_alias=AliasChoices("bytes_per_s", "bandwidth"))
    ridge: float = 0.0
    """FLOPs a byte from which on arithmetic is what limits."""


class Side(Part):
    """One model."""

    arch: str
    mode: Literal["train", "prefill", "decode", "forward"]
    batch: int
    length: int
    dtype: str
    optimizer: str | None = None
    parameters: Number
    total: WorkRow
    passes: dict[str, WorkRow] = Field(default_factory=dict)
    classes: list[ClassRow] = Field(min_length=1)
    operations: list[OperationRow] = Field(min_length=1)
    memory: MemoryRow
    bound_s: Number | None = None
    config: dict[str, Any] | None = None
    """What it was predicted from."""
    counted: bool = False
    """Whether it ran once to be counted."""
    measured: StepMeasured | None = None

    @property
    def shares(self) -> dict[str, list[float]]:
        """The classes' shares, by what they are shares of; of time only where it was measured."""
        rows = {
            "FLOPs": [each.flops_share for each in self.classes],
            "bytes": [each.bytes_share for each in self.classes],
        }
        measured = [each.time_share for each in self.classes if each.time_share is not None]
        return rows | ({"time": measured} if len(measured) == len(self.classes) else {})


class ComparedSide(Side):
    """Another model, and what it costs for each unit of the first one's cost."""

    ratios: dict[str, float | None]
    measured_ratios: dict[str, Quotient | None] = Field(default_factory=dict)


class GrowthMeasured(Part):
    """A step at one length of the cache."""

    step_s: Times
    attention_s: Times
    step_ratio: Quotient
    attention_ratio: Quotient


class _AtCache(Part):
    cache: int
    arch: str


class GrowthRow(WorkRow, _AtCache):
    """One variant at one length of the cache; these stand before its work."""

    kv_cache: Number
    bound_s: Number | None = None
    attention: WorkRow
    measured: GrowthMeasured | None = None

    def attention_bound(self, peaks: PeaksRow | None) -> float | None:
        """Return the roofline's least time of all that reads the cache, in seconds.

        Args:
            peaks: The machine's.
        """
        if peaks is None:
            return None
        return max(self.attention.flops / peaks.flops_per_s, self.attention.bytes / peaks.bytes_per_s)


class CostDocument(Side):
    """What the first model costs, and the others beside it."""

    peaks: PeaksRow | None = None
    available: int | None = None
    """Bytes of memory that there were."""
    compared: list[ComparedSide] = Field(default_factory=list)
    growth: list[GrowthRow] = Field(default_factory=list)

    @property
    def sides(self) -> list[Side]:
        """All models; the first is what the others are compared with."""
        return [self, *self.compared]

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Return what was printed.

        Args:
            text: The document.

        Raises:
            DataError: It has another shape; names the field.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "document"
            told = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
            raise DataError(
                f"{field}: {told}; accepted: what this version's stabilitykit cost --json prints"
            ) from None
