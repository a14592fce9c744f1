"""What ``cost`` is asked for, resolved: models, a workload, and how they are priced. Loads torch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.cost import COMPARISONS, Peaks, Priced, Variant, Workload, priced, variants
from stabilitykit.lab.cost.document import GrowthRow
from stabilitykit.lab.cost.growth import growth
from stabilitykit.lab.cost.pricing import OnProgress
from stabilitykit.lab.cost.public import LENGTH, PublicOptimizer, priced_public, read_public
from stabilitykit.lab.cost.request import CostRequest
from stabilitykit.lab.cost.workload import check_workload
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.presets import arch_fields, arch_names, preset_fields
from stabilitykit.lab.model.wirings import ARCHS
from stabilitykit.lab.nested import Fields, merged
from stabilitykit.lab.probe.spec import parse_override
from stabilitykit.lab.validation import validated


@dataclass(frozen=True)
class Asked:
    """Models, of which the first is what the others are compared with, and what they are to do."""

    labels: list[str]
    workload: Workload
    priced: Callable[[float | None, OnProgress | None], list[Priced]]
    """What they cost, measured for about so many seconds each, or without seconds computed alone."""
    growth: Callable[[Peaks, float | None, OnProgress], list[GrowthRow]] | None = None
    """What they cost where a cache grows, where that was asked for."""


def asked_for(request: CostRequest) -> Asked:
    """Return what is asked for, resolved.

    Args:
        request: As typed, or as a recipe has it.

    Raises:
        ConfigError: Something is not known, or too long for a model of ours; names the option.
        MissingExtraError: It is of a model of transformers, which is not installed.
    """
    if request.hf is not None:
        return _of_public(request.hf, request)
    found = _variants(request)
    longest = min(each.config.seq_len for each in found)
    workload = Workload(request.does, request.batch, request.length or longest, request.dtype)
    for each in found:
        check_workload(workload, each.config)
    asked = (found, workload, request.optimizer)
    is_growing = request.compare in COMPARISONS and COMPARISONS[request.compare].growing
    return Asked(
        [each.label for each in found],
        workload,
        partial(priced, *asked),
        partial(growth, *asked) if is_growing else None,
    )


def _of_public(path: str, request: CostRequest) -> Asked:
    models = [read_public(each) for each in (path, request.compare) if each is not None]
    longest = min((each.longest for each in models if each.longest is not None), default=LENGTH)
    length = request.length or min(LENGTH, longest)
    workload = Workload(request.does, request.batch, length, request.dtype)
    # The request has refused others.
    optimizer = cast(PublicOptimizer, request.optimizer)
    return Asked(
        [each.label for each in models], workload, partial(priced_public, models, workload, optimizer)
    )


def _variants(request: CostRequest) -> list[Variant]:
    fields, compare = _fields(request.arch, request), request.compare
    if compare in COMPARISONS:
        return variants(compare, fields)
    first = Variant(request.arch, validated(TransformerConfig, fields))
    if compare is None:
        return [first]
    if "=" in compare:
        path, value = parse_override(compare, "--compare")
        changed = merged(fields, _nested(path, value, "--compare"))
        return [first, Variant(compare, validated(TransformerConfig, changed))]
    if compare not in arch_names():
        raise ConfigError(f"--compare: got {compare!r}; {closest(compare, (*COMPARISONS, *arch_names()))}")
    return [first, Variant(compare, validated(TransformerConfig, _fields(compare, request)))]


def _fields(arch: str, request: CostRequest) -> Fields:
    """Return an architecture's nested fields at the scale, with what is set in them."""
    scale = request.scale
    if arch in ARCHS and scale not in (None, "probe"):
        raise ConfigError(f"--scale: got {scale}; {arch} is a wiring, which has no sizes; use --set")
    fields = preset_fields(arch, scale) if scale and arch not in ARCHS else arch_fields(arch)
    for path, value in request.set.items():
        fields = merged(fields, _nested(path, value, "--set"))
    return fields


def _nested(path: str, value: Any, option: str) -> Fields:
    root, _, rest = path.partition(".")
    if root != "model" or not rest:
        raise ConfigError(f"{option}: got {path}; must begin with model., as in model.n_layers=12")
    nested: Any = value
    for name in reversed(rest.split(".")):
        nested = {name: nested}
    return cast(Fields, nested)
