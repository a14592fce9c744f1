"""What ``cost`` is asked for: architectures, sized, and a workload. Loads torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from stabilitykit.cost import COMPARISONS, Peaks, Prediction, Variant, Workload, compared, predict, variants
from stabilitykit.cost.comparisons import GROWTH
from stabilitykit.cost.memory import memory_available
from stabilitykit.cost.optimizer import OPTIMIZERS, OptimizerName
from stabilitykit.cost.workload import MODES, DType, check_workload
from stabilitykit.errors import ConfigError, closest
from stabilitykit.experiments.spec import parse_override
from stabilitykit.model.config import ARCHS, TransformerConfig, validated
from stabilitykit.model.presets import arch_fields, arch_names, preset_fields
from stabilitykit.model.presets.entry import Fields, merged


@dataclass(frozen=True)
class Asked:
    """Variants, of which the first is what the others are compared with, and what they are to do."""

    variants: list[Variant]
    workload: Workload
    optimizer: OptimizerName
    growing: bool

    def document(self, peaks: Peaks) -> dict[str, Any]:
        """Return everything that ``cost --json`` prints.

        Args:
            peaks: The machine's.
        """
        found = [predict(each.config, self.workload, self.optimizer) for each in self.variants]
        first = found[0]
        document: dict[str, Any] = {
            "arch": self.variants[0].label,
            "peaks": peaks.to_json(),
            **first.to_json(peaks),
            "available": memory_available(),
        }
        if len(found) > 1:
            document["compared"] = [
                {"arch": each.label, "ratios": compared(first, one, peaks), **one.to_json(peaks)}
                for each, one in zip(self.variants[1:], found[1:], strict=True)
            ]
        if self.growing:
            document["growth"] = self._growth(peaks)
        return document

    def _growth(self, peaks: Peaks) -> list[dict[str, Any]]:
        """Return a row for every variant and length of the cache."""
        rows = []
        for times in GROWTH:
            length = self.workload.length * times
            for each in self.variants:
                config = validated(TransformerConfig, {**each.config.model_dump(), "seq_len": length})
                one: Prediction = predict(config, replace(self.workload, length=length))
                row = {"cache": length, "arch": each.label, **one.total.to_json()}
                rows.append({**row, "kv_cache": one.memory.kv_cache, "bound_s": one.seconds(peaks)})
        return rows


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
    growing = compare in COMPARISONS and COMPARISONS[str(compare)].growing
    mode = mode or ("decode" if growing else "train")
    if mode not in MODES:
        raise ConfigError(f"mode: got {mode!r}; accepted: {', '.join(MODES)}")
    if growing and mode != "decode":
        raise ConfigError(f"--mode: got {mode}; --compare {compare} is of decode")
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
    return Asked(found, workload, optimizer, growing)


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
