"""The command line: registers the commands. Torch is imported in command bodies, never here."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from stabilitykit import __version__
from stabilitykit_cli import cost, diagnose, exits, explain, presets, probe, report, runs, signals, sweep
from stabilitykit_cli.consoles import never_fail_on_characters
from stabilitykit_cli.log_lines import fit_for_terminals
from stabilitykit_cli.options import Debug

NAME = "stabilitykit"

app = typer.Typer(
    name=NAME,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback(
    help="""See, explain and prevent unstable training of transformers.

Results go to stdout, progress to stderr. Each command has its own --help.

Exit status: 0 done, 1 could not, 2 wrong input, 3 by --fail-on; 130 after
Ctrl-C, 143 after SIGTERM and 129 after a closed terminal, once what there
is has been written; 141 where the reader of stdout has gone.

Examples:
  stabilitykit probe --arch post_norm --lr 1e-2 --warmup 0
  stabilitykit diagnose runs/post_norm-1
  stabilitykit explain vanishing_gradient
"""
)
def root(
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep what was typed before the command's name."""
    exits.debug_everywhere.set(debug)


app.command("probe", help=probe.HELP)(exits.guarded(probe.probe))
app.command("sweep", help=sweep.HELP)(exits.guarded(sweep.sweep))
app.command("diagnose", help=diagnose.HELP)(exits.guarded(diagnose.diagnose))
app.command("report", help=report.HELP)(exits.guarded(report.report))
app.command("cost", help=cost.HELP)(exits.guarded(cost.cost))
app.command("presets", help=presets.HELP)(exits.guarded(presets.presets))
app.command("runs", help=runs.HELP)(exits.guarded(runs.runs))
app.command("explain", help=explain.HELP)(exits.guarded(explain.explain))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Args:
        arguments: What was typed after the program's name; by default the process's own.
    """
    never_fail_on_characters()
    typed = sys.argv[1:] if arguments is None else list(arguments)
    if (status := _refused(typed)) is not None:
        return status
    with signals.heeded(), fit_for_terminals():
        try:
            status = get_command(app).main(args=typed, prog_name=NAME, standalone_mode=False)
        except (typer.Abort, KeyboardInterrupt):
            return exits.interrupted()
        except Exception as error:
            return _usage(error)
        return status if isinstance(status, int) else exits.OK


def _refused(typed: Sequence[str]) -> int | None:
    """Return the status where nothing can be done at all, after saying why."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115  # as long as the process
    if sys.stdout is None:
        exits.complain("stdout is closed, and results have nowhere to go")
        return exits.FAILED
    if any("\0" in each for each in typed):
        exits.complain("a NUL character was typed, which no name or value can hold")
        return exits.USAGE
    return None


def _usage(error: Exception) -> int:
    # Usage errors belong to typer's private copy of click; what they can do is public.
    describe = getattr(error, "format_message", None)
    if describe is None:
        return exits.report(error, exits.debug_everywhere.get())
    context = getattr(error, "ctx", None)
    command = context.command_path if context else NAME
    # Without arguments the message is the help, which typer has printed already.
    if message := describe().strip().rstrip(".").replace("Value error, ", ""):
        exits.complain(f"{message} (see {command} --help)")
    return exits.USAGE
