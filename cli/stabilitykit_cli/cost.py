"""``stabilitykit cost``: what an architecture costs, in FLOPs beside bytes beside time."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stabilitykit_cli import consoles, exits
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.options import Debug, Json, a_whole_number

if TYPE_CHECKING:
    from stabilitykit_cli.cost_public import AskedOfPublic
    from stabilitykit_cli.cost_request import Asked

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
    batch: Annotated[int, typer.Option(metavar="N", parser=a_whole_number, help="Sequences at once.")] = 8,
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
        str, typer.Option(metavar="TYPE", help="float32, bfloat16 or float16, of everything.")
    ] = "float32",
    optimizer: Annotated[
        str, typer.Option(metavar="NAME", help="adamw, sgd or muon, in training.")
    ] = "adamw",
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
    if recipe is not None:
        from stabilitykit_cli.cost_recipe import run_recipe

        typed = {"--compare": compare, "--scale": scale, "--set": overrides, "--mode": mode, "--seq": seq}
        typed |= {"--cache": cache, "--arch": arch, "--hf": hf, "--batch": batch != 8}
        typed |= {"--dtype": dtype != "float32", "--optimizer": optimizer != "adamw"}
        return run_recipe(recipe, None if predicted else seconds, json, typed)
    asked: Asked | AskedOfPublic
    if hf is not None:
        from stabilitykit_cli.cost_public import asked_of_public

        without = [("--arch", arch), ("--scale", scale), ("--set", overrides), ("--cache", cache)]
        asked = asked_of_public(hf, compare, without, mode, batch, seq, dtype, optimizer)
    else:
        from stabilitykit_cli.cost_request import asked_for

        fields = (arch or "pre_norm", compare, scale, overrides or [])
        asked = asked_for(*fields, mode, batch, seq, cache, dtype, optimizer)
    document = _document(asked, None if predicted else seconds)
    if json:
        print_document(document)
        return exits.OK
    from stabilitykit_cli.render.cost import cost_page

    consoles.show(cost_page(document))
    return exits.OK


def _document(asked: "Asked | AskedOfPublic", seconds: float | None) -> dict[str, Any]:
    from stabilitykit.lab.cost import document, measure_peaks
    from stabilitykit_cli.cost_request import Asked

    with consoles.counting("measuring") as told:
        sides = asked.priced(seconds, _shown(told))
    consoles.progress().print("measuring this machine's peaks: one product, one copy")
    peaks = measure_peaks(asked.workload.dtype)
    whole = document(sides, peaks)
    if isinstance(asked, Asked) and asked.growing:
        with consoles.counting("measuring as the cache grows") as told:
            whole["growth"] = asked.growth(peaks, seconds, _shown(told))
    return whole


def _shown(told: Callable[[int, int], None]) -> Callable[[float], None]:
    return lambda done: told(round(1000 * done), 1000)
