"""Shapes that logs have: bars, counters, tables, documents; what the loss is in each, and the step."""

import json
import math
from pathlib import Path

import pytest

from stabilitykit.errors import DataError
from stabilitykit.store import LogReading, find_logs

N = 30


def loss(i: int) -> float:
    return round(1 + 4 / (1 + i), 4)


def series(path: Path, text: str) -> tuple[list[int], list[float]]:
    """Return the steps and the losses that are read from a text."""
    path.write_text(text)
    records = list(LogReading(path, {}).records)
    return [record.step for record in records], [record.readings["train/loss"] for record in records]


def bar(i: int) -> str:
    return f"Training: {100 * i // N:3d}%|##   | {i}/{N} [00:0{i % 10}<01:00, 6.1it/s, loss={loss(i)}]"


def epoch_bar(i: int) -> str:
    return f"Epoch {i // 10}:  {i % 10 * 10}%|#  | {i % 10 + 1}/10 [00:01<00:00, 9.4it/s, loss={loss(i)}]"


SHAPES = {
    "a bar's count is the step, its per cent are not": ("\r".join(map(bar, range(N))), range(N)),
    "a bar begins anew with each epoch": ("\r".join(map(epoch_bar, range(N))), range(1, N + 1)),
    "epoch/batch": (
        "\n".join(f"DEBUG Batch {i // 20}/{i * 100} loss {loss(i)} aux 3.0" for i in range(N)),
        range(0, N * 100, 100),
    ),
    "one line an epoch, on its last step": (
        "\n".join(f"Epoch {i + 1}/{N}, Step 8/8, loss: {loss(i)}, lr: 0.1" for i in range(N)),
        range(8, 8 * N + 8, 8),
    ),
    "a counter stands before the loss": (
        "\n".join(f"10:00:00,123 train {i % 4 * 50:03d} {loss(i):e} 66.9 96.6" for i in range(N)),
        range(N),
    ),
    "words run together": (
        "\n".join(f"BatchStep:{i % 7} GlobalStep:{i * 5} TotalLoss:{loss(i)} MelLoss:9.0" for i in range(N)),
        range(0, N * 5, 5),
    ),
    "cost and updates": (
        "\n".join(f"Ep. 1 : Up. {i * 500} : Sen. 70,123 : Cost {loss(i)} : Time 3.5s" for i in range(N)),
        range(0, N * 500, 500),
    ),
    "numbers with their types": (
        "\n".join(f"step:{i} - pg_loss:np.float64({loss(i)}) - lr:tensor(0.1, device='x')" for i in range(N)),
        range(N),
    ),
    "a Markdown table": (
        "# Card\n\n| Epoch | Step | Validation Loss | Training Loss |\n|:--|--:|---|---|\n"
        + "".join(f"| 0.1 | {i * 50} | {'9.9' if i % 5 == 0 else '-'} | {loss(i)} |\n" for i in range(N))
        + "\n- loss: below\n",
        range(0, N * 50, 50),
    ),
    "a console's table": (
        "+---+---+\n| iter | loss |\n+---+---+\n" + "".join(f"| {i} | {loss(i)} |\n" for i in range(N)),
        range(N),
    ),
    "columns between blanks, with a time": (
        "epoch     train_loss  valid_loss  time\n"
        + "".join(f"{i}         {loss(i)}    9.900000    00:12\n" for i in range(N)),
        range(N),
    ),
    "one rank prints what another has printed": (
        "\n".join(json.dumps({"current_steps": i // 2, "loss": loss(i // 2)}) for i in range(2 * N)),
        range(N),
    ),
    "a count in a cell; the step in a summary": (
        "\n".join(json.dumps({"loss": loss(i), "global_step/max_steps": f"{i}/{N}"}) for i in range(N))
        + '\n{"global_step": 30, "best_metric": 0.1}\n',
        range(N),
    ),
    "rows of a history, deep in a document": (
        json.dumps(
            {
                "training_loss": 9.0,
                "run": {"history": [{"loss": loss(i), "lr": 0.1, "step": i * 10} for i in range(N)]},
            },
            indent=2,
        ),
        range(0, N * 10, 10),
    ),
    "columns of a document": (
        json.dumps({"acc": [0.5] * N, "loss": [loss(i) for i in range(N)], "val_loss": [9.9] * N}),
        range(N),
    ),
    "columns of training and validation": (
        json.dumps({"train": [loss(i) for i in range(N)], "val": [9.9] * N}, indent=1),
        range(N),
    ),
    "bare losses": (json.dumps([loss(i) for i in range(N)]), range(N)),
    "an export of one scalar": (
        json.dumps([[1.7e9 + i, i * 10, loss(i)] for i in range(N)]),
        range(0, N * 10, 10),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_and_its_steps_are_found(tmp_path: Path, shape: str):
    text, expected = SHAPES[shape]
    steps, losses = series(tmp_path / "log", text)
    assert losses == pytest.approx([loss(i) for i in range(N)], rel=1e-5)
    assert steps == list(expected)


@pytest.mark.parametrize(
    "written",
    ["nan", "nan.0", "NaN", "-nan(ind)", "1.#QNAN", "tensor(nan, device='cuda:0')", "np.float64(nan)"],
)
def test_nan_in_every_spelling_and_from_the_first_line_on(tmp_path: Path, written: str):
    text = "\n".join(f"iter {i}: loss {written}, time 250.12ms, mfu 30.1%" for i in range(N))
    steps, losses = series(tmp_path / "train.log", text)
    assert steps == list(range(N))
    assert all(map(math.isnan, losses))
    table = "step,loss\n" + "\n".join(f'{i},"{written}"' for i in range(N))
    assert len(series(tmp_path / "log.csv", table)[0]) == N


def test_a_cell_with_its_running_mean_keeps_its_row(tmp_path: Path):
    text = "step,loss\n" + "\n".join(f"{i},{loss(i)} (9.25)" for i in range(N))
    assert series(tmp_path / "log.csv", text)[1] == pytest.approx([loss(i) for i in range(N)])


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps({"question": f"no. {i}", "difficulty": i * 0.37 % 1}) for i in range(N)),
        "\n".join(json.dumps({"time": "10:00", "msg": "sent", "offloaded": 0.5}) for i in range(N)),
        "name,price\n" + "\n".join(f"thing {i},{i * 7 % 5}.5" for i in range(N)),
        json.dumps({"questions": [{"answer": i % 4, "points": 1.5} for i in range(N)]}),
    ],
)
def test_a_list_of_anything_holds_no_loss(tmp_path: Path, text: str):
    with pytest.raises(DataError, match="no loss column"):
        series(tmp_path / "list", text)


def notebook(*outputs: dict[str, object]) -> str:
    cell = {"cell_type": "code", "source": ["loss = 0.5\n"], "outputs": outputs}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}, indent=1)


def test_what_a_notebook_printed_is_read(tmp_path: Path):
    printed = [f"iter {i}: loss {loss(i)}\n" for i in range(N)]
    steps, losses = series(tmp_path / "a.ipynb", notebook({"output_type": "stream", "text": printed}))
    assert (steps, losses) == (list(range(N)), pytest.approx([loss(i) for i in range(N)]))


def test_a_notebooks_table_of_progress_is_read(tmp_path: Path):
    rows = "".join(f"<tr><td>{i * 10}</td><td>{loss(i)}</td><td>9.9</td></tr>" for i in range(N))
    head = "<tr><th>Step</th><th>Training Loss</th><th>Validation Loss</th></tr>"
    shown = {"data": {"text/html": [f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"]}}
    steps, losses = series(tmp_path / "a.ipynb", notebook(shown))
    assert (steps, losses) == (list(range(0, N * 10, 10)), pytest.approx([loss(i) for i in range(N)]))


def test_files_whose_names_say_nothing_are_logs_if_they_speak_of_a_loss(tmp_path: Path):
    rows = "".join(json.dumps({"iteration": i, "total_loss": loss(i)}) + "\n" for i in range(N))
    logs = {"metrics.json": rows, "train.log.1": "step 1 loss 2\n", "stdout": "step 1 loss 2.5\n"}
    others = {
        "config.json": '{"loss": 1.0, "layers": 2}',
        "LICENSE": "No liability for loss of data, 2026.\n",
        "Makefile": "all:\n\techo 1\n",
        "package.json": '{\n "name": "x",\n "version": 1\n}\n',
    }
    for name, text in {**logs, **others}.items():
        (tmp_path / name).write_text(text)
    assert {path.name for path in find_logs(tmp_path).paths} == set(logs)


def test_a_run_of_mlflow_is_read_and_found_below_its_folder(tmp_path: Path):
    run = tmp_path / "mlruns" / "0" / "0123abcd"
    for name, value in {"train/loss": loss, "lr": lambda i: 0.25, "system/gpu": lambda i: 60.0}.items():
        metric = run / "metrics" / name
        metric.parent.mkdir(parents=True, exist_ok=True)
        metric.write_text("".join(f"17000000{i:05d} {value(i)} {i * 10}\n" for i in range(N)))
    (run / "params").mkdir()
    (run / "params" / "loss").write_text("cross_entropy")
    assert find_logs(tmp_path).paths == [run]
    records = list(LogReading(run, {}).records)
    assert [record.step for record in records] == list(range(0, N * 10, 10))
    assert [record.readings["train/loss"] for record in records] == pytest.approx([loss(i) for i in range(N)])
    assert {record.readings["optim/lr"] for record in records} == {0.25}
