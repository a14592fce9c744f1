"""TensorBoard's event files, read past damage."""

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

from stabilitykit.errors import DataError
from stabilitykit.store import event_file, read_scalars
from stabilitykit.store.event_file import EventFile


def write(folder: Path, steps: range, value: float = 0.0) -> Path:
    file = EventFile(folder)
    for step in steps:
        file.write([Summary.Value(tag=tag, simple_value=step + value) for tag in ("a", "b")], step)
    file.close()
    return max(folder.glob("events.out.tfevents.*"))


def record_starts(data: bytes) -> list[int]:
    starts, at = [], 0
    while at < len(data):
        starts.append(at)
        at += struct.unpack_from("<Q", data, at)[0] + 16
    return starts


def test_what_was_written_is_read(tmp_path: Path):
    write(tmp_path, range(5), 0.1)
    scalars = read_scalars(tmp_path)
    assert sorted(scalars) == ["a", "b"]
    steps, values = scalars["a"]
    assert steps.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(values, np.arange(5, dtype=np.float32) + np.float32(0.1))
    assert scalars.notes == ()


def test_tensorboard_reads_it_too(tmp_path: Path):
    events = list(LegacyEventFileLoader(str(write(tmp_path, range(5)))).Load())
    assert events[0].file_version == "brain.Event:2"
    assert [event.step for event in events[1:]] == [0, 1, 2, 3, 4]


def test_a_step_written_again_counts_newest(tmp_path: Path):
    write(tmp_path, range(5))
    write(tmp_path, range(3, 6), 100.0)
    steps, values = read_scalars(tmp_path)["b"]
    assert steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert values.tolist() == [0, 1, 2, 103, 104, 105]


def test_a_file_of_the_same_second_is_newer_whatever_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(event_file, "_NUMBER", itertools.count(99))
    for value in (0.0, 1.0):
        write(tmp_path, range(1), value)
    assert read_scalars(tmp_path)["a"][1].tolist() == [1.0]


def test_two_writers_never_share_a_file(tmp_path: Path):
    assert write(tmp_path, range(1)) != write(tmp_path, range(1))


def test_a_cut_is_noted(tmp_path: Path):
    path = write(tmp_path, range(5))
    path.write_bytes(path.read_bytes()[:-10])
    scalars = read_scalars(path)
    assert scalars["a"][0].tolist() == [0, 1, 2, 3]
    (note,) = scalars.notes
    assert "cut or damaged after record 5" in note


def test_a_bad_record_is_stepped_over(tmp_path: Path):
    path = write(tmp_path, range(5))
    data = bytearray(path.read_bytes())
    third = record_starts(bytes(data))[3]
    data[third + 12 : third + 20] = b"\xff" * 8
    path.write_bytes(data)
    scalars = read_scalars(tmp_path)
    assert scalars["a"][0].tolist() == [0, 1, 3, 4]
    assert scalars.notes == (f"{path.name}: record 3 is damaged; passed over",)


def test_a_zeroed_stretch_ends_the_reading(tmp_path: Path):
    path = write(tmp_path, range(5))
    data = bytearray(path.read_bytes())
    start = record_starts(bytes(data))[3]
    data[start:] = bytes(len(data) - start)
    path.write_bytes(data)
    scalars = read_scalars(tmp_path)
    assert scalars["a"][0].tolist() == [0, 1]
    assert len(scalars.notes) == 1


@pytest.mark.parametrize("length", range(0, 80, 7))
def test_any_beginning_can_be_read(tmp_path: Path, length: int):
    path = write(tmp_path, range(3))
    path.write_bytes(path.read_bytes()[:length])
    assert len(read_scalars(path).notes) == (length > 0)


def test_scalars_in_the_newer_form(tmp_path: Path):
    shape = TensorShapeProto()
    file = EventFile(tmp_path)
    values = [
        Summary.Value(tag="a", tensor=TensorProto(dtype=1, float_val=[1.5], tensor_shape=shape)),
        Summary.Value(
            tag="b", tensor=TensorProto(dtype=1, tensor_content=struct.pack("<f", 2.5), tensor_shape=shape)
        ),
        Summary.Value(
            tag="c", tensor=TensorProto(dtype=2, tensor_content=struct.pack("<d", 3.5), tensor_shape=shape)
        ),
        Summary.Value(tag="text", tensor=TensorProto(dtype=7, string_val=[b"x"], tensor_shape=shape)),
        Summary.Value(tag="image", image=Summary.Image(height=1)),
    ]
    file.write(values, 4)
    file.close()
    scalars = read_scalars(tmp_path)
    assert {tag: values.tolist() for tag, (_, values) in scalars.items()} == {
        "a": [1.5],
        "b": [2.5],
        "c": [3.5],
    }


def test_no_event_file_is_one_line(tmp_path: Path):
    with pytest.raises(DataError, match="no TensorBoard event file"):
        read_scalars(tmp_path)
