"""Logs as the frameworks write them: what is found in each, and that it is what stands there."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from stabilitykit.store import LogReading

N = 40


def loss(i: int) -> float:
    return round(2 + 8 / (1 + i), 4)


def lines(form: Callable[[int], str], steps: Sequence[int] = range(N)) -> str:
    return "".join(form(i) for i in steps)


def megatron(i: int) -> str:
    return (
        f" [2024-01-01 10:00:0{i % 10}] iteration {i:8d}/  500000 | consumed samples: {i * 256:12d} |"
        f" elapsed time per iteration (ms): 12345.6 | learning rate: {1e-6 * i:.3E} | global batch size: 256"
        f" | lm loss: {loss(i):.6E} | loss scale: 1.0 | grad norm: {1 + i:.3f} |"
        " number of skipped iterations:   0 |\n"
    )


def glm(i: int) -> str:
    line = (
        f" iteration {i:8d}/   20000 | elapsed time per iteration (ms): 2912.9 | learning rate {1e-6 * i:.3E}"
        f" | lm loss {loss(i):.6E} | loss scale 65536.0 | grad norm {1 + i:.3f} |\n"
    )
    validation = f" validation loss at iteration {i} | lm loss value: 7.1E+00 | lm loss PPL: 1.2E+03 | \n"
    return line + (f"{'-' * 80}\n{validation}{'-' * 80}\n" if i % 10 == 0 else "")


def nanogpt(i: int) -> str:
    evaluated = f"step {i}: train loss 9.9999, val loss 9.9999\nsaving checkpoint to out\n"
    return (
        evaluated if i % 20 == 0 else ""
    ) + f"iter {i}: loss {loss(i):.4f}, time {250 + i}.12ms, mfu 30.1%\n"


def modded(i: int) -> str:
    evaluated = f"step:{i}/1000 val_loss:9.9 train_time:1ms step_avg:2ms\n"
    line = f"step:{i}/1000 train_loss:{loss(i):.4f} train_time:{i * 123}ms step_avg:123.40ms\n"
    return line + (evaluated if i % 10 == 0 else "")


def titan(i: int) -> str:
    line = (
        f"[titan] 2025-07-21 15:57:42 - root - INFO - \x1b[31mstep: {i:2d}  \x1b[32mloss:  {loss(i):.4f}  "
        f"\x1b[38;2;180;60;0mgrad_norm:  {1 + i}.0  \x1b[36mmemory:  0.0GiB(0%)  \x1b[34mtps: 3,768\x1b[39m\n"
    )
    return f"[rank0]:{line}[rank1]:{line}"


def olmo(i: int) -> str:
    return (
        f"2024-01-01 10:00:00.123 host:0 olmo.train:945 INFO [step={i}/739328,epoch=0]\n"
        f"    optim/total_grad_norm={1 + i}\n    train/CrossEntropyLoss={loss(i)}\n"
        f"    throughput/total_tokens={i * 4194304:,}\n"
    )


def litgpt(i: int) -> str:
    return (
        f"Epoch 1 | iter {i * 4} step {i} | loss train: {loss(i)}, val: n/a |"
        " iter time: 123.45 ms (step) remaining time: 0:12:34\n"
    )


def llm_c(i: int) -> str:
    return (
        f"step {i:4d}/19560 | loss {loss(i):.6f} (+0.12z)| norm {1 + i}.0 (+0.1z)| lr {1e-6 * i:.2e} |"
        " 230.1 ms | 50% bf16 MFU | 227,000 tok/s\n"
    )


def hugging_face(i: int) -> str:
    rest = f"'grad_norm': '{1 + i}.0', 'learning_rate': '{1e-6 * i}', 'epoch': '{i / 100}'"
    bar = f"  {i}%|    | {i}/300 [00:05<08:00,  2.06it/s]\r"
    return bar + f"{{'loss': '{loss(i)}', {rest}}}\n" + ("{'eval_loss': 9.9}\n" if i % 10 == 0 else "")


def fairseq(i: int) -> str:
    return (
        f'2020-01-01 | INFO | train_inner | {{"epoch": 1, "loss": "{loss(i)}", "num_updates": "{i}",'
        f' "lr": "{1e-6 * i}", "gnorm": "{1 + i}"}}\n'
    )


def with_phases(i: int) -> str:
    return f"[train] step {i} loss {loss(i)}\n" + ("[eval] step {i} loss 9.9\n" if i % 10 == 0 else "")


ALL = ["grad_norm", "lr"]
SOURCE = "import torch\nlearning_rate = 3e-4\nstep = 0\n" * 2_500 + "z_loss = 1e-4\nloss = 0\n"
PROSE = {
    "megatron": (lines(megatron), "lm loss", "iteration", ALL),
    "glm": (lines(glm), "lm loss", "iteration", ALL),
    "nanogpt": ("number of parameters: 123.59M\n" + lines(nanogpt), "loss", "iter", []),
    "modded": (SOURCE + lines(modded), "train_loss", "step", []),
    "titan": (lines(titan), "loss", "step", ["grad_norm"]),
    "olmo": (lines(olmo), "train/CrossEntropyLoss", "step", ["grad_norm"]),
    "litgpt": (lines(litgpt), "loss train", "step", []),
    "llm.c": (lines(llm_c), "loss", "step", ALL),
    "hugging face": (lines(hugging_face), "loss", None, ALL),
    "fairseq": (lines(fairseq), "loss", "num_updates", ALL),
    "build-nanogpt": (lines(lambda i: f"{i} train {loss(i)}\n{i} val 9.9\n"), "train", "first number", []),
    "composer": (
        lines(
            lambda i: f"[batch={i}/1000]:\n\t Train time/sample: {i}\n\t Train loss/train/total: {loss(i)}\n"
        ),
        "Train loss/train/total",
        "batch",
        [],
    ),
    "phases": (lines(with_phases), "loss", "step", []),
}


@pytest.mark.parametrize("name", PROSE)
def test_text_logs_of_any_framework(tmp_path: Path, name: str):
    text, loss_name, step_name, others = PROSE[name]
    (tmp_path / "train.log").write_text(text)
    reading = LogReading(tmp_path / "train.log", {})
    records = list(reading.records)
    assert reading.title == "text log"
    assert reading.columns["train/loss"] == loss_name
    assert reading.columns.get("step") == step_name
    assert [(record.step, record.readings["train/loss"]) for record in records] == [
        (i, pytest.approx(loss(i), rel=1e-6)) for i in range(N)
    ]
    expected = {"grad_norm": 1 + 7, "lr": pytest.approx(7e-6)}
    for other in ALL:
        value = records[7].readings.get(f"optim/{other}")
        assert value == (expected[other] if other in others else None)


def row(i: int) -> dict[str, object]:
    return {"step": i, "train": {"loss": loss(i), "lr": "1e-3"}, "val": {"loss": 9.9}, "note": "text"}


DOCUMENTS = {
    "jsonl": ("JSONL", lines(lambda i: json.dumps(row(i)) + "\n" + "not json\n" * (i == 3))),
    "array": ("JSON history", json.dumps([row(i) for i in range(N)], indent=1)),
    "trainer_state": (
        "JSON history",
        json.dumps(
            {
                "epoch": 1.0,
                "log_history": [
                    each
                    for i in range(N)
                    for each in (
                        {"step": i, "loss": loss(i), "learning_rate": 1e-3},
                        {"step": i, "eval_loss": 9},
                    )
                ],
                "max_steps": N,
            },
            indent=2,
        ),
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(tmp_path: Path, name: str):
    title, text = DOCUMENTS[name]
    (tmp_path / "log").write_text(text)
    reading = LogReading(tmp_path / "log", {})
    found = [dict(record.readings) for record in reading.records]
    assert reading.title == title
    assert found == [
        {"train/loss": pytest.approx(loss(i)), "optim/lr": pytest.approx(1e-3)} for i in range(N)
    ]


def bzip2(data: bytes) -> bytes:
    return bz2.compress(data, 1)


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("compress", [gzip.compress, bzip2, lzma.compress, zstd])
def test_compressed_logs_and_cut_ones(tmp_path: Path, compress: Callable[[bytes], bytes]):
    text = lines(lambda i: f"iter {i}: loss {loss(i)}, noise {(i * 7919) ** 5}\n", range(5_000)).encode()
    data = compress(text)
    (tmp_path / "whole.log").write_bytes(data)
    reading = LogReading(tmp_path / "whole.log", {})
    assert (sum(1 for _ in reading.records), reading.notes) == (5_000, ())
    (tmp_path / "cut.log").write_bytes(data[: -len(data) // 3])
    reading = LogReading(tmp_path / "cut.log", {})
    assert 0 < sum(1 for _ in reading.records) < 5_000
    assert "archive is cut or damaged; read as far as it goes" in reading.notes[-1]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str):
    text = "étape,step,perte loss\n" + lines(lambda i: f"{i},{i},{loss(i)}\r\n")
    (tmp_path / "log.csv").write_bytes(text.encode(encoding))
    reading = LogReading(tmp_path / "log.csv", {})
    assert len(list(reading.records)) == N
    assert reading.columns == {"train/loss": "perte loss", "step": "step"}


def test_the_format_may_be_named(tmp_path: Path):
    (tmp_path / "log.txt").write_text("a b loss\n0 1 2\n1 1 3\n2 1 4\n")
    reading = LogReading(tmp_path / "log.txt", {}, "csv")
    assert [record.step for record in reading.records] == [0, 1, 2]
