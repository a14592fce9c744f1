"""``stabilitykit cost``: what an architecture costs, in FLOPs beside bytes."""

import os
from typing import Annotated

import typer

from stabilitykit_cli import consoles, exits
from stabilitykit_cli.documents import print_document
from stabilitykit_cli.options import Debug, Json, a_whole_number

HELP = """Predict what an architecture costs: FLOPs beside bytes, for each operation and class.

Everything is computed from the configuration; the machine's peaks are measured by one product of matrices
and one copy, which takes a second. Sizes that no machine holds can be asked for.

Examples:
  stabilitykit cost --arch llama3 --scale release --mode decode --cache 8192 --dtype bfloat16
  stabilitykit cost --arch gpt2 --compare llama2
  stabilitykit cost --arch pre_norm --compare norm
"""


def cost(
    arch: Annotated[
        str,
        typer.Option("--arch", "-a", metavar="NAME", help="Norm placement or preset; see presets."),
    ] = "pre_norm",
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Another architecture, a setting such as model.attention.n_kv_heads=1, or one of: norm, "
            "bias, kv_heads, window, order, placement, glu, softcap, qk_norm.",
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
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Print the prediction, or several side by side, and return the exit status."""
    # Two OpenMP threads on a shared machine spin and lose; only the first import of torch looks here.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from stabilitykit_cli.cost_request import asked_for

    asked = asked_for(arch, compare, scale, overrides or [], mode, batch, seq, cache, dtype, optimizer)
    consoles.progress().print("measuring this machine's peaks: one product, one copy")
    from stabilitykit.cost import measure_peaks

    peaks = measure_peaks(asked.workload.dtype)
    document = asked.document(peaks)
    if json:
        print_document(document)
        return exits.OK
    from stabilitykit_cli.render.cost import cost_page

    consoles.show(cost_page(document))
    return exits.OK
