"""Whether a probe is one that the table of edges speaks of. No torch."""

from collections.abc import Iterator, Mapping
from typing import Any

from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.probe.spec import ProbeSpec, TrainerConfig
from stabilitykit.lab.training.config import OptimizerConfig

SIZE_FACTOR = 2.0
"""How far a size may be from the measured one, either way."""
_OPTIMIZER = OptimizerConfig()
_TRAINER = TrainerConfig()


def outside(spec: ProbeSpec, sizes: Mapping[str, int]) -> list[str]:
    """Return what sets a probe apart from the runs that were measured, a phrase each; none: nothing does.

    The measured runs are those of the plain transformer, whose wiring, QK-norm, depth, rate and warmup
    varied. Another text is let pass; who tells of the verdict says so.

    Args:
        spec: The probe.
        sizes: Those of the measured runs, by name.
    """
    return [*_sizes(spec, sizes), *_model(spec.model), *_training(spec)]


def sizes_of(spec: ProbeSpec) -> dict[str, int]:
    """Return the sizes of a probe that the table is for, by name."""
    return {
        "d_model": spec.model.d_model,
        "n_heads": spec.model.attention.n_heads,
        "seq_len": spec.model.seq_len,
        "batch_size": spec.data.batch_size,
        "steps": spec.trainer.steps,
    }


def is_on_another_text(spec: ProbeSpec) -> bool:
    """Return whether a probe reads anything but the standard library's sources."""
    return spec.data.kind != "text" or spec.data.path is not None


def _sizes(spec: ProbeSpec, sizes: Mapping[str, int]) -> Iterator[str]:
    for name, size in sizes_of(spec).items():
        if not sizes[name] / SIZE_FACTOR <= size <= sizes[name] * SIZE_FACTOR:
            yield f"{name} {size} (measured at {sizes[name]})"


def _model(model: TransformerConfig) -> Iterator[str]:
    plain = TransformerConfig(
        vocab_size=model.vocab_size,
        d_model=model.d_model,
        n_layers=model.n_layers,
        seq_len=model.seq_len,
        wiring=model.wiring,
        attention={"n_heads": model.attention.n_heads, "qk_norm": model.attention.qk_norm},
    )
    own = model.resolved().model_dump(mode="json")
    return _differences(own, plain.resolved().model_dump(mode="json"), "model")


def _training(spec: ProbeSpec) -> Iterator[str]:
    own = spec.optimizer.model_dump(mode="json")
    yield from _differences({**own, "lr": _OPTIMIZER.lr}, _OPTIMIZER.model_dump(mode="json"), "optimizer")
    if spec.schedule.kind != "constant":
        yield f"schedule.kind {spec.schedule.kind}"
    if spec.data.batches is not None:
        yield f"data.batches {spec.data.batches}"
    for name in ("clip", "precision"):
        if (value := getattr(spec.trainer, name)) != getattr(_TRAINER, name):
            yield f"trainer.{name} {value}"


def _differences(own: Mapping[str, Any], plain: Mapping[str, Any], where: str) -> Iterator[str]:
    for name, value in own.items():
        path, other = f"{where}.{name}", plain[name]
        if value == other:
            continue
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            yield from _differences(value, other, path)
        elif isinstance(value, Mapping | list):
            yield path
        else:
            yield f"{path} {value}"
