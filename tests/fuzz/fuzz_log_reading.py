"""Coverage-guided fuzzing of the log readers: any bytes under any name are records or one line.

Not a test that pytest collects: atheris has wheels for a few Pythons only. Run by hand:

    python -m pip install --target /tmp/atheris atheris
    PYTHONPATH=/tmp/atheris python tests/fuzz/fuzz_log_reading.py -max_total_time=300 CORPUS_FOLDER

The first byte of an input chooses the name and the format, the rest is the log.
"""

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["stabilitykit.store", "csv", "json"]):
    from stabilitykit.errors import DataError
    from stabilitykit.store import LogReading
    from stabilitykit.store.event_file import EventFile

NAMES = ("log.csv", "log.jsonl", "trainer_state.json", "train.log", "events.out.tfevents.1", "log")
FORMATS = (None, None, "csv", "jsonl", "trainer_state", "text", "tensorboard")
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-logs-"))


def seeds(corpus: Path) -> None:
    """Put a log of each format into an empty corpus."""
    rows = [{"step": i, "loss": 1.5 + i, "lr": 1e-3} for i in range(5)]
    logs = [
        "step,loss,lr\n" + "".join(f"{row['step']},{row['loss']},\n" for row in rows),
        "".join(json.dumps(row) + "\n" for row in rows),
        json.dumps({"log_history": rows}),
        "".join(f"[train] step {row['step']}: loss {row['loss']} | lr {row['lr']}\n" for row in rows),
    ]
    for at, log in enumerate(logs):
        (corpus / f"seed-{at}").write_bytes(bytes([at]) + log.encode())
    file = EventFile(corpus)
    file.close()
    (events,) = corpus.glob("events*")
    (corpus / "seed-events").write_bytes(bytes([4]) + events.read_bytes())
    events.unlink()


def read(data: bytes) -> None:
    """Read one input as a log.

    Raises:
        AssertionError: Steps do not rise, or what is said is more than a line.
    """
    choice, data = (data[0], data[1:]) if data else (0, b"")
    path = FOLDER / NAMES[choice % len(NAMES)]
    path.write_bytes(data)
    try:
        reading = LogReading(path, {}, FORMATS[choice // len(NAMES) % len(FORMATS)])
        steps = [record.step for record in reading.records]
    except DataError as error:
        said = [str(error)]
    else:
        said = list(reading.notes)
        if steps != sorted(set(steps)):
            raise AssertionError(f"steps do not rise: {steps}")
    if any("\n" in each for each in said):
        raise AssertionError(f"more than a line: {said}")


if __name__ == "__main__":
    folders = [Path(each) for each in sys.argv[1:] if not each.startswith("-")]
    if folders and not any(folders[0].iterdir()):
        seeds(folders[0])
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
