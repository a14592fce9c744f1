"""Whatever happens to a run, its folder stays within its budget at every moment, and reads back."""

import random
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.records import Incident, IncidentChange, Severity, StepRecord
from stabilitykit.store import RunWriter, TensorBoardWriter, open_run
from stabilitykit.store.contents import folder_bytes
from stabilitykit.store.run_folder import compacted

SIZE = 1_000_000
TAGS = tuple(
    f"{name}/blocks.{n:02d}{end}"
    for name, end in (("act/rms", ".resid_post"), ("grad/share", ""))
    for n in range(12)
)
RARE = tuple(f"optim/rms_t/group_{n}" for n in range(9))
# Pseudo-random bits do not compress.
VALUES = np.random.default_rng(0).uniform(1, 2, (997, len(TAGS) + len(RARE))).astype(np.float32)


def record(step: int, rare: tuple[str, ...] = ()) -> StepRecord:
    tags = TAGS + rare
    return StepRecord(step, tags, VALUES[step % len(VALUES), : len(tags)].copy())


def change(number: int, step: int, what: str) -> IncidentChange:
    text = f"gradient share fell {number} " * 8
    incident = Incident(
        number, "loss_spike", step, step, step, None, "train/loss", Severity.WARNING, 2.0, 1.0, text
    )
    return IncidentChange(what, step, incident)  # type: ignore[arg-type]


class History:
    """A run that ends, is killed, goes on, goes back: and its folder after each write."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.draw, self.most = folder, random.Random(seed), 0
        self.step = self.incidents = 0

    def session(self, steps: int) -> None:
        writer = RunWriter(
            self.folder, {}, resume=self.folder.exists(), state=lambda: {"seen": "x" * 3_000}, folder_mb=1
        )
        board = TensorBoardWriter(self.folder, folder_mb=1)
        self.step = max(0, self.step - self.draw.choice([0, 0, 7, steps]))
        many, rare = self.draw.random() < 0.3, self.draw.random() < 0.4
        for _ in range(steps):
            some = self.draw.sample(RARE, 1) if rare and self.step % 5 == 0 else ()
            one = record(self.step, tuple(some))
            writer.record(one)
            board.record(one)
            if many and self.draw.random() < 0.2:
                self.incidents += 1
                for what in ("opened", "updated"):
                    happened = change(self.incidents, self.step, what)
                    writer.incident(happened)
                    board.incident(happened)
                    self.look()
            if self.draw.random() < 0.1:
                writer.flush()
                self.look()
            self.step += 1
        if self.draw.random() < 0.5:
            told = [change(n, 1, "opened").incident.to_json() for n in range(self.draw.choice([3, 3_000]))]
            writer.verdict({"incidents": told})
            board.close("stable")
        # Else it is killed: nothing more is written, and nothing closed.
        if self.draw.random() < 0.5:
            writer.close()
        self.look()

    def look(self) -> None:
        self.most = max(self.most, folder_bytes(self.folder))


# Files of a killed run are not closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("seed", "sessions"), [(0, 12), *(pytest.param(n, 60, marks=pytest.mark.slow) for n in (1, 3))]
)
def test_no_history_makes_a_folder_pass_its_budget(tmp_path: Path, seed: int, sessions: int) -> None:
    history = History(tmp_path / "run", seed)
    for _ in range(sessions):
        history.session(history.draw.choice([1, 10, 60, 300]))
        assert history.most <= SIZE
    assert history.most > SIZE / 4
    run = open_run(history.folder)
    assert run.notes == ()
    steps = [each.step for each in run.records()]
    assert steps == sorted(set(steps))
    for each in run.records():
        there = tuple(tag for tag in each.tags if tag in RARE)
        assert each.values[: len(TAGS)].tolist() == record(each.step, there).values[: len(TAGS)].tolist()


def test_a_verdict_of_too_many_incidents_keeps_the_first_and_the_last(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", {}, state=lambda: {}, folder_mb=1)
    writer.verdict({"incidents": [change(n, n, "opened").incident.to_json() for n in range(5_000)]})
    writer.close()
    verdict = open_run(tmp_path / "run").verdict
    assert verdict is not None
    kept = verdict["incidents"]
    assert (kept[0]["id"], kept[-1]["id"]) == (0, 4_999)
    assert len(kept) + verdict["incidents_left_out"] == 5_000


def test_what_newer_lines_tell_is_left_out_and_the_rest_reads_the_same(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", {}, state=lambda: {})
    for number, step, what in (
        (1, 2, "opened"),
        (1, 3, "updated"),
        (1, 4, "updated"),
        (2, 4, "opened"),
        (1, 5, "closed"),
    ):
        writer.incident(change(number, step, what))
    writer.close()
    file = tmp_path / "run" / "incidents.jsonl"
    before, lines = open_run(tmp_path / "run").incidents, file.read_bytes()
    file.write_bytes(compacted(lines))
    assert open_run(tmp_path / "run").incidents == before
    assert len(file.read_bytes().splitlines()) == 3
    resumed = lines + b'{"schema_version": 1, "what": "resumed", "step": 4}\n'
    file.write_bytes(resumed)
    before = open_run(tmp_path / "run").incidents
    file.write_bytes(compacted(resumed))
    assert open_run(tmp_path / "run").incidents == before
    assert len(before) == 1
