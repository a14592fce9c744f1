"""Runs in Parquet files, without loss."""

import dataclasses
import json

import numpy as np
import pytest
from made_up_runs import made_up

from benchmarks.alarms.dataset import INDEX, read_dataset, write_dataset
from benchmarks.alarms.frozen import frozen, pick, size_of
from stabilitykit.errors import DataError


def without(run, family):
    """Return a run that lacks a family."""
    kept = [place for place, tag in enumerate(run.tags) if not tag.startswith(family)]
    tags = tuple(run.tags[place] for place in kept)
    return dataclasses.replace(
        run, tags=tags, values=run.values[:, kept].copy(), missing=run.missing[:, kept]
    )


def assert_same(one, other):
    assert (one.name, one.arm, one.tags) == (other.name, other.arm, other.tags)
    assert (one.config, one.result) == (other.config, other.result)
    assert np.array_equal(one.steps, other.steps)
    assert np.array_equal(one.missing, other.missing)
    # Bit by bit: NaN with its payload, and the sign of zero.
    assert np.array_equal(one.values.view(np.uint32), other.values.view(np.uint32))


def test_runs_come_back_bit_by_bit(tmp_path):
    odd = made_up(0, n=50)
    bits = odd.values.view(np.uint32)
    read = np.flatnonzero(~odd.missing[:, 0])
    bits[read[0], 0], bits[read[1], 0], bits[read[2], 0] = 0x7FC12345, 0x80000000, 0xFF800000
    runs = [odd, made_up(1, n=60), without(made_up(2), "optim/rms_t"), without(made_up(3, n=9), "act/")]
    assert np.isnan(odd.values[~odd.missing]).any()
    assert np.isposinf(odd.values).any()
    write_dataset(runs, tmp_path)
    back = read_dataset(tmp_path)
    assert len(list(tmp_path.glob("*.parquet"))) == 3
    for one, other in zip(runs, back, strict=True):
        assert_same(one, other)
        assert list(one.records()) == list(other.records())


def test_a_data_set_is_replaced(tmp_path):
    write_dataset([made_up(0), without(made_up(1), "act/")], tmp_path)
    write_dataset([made_up(2)], tmp_path)
    assert [run.name for run in read_dataset(tmp_path)] == ["made_up-2"]
    assert len(list(tmp_path.glob("*.parquet"))) == 1


def test_the_same_runs_give_the_same_files(tmp_path):
    runs = [made_up(0), made_up(1), without(made_up(2), "act/")]
    write_dataset(runs, tmp_path / "a")
    write_dataset(runs[::-1], tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_what_cannot_be_read_or_written_is_refused(tmp_path):
    with pytest.raises(DataError, match="there twice"):
        write_dataset([made_up(0), made_up(0)], tmp_path)
    with pytest.raises(DataError, match=INDEX):
        read_dataset(tmp_path / "none")
    write_dataset([made_up(0)], tmp_path)
    document = json.loads((tmp_path / INDEX).read_text())
    (tmp_path / INDEX).write_text(json.dumps(document | {"schema_version": 99}))
    with pytest.raises(DataError, match="newer"):
        read_dataset(tmp_path)


def test_runs_of_each_arm_and_label_are_picked():
    runs = [dataclasses.replace(made_up(n), arm="side" if n % 2 else "boundary") for n in range(8)]
    labels = {run.name: "stuck" if n < 4 else "healthy" for n, run in enumerate(runs)}
    names = pick(runs, labels, each=1)
    found = {(run.arm, labels[run.name]) for run in runs if run.name in names}
    assert len(names) == 4
    assert found == {(arm, label) for arm in ("side", "boundary") for label in ("stuck", "healthy")}
    assert pick(runs[::-1], labels, each=1) == names
    assert set(names) < set(pick(runs, labels, each=2))
    assert pick(runs, {}, each=2) == ()


def test_what_is_picked_stays_under_a_size(tmp_path):
    runs = [made_up(n, n=40) for n in range(6)]
    labels = {run.name: "healthy" for run in runs}
    limit = int(2.5 * max(size_of(run) for run in runs))
    names = pick(runs, labels, each=6, limit=limit)
    assert len(names) == 2
    frozen(runs, names, tmp_path, limit)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= limit
    assert [run.name for run in read_dataset(tmp_path)] == list(names)


def test_a_subset_that_is_too_large_or_not_there_is_refused(tmp_path):
    runs = [made_up(0)]
    with pytest.raises(DataError, match="pick fewer"):
        frozen(runs, ["made_up-0"], tmp_path, limit=1000)
    with pytest.raises(DataError, match="made_up-9"):
        frozen(runs, ["made_up-9"], tmp_path)
