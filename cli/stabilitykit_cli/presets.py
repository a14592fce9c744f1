"""``stabilitykit presets``: what ``--arch`` takes, and the resolved configuration behind a name."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stabilitykit.errors import ConfigError, closest
from stabilitykit_cli import consoles, exits
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.options import Debug, Json, a_whole_number

if TYPE_CHECKING:
    from stabilitykit.lab.model import TransformerConfig

HELP = """List the architectures that --arch takes, or show what one of them is made of.

The list is computed from each architecture's configuration at its published size.

Examples:
  stabilitykit presets
  stabilitykit presets gemma2 --scale release
  stabilitykit presets llama3 --dim d_model=128 --dim n_layers=4 --json
"""


def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A wiring or a preset; all of them when left out.")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(metavar="SCALE", help="tiny, probe (what --arch trains), small, medium or release."),
    ] = None,
    dims: Annotated[
        list[str] | None,
        typer.Option("--dim", metavar="SIZE=N", help="One size, such as n_layers=12; may be repeated."),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Print the list or one architecture, and return the exit status.

    Raises:
        ConfigError: Name, scale or size is not known, or sizes are given without a name.
    """
    if name is None:
        if scale is not None or dims:
            raise ConfigError("--scale and --dim: need the NAME of a preset")
        return _list(json)
    return _one(name, scale, dict(_dim(text) for text in dims or []), json)


def _list(json: bool) -> int:
    rows = [*map(_wiring_row, _wirings()), *map(_preset_row, _presets())]
    if json:
        print_document({"presets": rows})
        return exits.OK
    from stabilitykit_cli.render.presets import presets_table

    consoles.show(presets_table(rows))
    return exits.OK


def _one(name: str, scale: str | None, dims: dict[str, int], json: bool) -> int:
    from stabilitykit.lab.model.parameter_count import parameters_by_part
    from stabilitykit.lab.model.presets import PRESETS, columns

    config = _config(name, scale, dims)
    document: dict[str, Any] = {
        "name": name,
        "about": PRESETS[name].about if name in PRESETS else "",
        "columns": columns(config),
        "ratios": _ratios(config),
        "parameters": parameters_by_part(config),
        "sources": list(PRESETS[name].sources) if name in PRESETS else [],
        "config": config.resolved().model_dump(mode="json"),
    }
    if json:
        print_document(document)
        return exits.OK
    from stabilitykit_cli.render.presets import preset_page

    consoles.show(preset_page(document))
    return exits.OK


def _config(name: str, scale: str | None, dims: dict[str, int]) -> "TransformerConfig":
    from stabilitykit.lab.model import TransformerConfig
    from stabilitykit.lab.model.presets import PRESETS, arch_fields, arch_names, preset
    from stabilitykit.lab.validation import validated

    if name in PRESETS:
        return preset(name, scale or "probe", **dims)
    if name not in arch_names():
        raise ConfigError(f"NAME {name!r} is not known: {closest(name, arch_names())}")
    if scale not in (None, "probe") or dims:
        raise ConfigError(
            f"--scale and --dim: {name} is a wiring, which has no sizes of its own; use a preset"
        )
    return validated(TransformerConfig, arch_fields(name))


def _wirings() -> tuple[str, ...]:
    from stabilitykit.lab.model import ARCHS

    return tuple(ARCHS)


def _presets() -> tuple[str, ...]:
    from stabilitykit.lab.model.presets import PRESETS

    return tuple(PRESETS)


def _wiring_row(name: str) -> dict[str, Any]:
    from stabilitykit.lab.model.presets import columns

    return {"name": name, "kind": "wiring", "about": "", **columns(_config(name, None, {}))}


def _preset_row(name: str) -> dict[str, Any]:
    from stabilitykit.lab.model.presets import PRESETS, columns, preset

    config = preset(name, "release")
    about = {"name": name, "kind": "preset", "about": PRESETS[name].about}
    return {**about, **columns(config), **_ratios(config)}


def _ratios(config: "TransformerConfig") -> dict[str, float]:
    """Return the proportions that designs are compared by."""
    return {
        "d_ff_per_d_model": round(config.d_ff / config.d_model, 3),
        "heads_width_per_d_model": round(config.attention.n_heads * config.head_dim / config.d_model, 3),
        "d_model_per_layer": round(config.d_model / config.n_layers, 1),
    }


def _dim(text: str) -> tuple[str, int]:
    size, equals, number = text.partition("=")
    if not equals:
        raise ConfigError(f"--dim: got {text!r}; must be a size and a number, as in n_layers=12")
    try:
        return size.strip(), a_whole_number(number)
    except typer.BadParameter as error:
        raise ConfigError(f"--dim {size.strip()}: {error}") from None
