"""Logs that are none, damaged, or made to hurt: one line, or what there is and what was left out."""

import gzip
import io
import json
import os
import re
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stabilitykit.errors import DataError
from stabilitykit.store import LogReading
from stabilitykit.store.event_file import EventFile
from stabilitykit.store.logs.recognition import LogFormat

NAMES = ("log.csv", "log.jsonl", "trainer_state.json", "train.log", "events.out.tfevents.1", "log.gz")
FORMATS: tuple[LogFormat | None, ...] = (None, "csv", "jsonl", "trainer_state", "text", "tensorboard")


def attempt(path: Path, format: LogFormat | None = None) -> tuple[int, str]:
    """Return how many records there are, and what was said, in one line each."""
    try:
        reading = LogReading(path, {}, format)
        steps = [record.step for record in reading.records]
    except DataError as error:
        steps, said = [], (str(error),)
    else:
        said = reading.notes
    assert steps == sorted(set(steps))
    assert all("\n" not in each for each in said)
    assert steps or str(path) in said[0]
    return len(steps), " ".join(said)


@pytest.mark.parametrize(
    ("data", "records", "said"),
    [
        (b"", 0, "empty"),
        (b"\0" * 5000, 0, "neither text nor a TensorBoard event file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, 0, "neither text nor"),
        (b"step,loss\n0,nan\n1,inf\n2,1e400\n3,-inf\n4,1\n", 5, ""),
        (b"step,loss\n0,1\n1,2\n2,3\n" + b"\0" * 9000, 3, ""),
        (b"step,loss\r0,1\r1,2\r", 2, ""),
        (b'step,loss\n0,1\n1,"2\n2,3\n', 3, ""),
        (b"hello\nworld\n", 0, "no loss column"),
        (
            b'{"step":0,"loss":1}\n{"step":1,"loss":' + b"[" * 9000 + b"\n" + b'{"step":2,"loss":2}\n' * 3,
            2,
            "no JSON",
        ),
        (
            b'{"step":0,"loss":1}\n{"step":1,"loss":"x"}\n{"step":2,"loss":4}\n{"step":3,"loss":null}\n',
            2,
            "'x'",
        ),
        (
            b'{"step":0,"loss":1}\n{"step":1e999,"loss":1}\n{"step":' + b"9" * 400 + b',"loss":1}\n',
            0,
            "holds '999",
        ),
        (
            b'{"step":0,"loss":"3"}\n{"step":1,"loss":"inf"}\n{"step":2,"loss":NaN}\n{"step":3,"loss":-1e400}\n',
            4,
            "",
        ),
        (b'{"log_history": [{"step":0,"loss":3},{"step":1,"lo', 1, "cut or damaged"),
        (b'{"log_history": [{"step":0,"loss":3},{"a":' + b'{"a":' * 90_000, 1, "nested too deeply"),
        (b'{"log_history": {}}', 0, "log_history"),
        (b"[" * 100_000, 0, "no loss"),
    ],
)
def test_what_is_said_and_what_is_left(tmp_path: Path, data: bytes, records: int, said: str):
    (tmp_path / "log").write_bytes(data)
    found, notes = attempt(tmp_path / "log")
    assert (found, said in notes) == (records, True), notes


def test_what_is_no_file_never_hangs(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "zero.log").symlink_to("/dev/zero")
    (tmp_path / "loop.log").symlink_to("loop.log")
    for name, said in (
        ("pipe", "a pipe or a device"),
        ("zero", "a pipe or a device"),
        ("loop", "Too many levels"),
    ):
        assert said in attempt(tmp_path / f"{name}.log")[1]
    assert "Is a directory" in attempt_file(tmp_path)


def attempt_file(folder: Path) -> str:
    with pytest.raises(DataError) as raised:
        LogReading(folder, {}, "csv").close()
    return str(raised.value)


def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "log.csv").write_text("step,loss\n0,1\n")
    monkeypatch.setattr(os, "open", refuse)
    assert attempt(tmp_path / "log.csv") == (0, f"{tmp_path / 'log.csv'}: cannot be read (Permission denied)")


def valid() -> dict[str, bytes]:
    """Return a short log of each format."""
    rows = [{"step": i, "loss": 1.5 + i, "lr": 1e-3} for i in range(30)]
    text = {
        "log.csv": "step,loss,lr\n" + "".join(f"{row['step']},{row['loss']},\n" for row in rows),
        "log.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "trainer_state.json": json.dumps({"log_history": rows}),
        "train.log": "".join(f"step {row['step']}: loss {row['loss']} | lr {row['lr']}\n" for row in rows),
    }
    data = {name: each.encode() for name, each in text.items()}
    return {**data, "log.gz": gzip.compress(data["train.log"])}


VALID = valid()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    file = EventFile(folder)
    for step in range(30):
        file.write([], step)
    file.close()
    (path,) = folder.iterdir()
    VALID["events.out.tfevents.1"] = path.read_bytes()
    path.unlink()
    return folder


quick = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(name=st.sampled_from(NAMES), format=st.sampled_from(FORMATS), data=st.binary(max_size=300))
@example(name="log.csv", format=None, data=b"loss\n\x00\n1")
@example(name="train.log", format="text", data=b"loss -\nloss 1,2,3.4.5\nloss: nan,loss:infinity")
def test_any_bytes(folder: Path, name: str, format: LogFormat | None, data: bytes):
    (folder / name).write_bytes(data)
    attempt(folder / name, format)


WORDS = re.findall(
    r"\S+", "step loss 0 1 -1 3.14 3,14 1e400 nan inf null true val_loss eval lr epoch log_history train"
)
PIECES = st.sampled_from([*WORDS, *",;:=|\n\t \"'{}[]#\0é", "\r\n", "\x1b[31m"])


@quick
@given(
    name=st.sampled_from(NAMES[:4]), format=st.sampled_from(FORMATS[:5]), pieces=st.lists(PIECES, max_size=60)
)
def test_anything_that_looks_like_a_log(folder: Path, name: str, format: LogFormat | None, pieces: list[str]):
    (folder / name).write_text("".join(pieces), newline="")
    attempt(folder / name, format)


@quick
@given(
    name=st.sampled_from(NAMES), cut=st.integers(0, 2000), at=st.integers(0, 2000), byte=st.integers(0, 255)
)
def test_damaged_logs(folder: Path, name: str, cut: int, at: int, byte: int):
    data = bytearray(VALID[name])
    data[at % len(data)] = byte
    (folder / name).write_bytes(data[: max(1, len(data) - cut)])
    attempt(folder / name)


BOUNDED = """
import resource, sys, time
from pathlib import Path
from stabilitykit.store import LogReading
LogReading  # what reading needs is loaded by now
import pyarrow, tensorboard.compat.proto.event_pb2
soft = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 200 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (soft, soft))
try:
    reading = LogReading(Path(sys.argv[1]), {})
    n = sum(1 for _ in reading.records)
    print(n, *reading.notes, sep="; ")
except Exception as error:
    print(type(error).__name__, error)
"""


def bounded(path: Path) -> str:
    """Read a log with 200 MiB at most beyond what the imports take."""
    code = textwrap.dedent(BOUNDED)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout.strip()


def bomb(path: Path, head: bytes, filling: bytes, size: int) -> Path:
    with gzip.open(path, "wb") as file:
        file.write(head)
        for _ in range(size // len(filling)):
            file.write(filling)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="needs a limit of memory")
def test_memory_is_bounded_whatever_the_size(tmp_path: Path):
    head = b"step,loss\n0,1\n1,2\n2,3\n"
    with (tmp_path / "sparse.csv").open("wb") as file:
        file.write(head)
        file.truncate(10 * 2**30)
    assert bounded(tmp_path / "sparse.csv").startswith(
        "3; lines of more than 4194304 characters passed over: 1"
    )
    path = bomb(tmp_path / "bomb.csv.gz", head, b"\0" * 2**20, 2**30)
    assert bounded(path).startswith("3; ")
    path = bomb(tmp_path / "rows.csv.gz", head, b"2,3.%0200d\n" % 0 * 2**12, 2**28)
    assert "archive unpacks to more than 200 times its size" in bounded(path)
    (tmp_path / "line.log").write_bytes(b"loss: 1 " * 2**23)
    assert "DataError" in bounded(tmp_path / "line.log") or "NoLossError" in bounded(tmp_path / "line.log")
    rows = io.StringIO()
    rows.writelines(f"{step},{step % 7}.5\n" for step in range(2_000_000))
    (tmp_path / "long.csv").write_text("step,loss\n" + rows.getvalue())
    assert bounded(tmp_path / "long.csv") == "2000000"
