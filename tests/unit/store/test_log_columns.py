"""Which column is what: by name, by likeness, by what it holds; and never validation for training."""

from pathlib import Path

import pytest

from stabilitykit.errors import DataError
from stabilitykit.store import LogReading


def read(tmp_path: Path, text: str, **given: str) -> LogReading:
    (tmp_path / "log").write_text(text)
    return LogReading(tmp_path / "log", {"train/loss" if k == "loss" else k: v for k, v in given.items()})


def table(*names: str) -> str:
    """Return a table whose first column rises and whose others wobble."""
    rows = [
        ",".join([str(10 * i), *(f"{(i * 7 + k) % 5}.25" for k in range(1, len(names)))]) for i in range(9)
    ]
    return "\n".join([",".join(names), *rows]) + "\n"


@pytest.mark.parametrize(
    ("names", "loss", "step"),
    [
        (("Step", "trainLoss"), "trainLoss", "Step"),
        (("global_step", "MyNLL", "val_nll"), "MyNLL", "global_step"),
        (("iteration", "loss/total_train", "loss/aux", "loss/val"), "loss/total_train", "iteration"),
        (("n", "objective", "accuracy", "lr"), "objective", "n"),
        (
            ("Step", "run - train/loss", "run - train/loss__MIN", "run - train/loss__MAX"),
            "run - train/loss",
            "Step",
        ),
        (("Schritt", "Verlust"), "Verlust", "Schritt"),
        (("step", "val_loss", "train_loss", "loss_scale"), "train_loss", "step"),
        (("tokens", "loss"), "loss", None),
    ],
)
def test_columns_are_found(tmp_path: Path, names: tuple[str, ...], loss: str, step: str | None):
    columns = read(tmp_path, table(*names)).columns
    assert (columns["train/loss"], columns.get("step")) == (loss, step)


def test_what_was_concluded_is_said(tmp_path: Path):
    reading = read(tmp_path, table("n", "objective"))
    assert reading.notes == (
        "no column is called loss; 'objective' is the only one that may be it",
        "no column is called step; 'n' rises from row to row and was taken",
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("step", "val_loss"),
            "no loss column .*; 'val_loss' is of validation: name it to judge it all the same",
        ),
        (("step", "eval/loss", "accuracy"), "no loss column"),
        (
            ("step", "policy_loss", "value_loss"),
            "several columns may be the loss: 'policy_loss', 'value_loss'",
        ),
        (("step", "a", "b"), "no loss column"),
    ],
)
def test_what_may_not_be_guessed_is_asked_for(tmp_path: Path, names: tuple[str, ...], message: str):
    with pytest.raises(DataError, match=message):
        read(tmp_path, table(*names))
    assert read(tmp_path, table(*names), loss=names[1]).columns["train/loss"] == names[1]


@pytest.mark.parametrize(
    "text",
    [
        "step,split,loss\n0,train,3\n0,val,99\n1,train,2\n1,Validation,99\n",
        '{"step":0,"split":"train","loss":3}\n{"step":0,"split":"valid","loss":99}\n{"step":1,"loss":2}\n',
        "[train] step 0 loss 3\n[eval] step 0 loss 99\nstep 1 loss 2\n(test) step 1 loss 99\n",
    ],
)
def test_rows_of_validation_are_passed_over(tmp_path: Path, text: str):
    reading = read(tmp_path, text)
    assert [record.readings["train/loss"] for record in reading.records] == [3, 2]
    assert any("validation passed over" in note for note in reading.notes)


def test_headers_that_come_twice_or_not_at_all(tmp_path: Path):
    reading = read(tmp_path, "step,loss,loss\n0,1,9\nstep,loss,loss\n1,2,9\n")
    assert [record.readings["train/loss"] for record in reading.records] == [1, 2]
    assert reading.notes == (
        "column 'loss' stands 2 times in the header; the first is read",
        "headers that stand again among the rows: 1",
    )
    reading = read(tmp_path, "".join(f"{i},{3.5 - i / 10}\n" for i in range(5)))
    assert reading.columns == {"train/loss": "column 2", "step": "column 1"}
    reading = read(tmp_path, "# step loss\n" + "".join(f"{i}  {3.5 - i / 10}\n" for i in range(5)))
    assert reading.columns == {"train/loss": "loss", "step": "step"}


def test_decimal_commas_and_grouped_steps(tmp_path: Path):
    reading = read(tmp_path, 'step;loss\n"1,000";3,14\n"2,000";1,5e-1\n')
    assert [(r.step, round(r.readings["train/loss"], 4)) for r in reading.records] == [
        (1000, 3.14),
        (2000, 0.15),
    ]
    reading = read(tmp_path, "step 1,000: loss 3,14\nstep 2,000: loss 2,5\n")
    assert [(r.step, round(r.readings["train/loss"], 4)) for r in reading.records] == [
        (1000, 3.14),
        (2000, 2.5),
    ]


def test_a_bad_row_among_good_ones_is_said_and_passed_over(tmp_path: Path):
    reading = read(tmp_path, "step,loss\n0,1\n1,oops\n2,3\n3,4\n")
    assert [record.step for record in reading.records] == [0, 2, 3]
    assert reading.notes == (
        "rows that cannot be read passed over: 1; line 3: column 'loss' holds 'oops'; accepted: a number,"
        " nan, inf or nothing",
    )
