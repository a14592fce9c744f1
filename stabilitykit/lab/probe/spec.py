"""What a probe is asked to do: one frozen configuration, from defaults, recipe, overrides and flags."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from stabilitykit.errors import ConfigError, closest
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.presets import arch_fields
from stabilitykit.lab.nested import merged
from stabilitykit.lab.training.config import (
    DataConfig,
    FaultConfig,
    OptimizerConfig,
    ScheduleConfig,
    check_optimizer,
    check_sharpness,
)
from stabilitykit.lab.training.schedules import resolve_schedule, resolve_warmup
from stabilitykit.lab.validation import Config, refusal, validated
from stabilitykit.store.disk import read_file, reason
from stabilitykit.store.documents import DocumentError, parse_yaml

_BYTES = 256
_DEEPEST = 12
"""Dots in a field's path at most."""
_SHOWN = 60


class TrainerConfig(Config):
    """How long and how a run trains."""

    steps: int = Field(300, gt=0)
    """Optimizer steps."""
    clip: float | None = Field(1.0, gt=0)
    """Gradients are clipped to this 2-norm; null: not at all."""
    threads: int = Field(1, gt=0)
    """CPU threads of torch; another number gives other bits."""
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    """What trains, in Lightning's words; auto is what is found."""
    devices: int = Field(1, gt=0)
    """Devices of one machine, with a process each; above one the batch is shared out among them."""
    strategy: str = Field("auto", min_length=1)
    """How the processes work together, by Lightning's name: ddp, fsdp, deepspeed_stage_2, …"""
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true"] = "32-true"
    """What is computed in, in Lightning's words."""

    @model_validator(mode="after")
    def _refuse_a_second_launcher(self) -> Self:
        if any(word in self.strategy for word in ("spawn", "fork", "notebook")):
            reason = f"got {self.strategy}; must be a strategy such as ddp: a run starts its processes itself"
            raise refusal("strategy", reason)
        return self


class MonitorConfig(Config):
    """How a run is watched."""

    every_n_steps: int = Field(1, gt=0)
    """Observe every n-th step."""
    sharpness_every_n_steps: int | None = Field(None, gt=0)
    """Measure AdamW's preconditioned sharpness at every n-th step; it costs about ten steps. Null: never."""


class ProbeSpec(Config):
    """One short training run."""

    arch: str
    """Wiring of the norms, or a preset."""
    seed: int = Field(0, ge=0)
    """Of weights and data order."""
    model: TransformerConfig = TransformerConfig()
    """The transformer."""
    data: DataConfig = DataConfig()
    """What it learns from."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How it learns."""
    schedule: ScheduleConfig = ScheduleConfig()
    """How its learning rate moves."""
    trainer: TrainerConfig = TrainerConfig()
    """For how long."""
    monitor: MonitorConfig = MonitorConfig()
    """How it is watched."""
    fault: FaultConfig | None = None
    """What goes wrong on purpose; null: nothing."""

    @model_validator(mode="after")
    def _tokens_fit_vocabulary(self) -> Self:
        got, symbols = self.model.vocab_size, self.data.synthetic.symbols
        if got < _BYTES:
            raise refusal("model.vocab_size", f"got {got}; text is read as bytes, so at least {_BYTES}")
        if got < symbols:
            reason = f"got {got}; must be at least data.synthetic.symbols, which is {symbols}"
            raise refusal("model.vocab_size", reason)
        return self

    @model_validator(mode="after")
    def _several_devices_can_do_it(self) -> Self:
        size, devices = self.data.batch_size, self.trainer.devices
        if size % devices:
            reason = f"got {size}; must be a multiple of trainer.devices, which is {devices}"
            raise refusal("data.batch_size", reason)
        if devices > 1 and self.monitor.sharpness_every_n_steps:
            reason = f"is of the whole batch; needs trainer.devices 1, not {devices}"
            raise refusal("monitor.sharpness_every_n_steps", reason)
        return self

    @model_validator(mode="after")
    def _fault_can_happen(self) -> Self:
        fault, steps, kind, strategy = (
            self.fault,
            self.trainer.steps,
            self.optimizer.kind,
            self.trainer.strategy,
        )
        if fault is None:
            return self
        if fault.step >= steps:
            raise refusal(
                "fault.step", f"got {fault.step}; must be less than trainer.steps, which is {steps}"
            )
        if fault.kind == "lost_moments" and kind == "sgd":
            raise refusal("fault.kind", "got lost_moments; needs optimizer.kind adamw or muon, not sgd")
        if "deepspeed" in strategy:
            reason = (
                f"got {fault.kind}; needs gradients and moments in reach, not trainer.strategy {strategy}"
            )
            raise refusal("fault.kind", reason)
        return self

    @property
    def warmup(self) -> int:
        """Warmup steps, resolved."""
        return resolve_warmup(self.schedule, self.trainer.steps)

    def resolved(self) -> dict[str, Any]:
        """Return the whole configuration as plain data, every rule written out.

        Without a fault it has no such key: the name of a sweep's cell, a hash of this, is what it always was.
        """
        document = self.model_dump(mode="json")
        document["model"] = self.model.resolved().model_dump(mode="json")
        document["schedule"] = resolve_schedule(self.schedule, self.trainer.steps).model_dump(mode="json")
        if self.fault is None:
            del document["fault"]
        return document


def build_spec(
    arch: str | None,
    recipe: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> ProbeSpec:
    """Return the configuration of a probe; later sources win.

    Args:
        arch: Wiring or preset; the recipe's unless given.
        recipe: YAML file with any of the spec's fields.
        overrides: ``"model.n_layers=12"`` and the like.
        flags: Dotted path to value, for options that have a name of their own.

    Raises:
        ConfigError: Something is unknown, ill-typed or out of range; names the field and the source.
    """
    fields = read_recipe(recipe) if recipe else {}
    if arch is None and "arch" not in fields:
        raise ConfigError("arch: is required, as --arch or in the recipe; try --arch double_norm")
    base = _based_on(str(arch or fields["arch"]), fields, None if arch else recipe)
    if recipe:
        with naming(recipe):
            _validated(base)
    return _with(base, {**dict(map(parse_override, overrides)), **(flags or {})})


def spec_of(arch: str, fields: Mapping[str, Any], settings: Mapping[str, Any]) -> ProbeSpec:
    """Return the configuration of a probe from plain fields and what is set in them.

    Args:
        arch: Wiring or preset.
        fields: The spec's fields, nested.
        settings: Dotted path to value; these win.

    Raises:
        ConfigError: Something is unknown, ill-typed or out of range; names the field.
    """
    return _with(_based_on(arch, fields, None), settings)


def _with(base: dict[str, Any], settings: Mapping[str, Any]) -> ProbeSpec:
    for path, value in settings.items():
        base = merged(base, _nested(path, value))
    return _validated(base)


@contextmanager
def naming(recipe: Path | None) -> Iterator[None]:
    """Put the recipe's name in front of what is wrong with it.

    Raises:
        ConfigError: What was raised inside, with the name.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{recipe}: {error}" if recipe else str(error)) from None


def _based_on(arch: str, fields: Mapping[str, Any], source: Path | None) -> dict[str, Any]:
    """Return the fields on top of what the architecture's name stands for."""
    with naming(source):
        return merged({"model": arch_fields(arch)}, {**fields, "arch": arch})


def _validated(fields: Mapping[str, Any]) -> ProbeSpec:
    """Return the spec; each section is checked on its own, so that messages begin with its name."""
    sections = {name: field.annotation for name, field in ProbeSpec.model_fields.items()}
    checked: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in sections:
            raise ConfigError(f"{name}: not a known field; {closest(name, sections)}")
        section = sections[name]
        if isinstance(section, type) and issubclass(section, Config):
            value = validated(section, value, where=name)
        checked[name] = value
    spec = _whole(checked)
    resolve_warmup(spec.schedule, spec.trainer.steps)
    check_optimizer(spec.optimizer, spec.model)
    check_sharpness(spec.monitor.sharpness_every_n_steps, spec.optimizer)
    return spec


def _whole(checked: Mapping[str, Any]) -> ProbeSpec:
    return validated(ProbeSpec, checked, where="")


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the fields of a recipe, unchecked.

    Args:
        path: YAML file.

    Raises:
        ConfigError: It cannot be read, or holds no fields.
    """
    try:
        document = parse_yaml(read_file(path).decode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None
    except DocumentError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must hold fields such as 'arch: double_norm', got {document!r:.60}")
    return {str(key): value for key, value in document.items()}


def parse_override(
    override: str, option: str = "--set", example: str = "model.n_layers=12"
) -> tuple[str, Any]:
    """Return the path and the value of ``a.b=value``; text is left as it is, for its field's type to parse.

    Args:
        override: What was typed.
        option: The option that it was typed for.
        example: What would be accepted there.

    Raises:
        ConfigError: It is not of this form.
    """
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigError(
            f"{option}: got {override[:_SHOWN]!r}; must be a field and a value, as in {example}"
        )
    if path.count(".") > _DEEPEST:
        raise ConfigError(f"{option}: got {path[:_SHOWN]!r}…; no field lies so deep, accepted: {example}")
    return path.strip(), _value(path.strip(), text.strip(), option)


def _value(path: str, text: str, option: str) -> Any:
    """Return nothing for null, and a list or a mapping where one is written out in YAML."""
    if text == "null":
        return None
    if not text.startswith(("[", "{")):
        return text
    try:
        return parse_yaml(text)
    except DocumentError as error:
        raise ConfigError(
            f"{option}: {path}: got {text[:_SHOWN]!r}; must be YAML, as in [{{span: full}}], but is {error}"
        ) from None


def _nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)
