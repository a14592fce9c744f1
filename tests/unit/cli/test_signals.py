"""What ends a command from outside shows in its status, after it has written what there is."""

import os
import signal
from collections.abc import Iterator

import pytest

from stabilitykit_cli import app, exits, presets, signals


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    for each in before:
        signal.signal(each, signal.SIG_DFL)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_command_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    written = []

    def work(*args: object, **kwargs: object) -> None:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            written.append("what there is")
            raise

    monkeypatch.setattr(presets, "print_document", work)
    assert app.main(["presets", "--json"]) == status
    assert written == ["what there is"]
    assert signal.getsignal(number) is signal.SIG_DFL


def test_ctrl_c_is_130_also_after_an_earlier_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with signals.heeded(), pytest.raises(signals.Ended):
        os.kill(os.getpid(), signal.SIGTERM)
    monkeypatch.setattr(presets, "print_document", interrupt)
    assert app.main(["presets", "--json"]) == exits.INTERRUPTED == 130


def test_what_is_ignored_stays_so_and_what_was_taken_is_given_back() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals.heeded():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_closed_stdout_is_told_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert app.main(["presets"]) == exits.FAILED
    assert "stdout is closed" in capsys.readouterr().err
