"""CSV logs of all sorts, read as step records."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from stabilitykit.errors import DataError
from stabilitykit.records import StepRecord
from stabilitykit.store import LogReading

WHATS = {"loss": "train/loss", "step": "step", "grad_norm": "optim/grad_norm"}


def read_csv(path: Path, **names: str) -> LogReading:
    return LogReading(path, {WHATS[what]: name for what, name in names.items()})


def read(tmp_path: Path, text: str, **names: str) -> LogReading:
    (tmp_path / "log.csv").write_text(text)
    return read_csv(tmp_path / "log.csv", **names)


def pairs(reading: LogReading) -> list[tuple[int, float]]:
    return [(each.step, round(each.readings["train/loss"], 4)) for each in reading.records]


def test_finds_columns_by_name(tmp_path: Path):
    reading = read(
        tmp_path, "Step, Loss ,grad_norm,lr,unigram_ce,other\n0,2.5,1,0.1,3.2,x\n10,2.25,2,0.2,3.3,y\n"
    )
    assert list(reading.records) == [
        StepRecord.of(0, dict(zip(reading_tags(), [2.5, 1, 0.1, 3.2], strict=True))),
        StepRecord.of(10, dict(zip(reading_tags(), [2.25, 2, 0.2, 3.3], strict=True))),
    ]
    assert reading.columns == {
        "step": "Step",
        "train/loss": "Loss",
        "optim/grad_norm": "grad_norm",
        "optim/lr": "lr",
        "train/unigram_cross_entropy": "unigram_ce",
    }
    assert reading.notes == ()
    assert len(list(reading.records)) == 2, "records can be gone through again"


def reading_tags() -> tuple[str, ...]:
    return ("train/loss", "optim/grad_norm", "optim/lr", "train/unigram_cross_entropy")


def test_without_steps_rows_are_counted(tmp_path: Path):
    assert pairs(read(tmp_path, "loss\n3\n2\n1\n")) == [(0, 3), (1, 2), (2, 1)]


def test_empty_is_missing_and_nan_is_a_value(tmp_path: Path):
    reading = read(tmp_path, "step,loss,lr\n0,nan,\n1,inf,0.1\n2,-inf,NaN\n3,,0.3\n4,None,0.3\n5,1.5,null\n")
    records = list(reading.records)
    assert [each.step for each in records] == [0, 1, 2, 5]
    np.testing.assert_array_equal(
        [each.readings["train/loss"] for each in records], [np.nan, np.inf, -np.inf, 1.5]
    )
    assert [each.tags for each in records] == [
        ("train/loss",),
        ("train/loss", "optim/lr"),
        ("train/loss", "optim/lr"),
        ("train/loss",),
    ]
    assert records[0].tags is records[3].tags
    assert np.isnan(records[2].readings["optim/lr"])


def test_lightning_rows_of_one_step_become_one_record(tmp_path: Path):
    text = (
        "epoch,lr-AdamW,step,train_loss_epoch,train_loss_step,val_loss\n"
        ",0.001,49,,,\n0,,49,,3.5,\n0,,49,,,3.6\n,0.002,99,,,\n0,,99,,3.25,\n0,,99,3.4,,\n"
    )
    reading = read(tmp_path, text)
    assert [each.readings for each in reading.records] == [
        {"train/loss": 3.5, "optim/lr": pytest.approx(0.001)},
        {"train/loss": 3.25, "optim/lr": pytest.approx(0.002)},
    ]
    assert reading.columns["train/loss"] == "train_loss_step"


def test_a_repeated_step_counts_newest_and_steps_are_sorted(tmp_path: Path):
    reading = read(tmp_path, "step,loss\n0,1\n1,2\n2,3\n1,20\n2,30\n")
    assert pairs(reading) == [(0, 1), (1, 20), (2, 30)]
    assert reading.notes == ("rows that gave way to a newer one of the same step: 2",)
    assert pairs(read(tmp_path, "step,loss\n5,1\n3,2\n4,3\n")) == [(3, 2), (4, 3), (5, 1)]


def test_columns_can_be_named(tmp_path: Path):
    reading = read(tmp_path, "n,loss,val_loss,g\n4,1,2,3\n", loss="val_loss", step="n", grad_norm="g")
    (record,) = reading.records
    assert (record.step, dict(record.readings)) == (4, {"train/loss": 2, "optim/grad_norm": 3})
    with pytest.raises(DataError, match="no column 'val_los'; did you mean 'val_loss'"):
        read(tmp_path, "loss,val_loss\n1,2\n", loss="val_los")


def test_an_export_with_run_names(tmp_path: Path):
    header = '"Step","gpt - train/loss","gpt - train/loss__MIN","gpt - train/loss__MAX"\n'
    assert pairs(read(tmp_path, header + '"1","2.5","2.5","2.5"\n')) == [(1, 2.5)]
    with pytest.raises(DataError, match="several columns may be the loss: 'a - loss', 'b - loss'; name one"):
        read(tmp_path, "step,a - loss,b - loss\n1,2,3\n")
    assert pairs(read(tmp_path, "step,a - loss,b - loss\n1,2,3\n", loss="b - loss")) == [(1, 3)]


def test_columns_named_as_tags_are_those_tags(tmp_path: Path):
    reading = read(tmp_path, "step,act/rms/blocks.00.resid_post,train/loss\n1,2,3\n")
    (record,) = reading.records
    assert dict(record.readings) == {"train/loss": 3, "act/rms/blocks.00.resid_post": 2}
    assert record.tags[0] == "train/loss"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_dialects(tmp_path: Path, delimiter: str, ending: str):
    rows = [["step", "loss"], ["0", "1.5"], ["1", " 2.5 "]]
    text = ending.join(delimiter.join(row) for row in rows)
    (tmp_path / "log.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert pairs(read_csv(tmp_path / "log.csv")) == [(0, 1.5), (1, 2.5)]


def test_gzip(tmp_path: Path):
    with gzip.open(tmp_path / "log.csv.gz", "wt") as file:
        file.write("step,loss\n0,1.5\n")
    assert pairs(read_csv(tmp_path / "log.csv.gz")) == [(0, 1.5)]
    (tmp_path / "not.csv.gz").write_text("step,loss\n0,1\n")
    assert pairs(read_csv(tmp_path / "not.csv.gz")) == [(0, 1)], "its content counts, not its name"


def test_a_cut_last_row_is_passed_over(tmp_path: Path):
    reading = read(tmp_path, "step,loss,lr\n0,1,2\n1,2,3\n2,1.")
    assert pairs(reading) == [(0, 1), (1, 2)]
    assert reading.notes == ("rows without 3 cells passed over: 1, the first '2,1.'",)


def test_cells_of_blanks_are_empty(tmp_path: Path):
    reading = read(tmp_path, "step,loss,lr\n\n0,1,  \n1, ,3\n2\n3,3,1e-3\n")
    assert [dict(each.readings) for each in reading.records] == [
        {"train/loss": 1},
        {"train/loss": 3, "optim/lr": pytest.approx(1e-3)},
    ]
    assert reading.notes == ("rows without 3 cells passed over: 1, the first '2'",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; a CSV log begins with a header"),
        ("\n \n", "empty"),
        ("step,accuracy\n1,2\n", r"no loss column .* found: step, accuracy"),
        ("step,loss\n", "column 'loss' holds no loss at any step"),
        ("step,loss\n1,\n", "column 'loss' holds no loss at any step"),
        ("step,loss\n1,2\n2,abc\n", "line 3: column 'loss' holds 'abc'; accepted: a number"),
        ("\nstep,loss\n\n1,2\nx,3\n", "line 5: column 'step' holds 'x'"),
        ("step,loss\n1.5,2\n", "column 'step' holds 1.5; accepted: whole numbers of steps"),
        ("step,loss\nnan,2\n", "column 'step' holds nan"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, text: str, message: str):
    with pytest.raises(DataError, match=message) as caught:
        list(read(tmp_path, text).records)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "log.csv") in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere\.csv: cannot be read \(No such file or directory\)"):
        read_csv(tmp_path / "nowhere.csv")


def test_values_beyond_float32_become_infinite_quietly(tmp_path: Path):
    (record,) = read(tmp_path, "loss\n1e300\n").records
    assert record.readings["train/loss"] == np.inf


def test_many_rows(tmp_path: Path):
    with (tmp_path / "log.csv").open("w") as file:
        file.write("step,loss,grad_norm\n")
        file.writelines(f"{step},{step % 7},{step if step % 2 else ''}\n" for step in range(100_000))
    reading = read_csv(tmp_path / "log.csv")
    total = sum(1 for record in reading.records if "optim/grad_norm" in record.readings)
    assert total == 50_000
