"""Event files read record by record: growing, with large records, over several files."""

import struct
from pathlib import Path

import pytest
from tensorboard.compat.proto.summary_pb2 import Summary

from stabilitykit.errors import DataError
from stabilitykit.store import LogReading, event_stream
from stabilitykit.store.checksum import masked_crc32c
from stabilitykit.store.event_file import EventFile

LOSS, NORM = "Loss/train", "grad_norm"


def scalars(**values: float) -> list[Summary.Value]:
    return [Summary.Value(tag=tag.replace("__", "/"), simple_value=value) for tag, value in values.items()]


def write(folder: Path, steps: range, loss: float = 1.0) -> None:
    file = EventFile(folder)
    for step in steps:
        file.write(scalars(Loss__train=loss), step)
        file.write(scalars(grad_norm=step + 1.0, Loss__val=9.9), step)
    file.close()


def found(reading: LogReading) -> list[tuple[int, float, float]]:
    return [
        (each.step, each.readings["train/loss"], each.readings["optim/grad_norm"]) for each in reading.records
    ]


def test_scalars_of_one_step_are_one_record_and_restarts_count(tmp_path: Path):
    write(tmp_path, range(6))
    write(tmp_path, range(4, 9), loss=2.0)
    reading = LogReading(tmp_path, {})
    assert reading.columns == {"train/loss": LOSS, "step": "step", "optim/grad_norm": NORM}
    assert found(reading) == [(i, 1.0 if i < 4 else 2.0, i + 1) for i in range(9)]


def test_one_file_is_recognised_by_its_content(tmp_path: Path):
    write(tmp_path, range(3))
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "saved.log")
    assert len(found(LogReading(tmp_path / "saved.log", {}))) == 3


def test_tags_written_one_after_the_other_are_joined(tmp_path: Path):
    file = EventFile(tmp_path)
    for step in range(50):
        file.write(scalars(Loss__train=1.0), step)
    for step in range(50):
        file.write(scalars(grad_norm=step + 1.0), step)
    file.close()
    assert found(LogReading(tmp_path, {})) == [(i, 1.0, i + 1) for i in range(50)]


def test_a_record_too_large_is_stepped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(event_stream, "_LARGEST", 2**21)
    write(tmp_path, range(3))
    (path,) = tmp_path.iterdir()
    length = struct.pack("<Q", 2**22)
    with path.open("ab") as file:
        file.write(length + struct.pack("<I", masked_crc32c(length)) + bytes(2**22 + 4))
    write(tmp_path, range(3, 6))
    reading = LogReading(tmp_path, {})
    assert [step for step, *_ in found(reading)] == list(range(6))
    assert reading.notes == (f"{path.name}: record 7 holds {2**22} bytes; passed over",)


def test_a_damaged_length_ends_the_file_and_is_said(tmp_path: Path):
    write(tmp_path, range(3))
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(struct.pack("<QI", 2**40, 0) + b"rest")
    reading = LogReading(path, {})
    assert len(found(reading)) == 3
    assert reading.notes == (f"{path.name}: cut or damaged after record 7; 16 bytes passed over",)


def test_a_growing_folder_goes_on_in_a_new_file(tmp_path: Path):
    write(tmp_path, range(3))
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    reading = LogReading(tmp_path, {}, growing=True)
    assert [record.step for record in reading.more()] == [0, 1]
    with path.open("ab") as file:
        file.write(data[-20:])
    assert [record.step for record in reading.more()] == []
    assert [record.step for record in reading.more()] == [2], "nothing came since, so it is complete"
    write(tmp_path, range(3, 6))
    assert [record.step for record in reading.more()] == [3, 4]
    assert [record.step for record in reading.end()] == [5]
    reading.close()


def test_one_scalar_of_anything_is_no_loss(tmp_path: Path):
    file = EventFile(tmp_path)
    for step in range(5):
        file.write(scalars(reward=1.0), step)
    file.close()
    with pytest.raises(DataError, match="no loss column"):
        LogReading(tmp_path, {})
    assert len(list(LogReading(tmp_path, {"train/loss": "reward"}).records)) == 5


def test_garbage_with_the_name_is_one_line(tmp_path: Path):
    (tmp_path / "events.out.tfevents.1").write_bytes(b"garbage" * 100)
    with pytest.raises(
        DataError, match=r"nothing can be read from it .*cut or damaged after record 0; 700 bytes"
    ):
        LogReading(tmp_path, {})
