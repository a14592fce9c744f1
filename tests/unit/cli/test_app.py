"""The command line as a whole: help, usage, what an error looks like."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import stabilitykit as package
from stabilitykit.errors import ConfigError, DataError, RunFolderError

COMMANDS = ("probe", "diagnose", "cost", "runs", "explain")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_two_examples(stabilitykit, command):
    ended = stabilitykit(command, "--help")
    assert ended.status == 0
    assert ended.out.count(f"stabilitykit {command} ") >= 3  # usage and two examples
    assert "--debug" in ended.out
    assert "Args:" not in ended.out


def test_help_names_every_command(stabilitykit):
    ended = stabilitykit("--help")
    assert ended.status == 0
    assert all(command in ended.out for command in COMMANDS)


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys; from stabilitykit_cli.app import main; status = main(sys.argv[1:]); "
        "heavy = {'torch', 'pyarrow', 'lightning', 'tensorboard', 'numpy', 'click'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else status)"
    )
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_no_arguments_print_help_and_are_a_usage_error(stabilitykit):
    ended = stabilitykit()
    assert ended.status == 2
    assert "Usage" in ended.out + ended.err
    assert "error:" not in ended.err


def test_version(stabilitykit):
    ended = stabilitykit("--version")
    assert (ended.status, ended.out) == (0, f"stabilitykit {package.__version__}\n")
    assert version("stabilitykit") == package.__version__


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["probee"], "probee"),
        (["probe", "--lrr", "1"], "--lrr"),
        (["probe", "--lr", "fast"], "'fast'"),
        (["probe", "--steps", "1.5"], "'1.5'"),
        (["probe", "--fail-on", "stuck"], "'unstable'"),
        (["diagnose"], "PATH"),
        (["diagnose", "x", "--format", "xml"], "'auto', 'run', 'csv'"),
        (["explain"], "KIND"),
    ],
)
def test_usage_errors_are_one_line_that_names_the_culprit(stabilitykit, library, arguments, named):
    ended = stabilitykit(*arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert named in ended.err


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConfigError("bad"), 2), (DataError("bad"), 1), (RunFolderError("bad"), 1), (OSError(5, "bad"), 1)],
)
def test_errors_on_purpose_are_one_line(stabilitykit, library, error, status):
    library.spec_error = error
    ended = stabilitykit("probe", "--arch", "x")
    assert ended.status == status
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.err


def test_the_system_says_what_it_refused(stabilitykit, library):
    library.spec_error = FileNotFoundError(2, "No such file or directory", "a.yaml")
    assert stabilitykit("probe").err == "error: a.yaml: No such file or directory\n"


def test_a_message_of_several_lines_becomes_one(stabilitykit, library):
    library.spec_error = ConfigError("first\n  second")
    assert stabilitykit("probe").err == "error: first second\n"


def test_the_unexpected_points_to_debug(stabilitykit, library):
    library.spec_error = ZeroDivisionError("never seen")
    ended = stabilitykit("probe", "--arch", "x")
    assert ended.status == 1
    assert ended.err == "error: ZeroDivisionError: never seen (unexpected; --debug shows where)\n"


@pytest.mark.parametrize(
    "arguments", [["probe", "--arch", "x", "--debug"], ["--debug", "probe", "--arch", "x"]]
)
def test_debug_shows_the_traceback_wherever_it_stands(stabilitykit, library, arguments):
    library.spec_error = DataError("gone")
    ended = stabilitykit(*arguments)
    assert ended.status == 1
    assert "Traceback" in ended.err
    assert ended.err.endswith("error: gone\n")
    assert "Traceback" not in stabilitykit("probe", "--arch", "x").err


def test_a_reader_that_leaves_is_met_with_silence():
    code = "import sys; from stabilitykit_cli.app import main; sys.exit(main(['explain', 'stuck']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        written = process.stderr.read()
    assert (process.wait(), written) == (141, b"")


def test_an_encoding_without_our_characters_is_survived():
    code = "import sys; from stabilitykit_cli.app import main; sys.exit(main(['diagnose', '--help']))"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={"PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    )
    assert ended.returncode == 0
    ended.stdout.decode("ascii")
