"""What ``cost`` is asked for: architectures, sized, and a workload. Loads torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.cost import COMPARISONS, Peaks, Priced, Variant, Workload, priced, variants
from stabilitykit.lab.cost.growth import growth
from stabilitykit.lab.cost.predicted.optimizer import OPTIMIZERS, OptimizerName
from stabilitykit.lab.cost.pricing import OnProgress
from stabilitykit.lab.cost.workload import MODES, DType, check_workload
from stabilitykit.lab.model.config import ARCHS, TransformerConfig, validated
from stabilitykit.lab.model.presets import arch_fields, arch_names, preset_fields
from stabilitykit.lab.nested import Fields, merged
from stabilitykit.lab.probe.spec import parse_override


@dataclass(frozen=True)
class Asked:
    """Variants, of which the first is what the others are compared with, and what they are to do."""

    variants: list[Variant]
    workload: Workload
    optimizer: OptimizerName
    growing: bool

    def priced(self, seconds: float | None, on_progress: OnProgress | None = None) -> list[Priced]:
        """Return what they cost.

        Args:
            seconds: About how long to measure each; None to predict alone.
            on_progress: Called with the share that is done.

        Raises:
            DataError: What is to be measured does not fit in memory.
        """
        return priced(self.variants, self.workload, self.optimizer, seconds, on_progress)

    def growth(self, peaks: Peaks, seconds: float | None, on_progress: OnProgress) -> list[dict[str, Any]]:
        """Return a row for every length of a cache that grows, and variant.

        Args:
            peaks: The machine's.
            seconds: About how long to measure each length; None to predict alone.
            on_progress: Called with the share that is done.

        Raises:
            DataError: What is to be measured does not fit in memory.
        """
        return growth(self.variants, self.workload, self.optimizer, peaks, seconds, on_progress)


def asked_for(
    arch: str,
    compare: str | None,
    scale: str | None,
    overrides: Sequence[str],
    mode: str | None,
    batch: int,
    seq: int | None,
    cache: int | None,
    dtype: str,
    optimizer: str,
) -> Asked:
    """Return what was typed, resolved.

    Raises:
        ConfigError: Something is not known, out of range, or does not go together; names the option.
    """
    comparison = COMPARISONS.get(compare or "")
    only = None if comparison is None else comparison.mode
    mode = mode or only or "train"
    if mode not in MODES:
        raise ConfigError(f"mode: got {mode!r}; accepted: {', '.join(MODES)}")
    if only and mode != only:
        raise ConfigError(f"--mode: got {mode}; --compare {compare} is of {only}")
    for option, value, needs in (("--seq", seq, mode != "decode"), ("--cache", cache, mode == "decode")):
        if value is not None and not needs:
            raise ConfigError(f"{option}: got {value}; not in --mode {mode}")
    if optimizer not in OPTIMIZERS:
        raise ConfigError(f"--optimizer: got {optimizer!r}; {closest(optimizer, OPTIMIZERS)}")
    settings = dict(parse_override(each) for each in overrides)
    found = _variants(arch, compare, scale, settings)
    typed = seq if cache is None else cache
    length = min(each.config.seq_len for each in found) if typed is None else typed
    workload = Workload(mode, batch, length, cast(DType, dtype))
    for each in found:
        check_workload(workload, each.config)
    return Asked(found, workload, optimizer, comparison is not None and comparison.growing)


def _variants(arch: str, compare: str | None, scale: str | None, settings: Fields) -> list[Variant]:
    fields = _fields(arch, scale, settings)
    if compare in COMPARISONS:
        return variants(str(compare), fields)
    first = Variant(arch, validated(TransformerConfig, fields))
    if compare is None:
        return [first]
    if "=" in compare:
        path, value = parse_override(compare, "--compare")
        changed = merged(fields, _nested(path, value, "--compare"))
        return [first, Variant(compare, validated(TransformerConfig, changed))]
    if compare not in arch_names():
        raise ConfigError(f"--compare: got {compare!r}; {closest(compare, (*COMPARISONS, *arch_names()))}")
    return [first, Variant(compare, validated(TransformerConfig, _fields(compare, scale, settings)))]


def _fields(arch: str, scale: str | None, settings: Fields) -> Fields:
    """Return an architecture's nested fields at a scale, with what was set in them."""
    if arch in ARCHS and scale not in (None, "probe"):
        raise ConfigError(f"--scale: got {scale}; {arch} is a wiring, which has no sizes; use --set")
    fields = preset_fields(arch, scale) if scale and arch not in ARCHS else arch_fields(arch)
    for path, value in settings.items():
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
