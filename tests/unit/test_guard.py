"""The one thing that keeps the monitor's errors from training."""

import logging

import pytest

from stabilitykit.errors import ConfigError, IncidentError
from stabilitykit.guard import Guard, described, ends_no_training


def failing(error: BaseException) -> None:
    raise error


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records]


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), OSError("no"), MemoryError("no"), RecursionError("no")]
)
def test_one_failure_is_said_and_three_in_a_row_end_the_part(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    guard = Guard("the part")
    assert guard(lambda: failing(error), 7) == 7
    assert guard(lambda: 1, 7) == 1
    for _ in range(2):
        guard(lambda: failing(error), None)
    assert not guard.why
    guard(lambda: failing(error), None)
    assert guard.why == f"{type(error).__name__}: no"
    assert guard(lambda: 1, 7) == 7, "it is off"
    name = type(error).__name__
    assert lines(caplog) == [f"the part: {name}: no; training goes on", f"the part is off: {name}: no"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), IncidentError("asked for")])
def test_what_somebody_asked_for_passes(error: BaseException) -> None:
    with pytest.raises(type(error)):
        Guard("the part")(lambda: failing(error), None)


def test_neither_a_logger_nor_an_error_without_words_nor_what_is_told_of_it_ends_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    monkeypatch.setattr(logging.getLogger("stabilitykit"), "warning", lambda *_: 1 / 0)
    assert described(MuteError()) == "MuteError"
    Guard("the part", limit=1)(lambda: failing(MuteError()), None)
    Guard("the part", limit=1, on_off=failing)(lambda: failing(MuteError()), None)


def test_a_callback_s_hooks_end_nothing_but_bad_arguments_are_told_at_the_beginning() -> None:
    @ends_no_training
    class Callback:
        def on_fit_start(self, error: Exception) -> None:
            raise error

        def on_train_batch_end(self, error: Exception) -> None:
            raise error

        def state_dict(self) -> dict[str, int]:
            raise OSError

        def verdict(self) -> None:
            raise OSError("gone")

    callback = Callback()
    callback.on_train_batch_end(ConfigError("late"))
    callback.on_fit_start(OSError("no disk"))
    assert callback.state_dict() == {}
    with pytest.raises(ConfigError):
        callback.on_fit_start(ConfigError("every_n_steps: got 0"))
    with pytest.raises(OSError, match="gone"):
        callback.verdict()
