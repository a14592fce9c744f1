"""``stabilitykit cost``: what an architecture costs, in FLOPs beside bytes beside time."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stabilitykit.errors import ConfigError
from stabilitykit_cli import consoles, exits
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.options import Debug, Json, a_whole_number

if TYPE_CHECKING:
    from stabilitykit.lab.cost.document import CostDocument
    from stabilitykit.lab.cost.request import CostRequest

HELP = """Price an architecture: FLOPs beside bytes beside measured time, for each operation and class.

FLOPs, bytes and memory are computed from the configuration. Then steps are run and timed, as they are and
under torch's profiler, and every kernel's time is given to its operation; what is compared runs in turns.
With --predict no model is run, and sizes that no machine holds can be asked for.

Examples:
  stabilitykit cost --arch llama2 --scale small
  stabilitykit cost --arch llama3 --scale release --mode decode --dtype bfloat16 --predict
  stabilitykit cost --arch gpt2 --compare llama2
  stabilitykit cost --arch pre_norm --compare norm
  stabilitykit cost --recipe cost_shares
  stabilitykit cost --hf some-model/config.json --seq 256
"""


def cost(
    arch: Annotated[
        str | None,
        typer.Option(
            "--arch", "-a", metavar="NAME", help="Norm placement or preset; see presets. By default pre_norm."
        ),
    ] = None,
    hf: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG.json",
            help="Instead: a language model of transformers, by its configuration file.",
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Another architecture, a setting such as model.attention.n_kv_heads=1, or one of: norm, "
            "bias, kv_heads, window, order, placement, glu, softcap, qk_norm, monitor.",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(metavar="SCALE", help="Of presets: tiny, probe, small, medium or release."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any field of the model; may be repeated."),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="train, prefill, or decode: one token behind a cache."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(metavar="N", parser=a_whole_number, help="Sequences at once; by default 8."),
    ] = None,
    seq: Annotated[
        int | None,
        typer.Option(metavar="N", parser=a_whole_number, help="Tokens of a sequence; by default all it may."),
    ] = None,
    cache: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=a_whole_number, help="Tokens that a decoded one sees, itself included."
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="float32, bfloat16 or float16, of everything; by default float32."),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="NAME", help="adamw, sgd or muon, in training; by default adamw.")
    ] = None,
    predicted: Annotated[
        bool, typer.Option("--predict", help="Compute only: no model is built or run.")
    ] = False,
    seconds: Annotated[
        float,
        typer.Option(metavar="S", min=0, help="About how long each model is run; five rounds at least."),
    ] = 10.0,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Price a recipe's workloads instead, and judge what it claims of them."
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Print what one model costs, or several side by side, and return the exit status."""
    # Two OpenMP threads on a shared machine spin and lose; only the first import of torch looks here.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # The profiler would tell of each of its starts on stderr.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    options: dict[str, object] = {"arch": arch, "hf": hf, "compare": compare, "scale": scale}
    options |= {"set": overrides or None, "mode": mode, "batch": batch, "seq": seq, "cache": cache}
    options |= {"dtype": dtype, "optimizer": optimizer}
    typed = {name: each for name, each in options.items() if each is not None}
    time = None if predicted else seconds
    if recipe is not None:
        from stabilitykit_cli.cost_recipe import run_recipe

        if typed:
            told = "cannot be given with --recipe, which says it for each workload"
            raise ConfigError(f"--{next(iter(typed))}: {told}")
        return run_recipe(recipe, time, json)
    document = _document(typed, time)
    if json:
        print_document(document.to_json())
        return exits.OK
    from stabilitykit_cli.render.cost import cost_page

    consoles.show(cost_page(document))
    return exits.OK


def _document(typed: Mapping[str, Any], seconds: float | None) -> "CostDocument":
    from stabilitykit.lab.cost import cost_document, measure_peaks
    from stabilitykit_cli.cost_request import asked_for

    asked = asked_for(_request(typed))
    with consoles.counting("measuring") as told:
        sides = asked.priced(seconds, _shown(told))
    consoles.progress().print("measuring this machine's peaks: one product, one copy")
    peaks = measure_peaks(asked.workload.dtype)
    if asked.growth is None:
        return cost_document(sides, peaks)
    with consoles.counting("measuring as the cache grows") as told:
        return cost_document(sides, peaks, asked.growth(peaks, seconds, _shown(told)))


def _request(typed: Mapping[str, Any]) -> "CostRequest":
    from stabilitykit.lab.cost.request import CostRequest
    from stabilitykit.lab.probe.spec import parse_override
    from stabilitykit.lab.validation import validated

    settings = {"set": dict(parse_override(each) for each in typed["set"])} if "set" in typed else {}
    try:
        return validated(CostRequest, {**typed, **settings}, "cost")
    except ConfigError as error:
        told = str(error).removeprefix("cost.")
        raise ConfigError(f"--{told.removeprefix('--')}" if "hf" in typed else told) from None


def _shown(told: Callable[[int, int], None]) -> Callable[[float], None]:
    return lambda done: told(round(1000 * done), 1000)
