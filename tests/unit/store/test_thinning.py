"""A folder stays within its budget: what is thinned, what is kept, and that readers never see half of it."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.errors import ConfigError, RunFolderError
from stabilitykit.records import IncidentChange, StepRecord
from stabilitykit.store import RunWriter, Thinned, open_run
from stabilitykit.store.segments import EVERY, STATE, Segment, segment_files
from stabilitykit.store.thinning import AROUND, kept

Make = Callable[..., IncidentChange]
TAGS = tuple(f"act/rms/blocks.{index:02d}.resid_post" for index in range(50))
SIZE = 1_000_000
# Pseudo-random bits do not compress.
VALUES = np.random.default_rng(0).uniform(1, 2, (4_001, len(TAGS))).astype(np.float32)


def record(step: int, tags: tuple[str, ...] = TAGS) -> StepRecord:
    values = VALUES[step % len(VALUES), : len(tags)].copy()
    if step % 5 == 0:
        values[0] = np.nan
    return StepRecord(step, tags, values)


def writer_of(folder: Path, resume: bool = False, **arguments: object) -> RunWriter:
    arguments = {"state": lambda: {"seen": 1}, "folder_mb": 1, **arguments}
    return RunWriter(folder, {}, resume=resume, **arguments)  # type: ignore[arg-type]


def recorded(step: int) -> StepRecord:
    return record(step, TAGS[:40]) if step % 3 == 2 else record(step)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def grow(writer: RunWriter, steps: range, check: Callable[[int], None] = lambda step: None) -> None:
    for step in steps:
        writer.record(recorded(step))
        check(step)
    writer.close()


def test_the_folder_stays_within_its_budget_and_the_newest_steps_in_full(tmp_path: Path):
    most = 0

    def check(step: int) -> None:
        nonlocal most
        if step % 100 == 0:
            most = max(most, size(tmp_path))

    grow(writer_of(tmp_path), range(12_000), check)
    assert 0.7 * SIZE < most <= SIZE
    run = open_run(tmp_path)
    assert run.notes == ()
    steps = [each.step for each in run.records()]
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, 11_999)
    first_full = run.thinned[-1].last + 1
    assert steps[-(12_000 - first_full) :] == list(range(first_full, 12_000))
    # About half of the room is for them: 200 bytes a step, a fifth of it compressed away.
    assert 2_000 < 12_000 - first_full < 4_000


def test_what_is_left_of_old_steps_is_even_and_bit_for_bit(tmp_path: Path):
    grow(writer_of(tmp_path), range(12_000))
    run = open_run(tmp_path)
    stretches = run.thinned
    assert stretches[0].first == 0
    assert all(a.last + 1 == b.first for a, b in pairwise(stretches))
    everies = {each.every for each in stretches}
    # Whole powers of two, at most one doubling apart: the thinning is even.
    assert max(everies) <= 2 * min(everies)
    assert all(every & (every - 1) == 0 for every in everies)
    read = {each.step: each for each in run.records()}
    for stretch in stretches:
        there = [step for step in read if stretch.first <= step <= stretch.last]
        assert max(np.diff(there)) <= 2 * stretch.every
        assert len(there) <= (stretch.last - stretch.first) / stretch.every + 40
    for step, each in read.items():
        assert each == (recorded(step))
    steps, _ = run.column(TAGS[0])
    assert steps.tolist() == list(read)
    missing, _ = run.column(TAGS[45])
    assert missing.tolist() == [step for step in read if step % 3 != 2]


def test_steps_around_an_incident_stay(tmp_path: Path, make_change: Make):
    writer = writer_of(tmp_path)

    def check(step: int) -> None:
        if step == 700:
            writer.incident(make_change(700))

    grow(writer, range(12_000), check)
    run = open_run(tmp_path)
    steps = {each.step for each in run.records()}
    assert run.thinned[-1].last > 700
    # In a short segment there are more of them than evenly spaced steps, so that the nearest stay.
    assert set(range(700 - 10, 700 + 11)) <= steps
    assert not set(range(300, 340)) <= steps


def test_the_rows_that_are_kept():
    steps = np.arange(100, 1100)
    none = np.empty(0, np.int64)
    assert steps[kept(steps, 16, none)].tolist() == [100, *range(112, 1100, 16)]
    # Thinning in two turns is thinning in one.
    once = steps[kept(steps, 16, none)]
    assert once[kept(once, 64, none)].tolist() == steps[kept(steps, 64, none)].tolist()
    spike = steps[kept(steps, 8, np.array([700]))]
    assert {700 - AROUND, 700 + AROUND} <= set(spike.tolist())
    assert np.diff(spike).max() <= 8
    assert spike[(spike > 649) & (spike < 751)].tolist() == list(range(650, 751))
    # So many incidents that everything is near one: at most as many again are kept.
    crowded = kept(steps, 16, np.arange(100, 1100, 20))
    assert crowded.sum() == 2 * kept(steps, 16, none).sum()
    assert kept(steps, 10**9, none).sum() == 1


def test_states_go_as_segments_are_thinned_and_one_stays(tmp_path: Path):
    written = []

    def state() -> dict[str, int]:
        written.append(len(written))
        return {"number": written[-1]}

    grow(writer_of(tmp_path, state=state), range(8_000))
    found = [Segment(path) for path in segment_files(tmp_path / "readings")]
    assert {segment.every > 1 for segment in found} == {True, False}
    assert [STATE in segment.metadata for segment in found] == [segment.every == 1 for segment in found]
    full = next(segment for segment in found if segment.every == 1)
    snapshot = open_run(tmp_path).snapshot
    assert snapshot is not None
    assert snapshot.step == full.first_step
    assert snapshot.state == full.state()
    later = [each.step for each in open_run(tmp_path).records(after=snapshot.step)]
    assert later == list(range(snapshot.step + 1, 8_000))


def test_without_a_state_and_without_a_limit_nothing_is_thinned(tmp_path: Path):
    grow(writer_of(tmp_path / "stateless", state=None), range(8_000))
    grow(writer_of(tmp_path / "endless", folder_mb=math.inf), range(8_000))
    for folder in (tmp_path / "stateless", tmp_path / "endless"):
        run = open_run(folder)
        assert (run.thinned, run.snapshot) == ((), None)
        assert sum(1 for _ in run.records()) == 8_000


@pytest.mark.slow
def test_what_else_is_in_the_folder_counts(tmp_path: Path):
    grow(writer_of(tmp_path / "alone"), range(8_000))
    other = writer_of(tmp_path / "other")
    (tmp_path / "other" / "events.out.tfevents.1").write_bytes(bytes(400_000))
    grow(other, range(8_000))
    assert size(tmp_path / "other") <= SIZE
    # The budget is of the whole folder: where others have used it up, nothing is written, and that is said.
    crowded = writer_of(tmp_path / "crowded")
    (tmp_path / "crowded" / "events.out.tfevents.1").write_bytes(bytes(2_000_000))
    with pytest.raises(RunFolderError, match="folder_mb: 1 MB are used up"):
        grow(crowded, range(8_000))


@pytest.mark.slow
def test_a_resumed_run_goes_on_thinning(tmp_path: Path):
    for first in range(0, 12_000, 1_000):
        grow(writer_of(tmp_path, resume=True), range(max(0, first - 150), first + 1_000))
        assert size(tmp_path) <= SIZE
        steps = [each.step for each in open_run(tmp_path).records()]
        assert steps == sorted(set(steps))
        assert steps[-1] == first + 999
    assert open_run(tmp_path).thinned


def test_steps_run_again_from_within_the_thinned_ones_are_there_in_full(tmp_path: Path):
    grow(writer_of(tmp_path), range(8_000))
    assert open_run(tmp_path).thinned[-1].last > 1_000
    grow(writer_of(tmp_path, resume=True, state=lambda: {"seen": 2}), range(1_000, 1_100))
    run = open_run(tmp_path)
    assert run.thinned[-1].last == 999
    assert run.snapshot is not None
    assert (run.snapshot.step, run.snapshot.state) == (1_000, {"seen": 2})
    assert [each.step for each in run.records(after=999)] == list(range(1_000, 1_100))


def test_a_run_that_is_open_is_read_as_it_was(tmp_path: Path):
    writer = writer_of(tmp_path)
    opened = []

    def check(step: int) -> None:
        if step == 3_000:
            opened.append(open_run(tmp_path))

    grow(writer, range(12_000), check)
    (run,) = opened
    steps = [each.step for each in run.records()]
    assert steps[-1] <= 3_000
    assert len(steps) > 2_500
    assert run.column(TAGS[0])[0].tolist() == steps
    assert run.notes == ()
    assert len(list(open_run(tmp_path).records(after=3_000))) > 0


def test_damage_is_told_of_after_the_damaged_segment_was_thinned(tmp_path: Path):
    grow(writer_of(tmp_path), range(500))
    first = segment_files(tmp_path / "readings")[0]
    first.write_bytes(first.read_bytes()[:-2_000])
    (note,) = open_run(tmp_path).notes
    grow(writer_of(tmp_path, resume=True), range(500, 9_000))
    assert Segment(first).every > 1
    assert open_run(tmp_path).notes == (note,)


def test_a_rewriting_that_was_cut_off_leaves_nothing(tmp_path: Path):
    grow(writer_of(tmp_path), range(500))
    (tmp_path / "readings" / "segment-00000.part").write_bytes(b"half")
    writer = writer_of(tmp_path, resume=True)
    assert not list((tmp_path / "readings").glob("*.part"))
    writer.close()
    assert [each.step for each in open_run(tmp_path).records()] == list(range(500))


def test_a_disk_too_full_to_thin_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: Path, *args: object) -> None:
        raise OSError(28, "No space left on device")

    writer = writer_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        grow(writer, range(8_000))
    run = open_run(tmp_path)
    assert run.thinned == ()
    assert sum(1 for _ in run.records()) == 8_000
    assert not list((tmp_path / "readings").glob("*.part"))


def test_a_folder_from_before_there_were_states_is_read_and_goes_on(tmp_path: Path):
    grow(writer_of(tmp_path, state=None, folder_mb=math.inf), range(3_000))
    metadata = Segment(segment_files(tmp_path / "readings")[0]).metadata
    assert dict(metadata) == {b"schema_version": b"1"}
    grow(writer_of(tmp_path, resume=True), range(3_000, 12_000))
    run = open_run(tmp_path)
    assert size(tmp_path) <= SIZE
    assert run.thinned[0].first == 0
    assert EVERY in Segment(segment_files(tmp_path / "readings")[0]).metadata


def test_every_tenth_step_is_thinned_as_well(tmp_path: Path):
    writer = writer_of(tmp_path)
    for step in range(0, 112_000, 10):
        writer.record(record(step))
    writer.close()
    assert size(tmp_path) <= SIZE
    (first, *_) = open_run(tmp_path).thinned
    assert isinstance(first, Thinned)
    assert first.every >= 16


@pytest.mark.parametrize("folder_mb", [0, 0.9, -1, math.nan, True, "200", None])
def test_a_budget_that_is_none_is_refused(tmp_path: Path, folder_mb: object):
    with pytest.raises(ConfigError, match=r"folder_mb: got .*; must be a number of megabytes from 1 on"):
        writer_of(tmp_path / "run", folder_mb=folder_mb)
    assert not (tmp_path / "run").exists()


def test_the_state_is_the_one_after_the_segments_first_step(tmp_path: Path):
    step = 0
    writer = writer_of(tmp_path, state=lambda: {"step": step})
    for step in range(4_000):
        writer.record(record(step))
    writer.close()
    found = [Segment(path) for path in segment_files(tmp_path / "readings")]
    states = [
        (segment.first_step, json.loads(segment.metadata[STATE])) for segment in found if segment.every == 1
    ]
    assert len(states) > 3
    assert all(state == {"step": first} for first, state in states)
