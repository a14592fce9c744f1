"""What others name and write reaches no terminal as a command; nothing that is typed ends in a traceback."""

import contextlib
import io
import json
import os
import random
import re
from pathlib import Path

import pytest
from typer.main import get_command

from stabilitykit.errors import StabilityKitError
from stabilitykit.store.documents import DocumentError, parse_json, parse_yaml
from stabilitykit_cli import app, consoles, probe, sweep
from stabilitykit_cli.line_writer import LineWriter
from stabilitykit_cli.printable import printable

COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What no output may hold."""
NASTY = "\x1b[31m\x1b]0;title\x07\x9b2J\u202egnp\x7f\r[red]x[/] [link=http://a]b[/link] [/oops]"

BOMB = "[&a0 [1,1,1,1]" + "".join(f",&a{n + 1} [*a{n},*a{n},*a{n},*a{n}]" for n in range(12)) + "]"
DEEP = "[" * 20_000
VALUES = (
    "", " ", "=", "a=", "=1", "nan", "-inf", "1e400", "9" * 5_000, "-1", "0", "true", "null", "None", NASTY,
    "model.n_layers=" + DEEP, "model.attention=" + "{a: " * 5_000, ".".join("a" * 10_000) + "=1",
    "model.n_layers=[" + "&a [1], " + "*a]", "model.n_layers=[&b [&a [1,1], *a, *a], *b, *b]",
    "model.d_model=[!!timestamp x]", "model.d_model=[!!python/object:os.system x]", "optimizer=[2001-99-99]",
    "model.n_layers={[1]: 2}",
    "data.batch_size=" + NASTY, "data.path=\ud800", "model.\ud800=1", "a.b=[\ufeff]",
    "model.d_model=" + "9" * 5_000, "trainer.steps=1e30", "..=1", "model..x=[]", "[]=[]",
    "optimizer.lr=\u0661", "data.text=a\0b", "\0", "\ud800", "pre_norm", "1e-3:1:0", "1:1:1:1",
    "1e-3:1:99999999999", ",,,", "lr", "0,0,0",
)  # fmt: skip


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _run(arguments: list[str]) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = app.main(arguments)
    return status, out.getvalue() + err.getvalue()


def test_nothing_a_terminal_obeys_is_left_of_a_text() -> None:
    every = "".join(map(chr, range(0x10000)))
    assert not COMMANDS.search(printable(every))
    assert printable("a\tb\nÄ 漢 🙂") == "a\tb\nÄ 漢 🙂"


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_shown_is_neither_a_command_nor_markup(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    from rich.table import Table
    from rich.text import Text

    out = _Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("NO_COLOR", "1")
    table = Table(NASTY)
    table.add_row(NASTY)
    for each in (table, Text(NASTY), NASTY):
        consoles.show(each, whole_lines=True)
    consoles.show_lines([NASTY + "\n" + NASTY])
    written = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()) if terminal else out.getvalue()
    assert not COMMANDS.search(written)
    assert "[red]x[/]" in written
    assert "[link=http://a]b[/link]" in written


def test_progress_and_errors_are_no_commands_either(monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    LineWriter(err).write(NASTY)
    consoles.progress().print(NASTY)
    app.exits.complain(NASTY * 1_000)
    app.exits.report(StabilityKitError(NASTY), debug=True)
    bar = consoles.progress_bar(consoles.progress())
    bar.add_task(NASTY)
    consoles.progress().print(bar.get_renderable())
    assert not COMMANDS.search(err.getvalue())


def test_a_document_keeps_every_character_and_sends_none(capsys: pytest.CaptureFixture[str]) -> None:
    from stabilitykit_cli.documents import print_document

    print_document({"name": NASTY})
    written = capsys.readouterr().out
    assert not COMMANDS.search(written)
    assert json.loads(written) == {"name": NASTY}


def test_log_lines_and_warnings_are_fit_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    import logging
    import warnings

    from stabilitykit_cli.log_lines import fit_for_terminals

    err = io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    logger = logging.getLogger("stabilitykit")
    # No longer than that: pytest keeps handlers of its own on loggers that pass nothing on as a test ends.
    with monkeypatch.context() as patched:
        patched.setattr(logger, "propagate", False)
        with fit_for_terminals():
            logger.getChild("x").warning("the site %s", NASTY)
            text = warnings.formatwarning(NASTY, UserWarning, NASTY, 1)
    assert "the site" in err.getvalue()
    assert not COMMANDS.search(err.getvalue() + text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"\xff", "not YAML"),
        ("[" * 100_000, "100 levels"),
        ("{a: " * 5_000, "100 levels"),
        ("[" * 101 + "]" * 101, "100 levels"),
        ("&a [*a]", "itself"),
        (BOMB, "values"),
        *[(text, "not YAML") for text in ("[!!timestamp x]", "[2001-99-99]", "!!int ''", "!!bool x")],
        *[(text, "not YAML") for text in ("{[1]: 2}", "\0", "a\ud800b")],
    ],
)
def test_a_document_that_is_none_says_so_in_a_line(text: str | bytes, why: str) -> None:
    with pytest.raises(DocumentError, match=why) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 101 + "]" * 101, b"\xff", "", "{", "9" * 5_000])
def test_json_that_is_none_says_so(text: str | bytes) -> None:
    with pytest.raises(DocumentError):
        parse_json(text)


def test_what_is_refused_leaves_what_is_usual() -> None:
    assert parse_yaml("a: &x [1, 2.5, null]\nb: *x\n") == {"a": [1, 2.5, None], "b": [1, 2.5, None]}
    assert parse_json("[" * 100 + "]" * 100)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files and folders that are not what their names say, in the working folder."""
    monkeypatch.chdir(tmp_path)
    contents = {
        "binary": bytes(range(256)) * 9,
        "deep.json": b"[" * 100_000,
        "deep.yaml": b"arch: " + b"[" * 20_000,
        "latin.yaml": b"arch: \xe9\n",
        "bomb.yaml": b"a: &a [1,1]\nb: &b [*a,*a]\nc: [*b,*b]\n",
        "empty.yaml": b"",
        "nasty.log": ("".join(f"step {n} loss {3 - n / 99} {NASTY}\n" for n in range(99))).encode(),
        "nasty.csv": (
            f"step,loss,{NASTY.replace(chr(13), '')}\n" + "".join(f"{n},1.0,2\n" for n in range(99))
        ).encode(),
        "nasty.yaml": json.dumps({"arch": NASTY, NASTY: {NASTY: NASTY}}).encode(),
        "x.sweep.json": b"[" * 100_000,
        NASTY.replace("/", "_"): b"step,loss\n0,1\n1,nan\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in ("config.yaml", "verdict.json", "incidents.jsonl"):
        for kind, content in (("pipe", None), ("deep", b"[" * 100_000), ("latin", b"\xff"), ("none", b"")):
            folder = tmp_path / f"{kind}-{name}"
            (folder / "readings").mkdir(parents=True)
            (folder / "config.yaml").write_text("schema_version: 1\narch: x\n")
            (folder / name).unlink(missing_ok=True)
            if content is None:
                os.mkfifo(folder / name)
                os.mkfifo(folder / "readings" / "segment-00000.arrow")
            else:
                (folder / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    return [*(each.name for each in tmp_path.iterdir()), ".", "/nowhere", "/dev/null", "a\0b", "\ud800"]


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> object:
        raise StabilityKitError("would train")

    monkeypatch.setattr(probe, "_train", lambda *args: _specified(*args) and refuse())
    monkeypatch.setattr(sweep, "pool_for", refuse)


def _specified(arch: str, recipe: Path, overrides: list[str], flags: dict[str, object], _: object) -> bool:
    from stabilitykit.lab.probe import build_spec

    build_spec(arch, recipe, overrides, flags)
    return True


_LEFT_OUT = ("--help", "--debug", "--follow")
COMMAND_NAMES = ("probe", "sweep", "diagnose", "report", "cost", "presets", "runs", "explain")


def _options(name: str) -> tuple[list[tuple[str, bool]], bool]:
    """Return a command's options, each with whether it takes a value, and whether it takes arguments."""
    command = get_command(app.app).commands[name]  # type: ignore[attr-defined]
    options = [p for p in command.params if p.param_type_name == "option"]
    shown = [
        (p.opts[0], not p.is_flag) for p in options if p.opts[0] not in ("--help", "--debug", "--follow")
    ]
    return shown, any(p.param_type_name == "argument" for p in command.params)


@pytest.mark.parametrize(
    "name", ["probe", "sweep", "diagnose", "report", "cost", "presets", "runs", "explain"]
)
def test_no_option_ends_in_a_traceback_whatever_is_typed(name: str, places: list[str]) -> None:
    draw = random.Random(name)
    options, has_arguments = _options(name)
    every = [*VALUES, *places]
    cases = [
        [option, draw.choice([*VALUES, *places])] for option, takes in options if takes for _ in range(3)
    ]
    if has_arguments:
        cases += [[each] for each in draw.sample(every, 12)]
    if name in ("probe", "sweep"):
        cases += [["--set", each] for each in VALUES] + [
            ["--recipe"] * (name == "probe") + [p] for p in places
        ]
    if name in ("diagnose", "runs"):
        cases += [[each] for each in places]
    for case in cases:
        arguments = [name, *case]
        if name == "probe" and "--arch" not in case and "--recipe" not in case:
            arguments += ["--arch", "pre_norm"]
        if name == "cost" and "--predict" not in case:
            arguments += ["--predict"]
        status, written = _run(arguments)
        assert status in (0, 1, 2, 3), arguments
        assert "Traceback" not in written, arguments
        assert "(unexpected" not in written, (arguments, written)
        assert not COMMANDS.search(written), (arguments, written)
