"""What TensorBoard is given: few scalars, one layout, pictures, texts."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.custom_scalar import layout_pb2

from stabilitykit.records import IncidentChange, StepRecord
from stabilitykit.store import TensorBoardWriter, read_scalars, tensorboard_command, tensorboard_url
from stabilitykit.store.charts import incidents_markdown, is_charted, layout
from stabilitykit.tags import REGISTRY

BLOCKS = tuple(f"blocks.{index:02d}" for index in range(3))
TAGS = (
    "train/loss",
    "optim/grad_norm",
    *(f"act/rms/{block}.{site}" for block in BLOCKS for site in ("resid_pre", "attn_norm_in", "resid_post")),
    *(f"act/max_abs/{block}.resid_post" for block in BLOCKS),
    *(f"grad/share/{group}" for group in ("embedding", *BLOCKS)),
    *(f"attn/logit_max/{block}" for block in BLOCKS),
)


def record(step: int, value: float = 1.0, tags: tuple[str, ...] = TAGS) -> StepRecord:
    return StepRecord(step, tags, np.full(len(tags), value, np.float32))


def events(folder: Path) -> list[Event]:
    (path,) = folder.glob("events.out.tfevents.*")
    return list(LegacyEventFileLoader(str(path)).Load())


def steps_of(folder: Path, tag: str) -> list[int]:
    return [event.step for event in events(folder) for value in event.summary.value if value.tag == tag]


def texts_of(folder: Path, tag: str) -> list[str]:
    values = [value for event in events(folder) for value in event.summary.value if value.tag == tag]
    assert all(value.metadata.plugin_data.plugin_name == "text" for value in values)
    return [value.tensor.string_val[0].decode() for value in values]


def charts_of(tags: list[str]) -> dict[str, list[str]]:
    document = layout_pb2.Layout()
    document.ParseFromString(layout(tags).tensor.string_val[0])
    (category,) = document.category
    return {chart.title: list(chart.multiline.tag) for chart in category.chart}


def test_scalars_come_every_ten_steps_and_when_forced(tmp_path: Path):
    writer = TensorBoardWriter(tmp_path)
    for step in range(25):
        writer.record(record(step), force=step == 13)
    writer.close()
    assert read_scalars(tmp_path)["train/loss"][0].tolist() == [0, 10, 13, 20]
    scalar_events = [event for event in events(tmp_path) if event.summary.value[:1]]
    assert sum(any(v.tag == "train/loss" for v in event.summary.value) for event in scalar_events) == 4


def test_each_stack_of_blocks_has_a_chart_of_its_own() -> None:
    charts = charts_of(["act/rms/encoder.blocks.00.resid_post", "act/rms/decoder.blocks.00.resid_post"])
    assert charts["Residual RMS per block, encoder"] == [r"^act/rms/encoder\.blocks\.00\.resid_post$"]
    assert charts["Residual RMS per block, decoder"] == [r"^act/rms/decoder\.blocks\.00\.resid_post$"]


def test_only_charted_tags_become_scalars(tmp_path: Path):
    writer = TensorBoardWriter(tmp_path)
    writer.record(record(0))
    writer.close()
    written = set(read_scalars(tmp_path))
    assert written == {tag for tag in TAGS if "resid_pre" not in tag and "max_abs" not in tag}
    assert all(is_charted(name) == family.chart for name, family in REGISTRY.items() if name != "act/rms")
    assert not is_charted("mine/own")


def test_steps_that_read_less_do_not_crowd_out_those_that_read_more(tmp_path: Path):
    writer = TensorBoardWriter(tmp_path)
    for step in range(60):
        writer.record(record(step) if step % 7 == 0 else record(step, tags=TAGS[:1]))
    writer.close()
    assert read_scalars(tmp_path)["attn/logit_max/blocks.00"][0].tolist() == [0, 14, 21, 35, 42, 56]


def test_what_is_infinite_is_shown_as_nan(tmp_path: Path):
    writer = TensorBoardWriter(tmp_path)
    for step, value in [(0, np.inf), (10, -np.inf), (20, np.nan), (30, 2.0)]:
        writer.record(record(step, value))
    writer.close()
    np.testing.assert_array_equal(read_scalars(tmp_path)["train/loss"][1], [np.nan, np.nan, np.nan, 2])


def test_a_chart_for_each_statistic_with_its_depths():
    charts = charts_of(list(TAGS))
    assert list(charts) == [
        "Loss",
        "Residual RMS per block",
        "Gradient share per block",
        "Largest attention logit per block",
    ]
    assert charts["Gradient share per block"] == [rf"^grad/share/blocks\.0{index}$" for index in range(3)]


def test_a_deep_model_shows_six_depths_from_first_to_last():
    charts = charts_of([f"attn/entropy/blocks.{index:02d}" for index in range(48)])
    shown = charts["Attention entropy per block"]
    assert len(shown) == 6
    assert (shown[0], shown[-1]) == (r"^attn/entropy/blocks\.00$", r"^attn/entropy/blocks\.47$")


def test_no_more_than_six_charts():
    blocks = [f"{name}/blocks.00" for name in REGISTRY] + ["act/rms/blocks.00.resid_post", "train/loss"]
    assert len(charts_of(blocks)) == 6


def test_the_layout_grows_with_the_tags(tmp_path: Path):
    writer = TensorBoardWriter(tmp_path)
    writer.record(record(0, tags=TAGS[:1]))
    writer.record(record(1))
    writer.record(record(20))
    writer.close()
    assert steps_of(tmp_path, "custom_scalars__config__") == [0, 1]


def test_pictures_come_every_hundred_steps_at_an_incident_and_at_the_end(
    tmp_path: Path, make_change: Callable[..., IncidentChange]
):
    writer = TensorBoardWriter(tmp_path)
    for step in range(250):
        writer.record(record(step))
        if step == 130:
            writer.incident(make_change(130))
    writer.close()
    for tag in ("depth/gradient_share", "depth/residual_rms"):
        assert steps_of(tmp_path, tag) == [100, 130, 200, 249]
    picture = next(v for e in events(tmp_path) for v in e.summary.value if v.tag == "depth/residual_rms")
    image = Image.open(io.BytesIO(picture.image.encoded_image_string))
    assert image.size == (picture.image.width, picture.image.height)


def test_pictures_become_rarer_as_the_run_grows_long(tmp_path: Path):
    writer = TensorBoardWriter(tmp_path)
    tags = ("grad/share/blocks.00",)
    for step in range(0, 60_000, 10):
        writer.record(record(step, tags=tags))
    writer.close()
    drawn = steps_of(tmp_path, "depth/gradient_share")
    assert drawn[:4] == [100, 200, 300, 400]
    late = [step for step in drawn if step >= 2_000][:-1]
    growth = np.diff(late) / late[:-1]
    assert growth.min() >= 0.05
    assert growth.max() <= 0.15
    # 20 and log(60,000 / 2,000) / log(1.05) at most.
    assert len(drawn) <= 20 + 70


def test_scalars_become_rarer_as_the_run_grows_long(tmp_path: Path):
    writer = TensorBoardWriter(tmp_path)
    for step in range(0, 90_000, 5):
        writer.record(record(step, tags=TAGS[:1]))
    writer.close()
    steps = read_scalars(tmp_path)["train/loss"][0]
    stretches = [(0, 10_000, 10), (10_000, 20_000, 20), (20_000, 40_000, 40), (40_000, 80_000, 80)]
    for first, last, every in stretches:
        assert steps[(first <= steps) & (steps < last)].tolist() == list(range(first, last, every))
    assert set(np.diff(steps[steps >= 80_000])) == {160}


def test_a_resumed_run_is_shown_as_rarely_as_one_that_never_stopped(tmp_path: Path):
    writer = TensorBoardWriter(tmp_path)
    for step in range(1_000_001, 1_003_001):
        writer.record(record(step))
    writer.close()
    assert read_scalars(tmp_path)["train/loss"][0].tolist() == [1_000_001, 1_000_960, 1_002_240]
    assert steps_of(tmp_path, "depth/residual_rms") == [1_003_000]


@pytest.mark.slow
def test_the_table_of_very_many_incidents_waits_for_the_pictures(
    tmp_path: Path, make_change: Callable[..., IncidentChange]
):
    writer = TensorBoardWriter(tmp_path)
    for step in range(1_000):
        writer.record(record(step))
        writer.incident(make_change(step, id=step))
    writer.close()
    assert len(steps_of(tmp_path, "incidents")) == 100 + len(range(200, 1_000, 100)) + 1
    assert "999 to now" in texts_of(tmp_path, "incidents")[-1]


def test_incidents_and_verdict_are_text(tmp_path: Path, make_change: Callable[..., IncidentChange]):
    writer = TensorBoardWriter(tmp_path)
    writer.record(record(5))
    writer.incident(make_change(5, id=0))
    writer.incident(make_change(6, id=0, what="updated", value=11.0))
    writer.incident(make_change(7, id=1))
    writer.incident(make_change(5, id=0, what="closed", end=8))
    writer.close("**recovered**: fine again")
    opened, both, closed, last = texts_of(tmp_path, "incidents")
    assert "| loss_spike (warning) | train/loss | 5 to now (open) | the loss rose \\| a lot |" in opened
    assert both.count("loss_spike (warning)") == 2
    assert "5 to 8" in closed
    assert last == closed
    assert "- lower the learning rate" in last
    assert texts_of(tmp_path, "verdict") == ["**recovered**: fine again"]


def test_a_long_table_of_incidents_is_cut(make_change: Callable[..., IncidentChange]):
    text = incidents_markdown([make_change(step, id=step).incident for step in range(60)])
    assert "| 59 to now (open) |" in text
    assert "| 9 to now (open) |" not in text
    assert "and 10 earlier ones" in text


def test_a_run_without_depths_has_no_pictures(tmp_path: Path):
    writer = TensorBoardWriter(tmp_path)
    for step in range(120):
        writer.record(record(step, tags=("train/loss",)))
    writer.close()
    assert not steps_of(tmp_path, "depth/gradient_share")


def test_depths_seen_only_on_steps_run_again(tmp_path: Path):
    writer = TensorBoardWriter(tmp_path)
    writer.record(record(100, tags=("train/loss",)))
    writer.record(record(50))
    writer.close("stable")
    assert texts_of(tmp_path, "verdict") == ["stable"]


def test_nothing_recorded_at_all(tmp_path: Path):
    TensorBoardWriter(tmp_path / "run").close("stable")
    assert texts_of(tmp_path / "run", "verdict") == ["stable"]


def test_command_and_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    beside = tmp_path / "bin" / "tensorboard"
    beside.parent.mkdir()
    beside.touch()
    monkeypatch.setattr("sys.executable", str(beside.with_name("python")))
    monkeypatch.setattr("shutil.which", lambda name: str(beside))
    assert tensorboard_command("my runs/a") == "tensorboard --logdir 'my runs/a'"
    monkeypatch.setattr("shutil.which", lambda name: "/another/tensorboard")
    assert tensorboard_command("runs") == f"{beside} --logdir runs"
    monkeypatch.chdir(tmp_path)
    assert tensorboard_command("runs") == "bin/tensorboard --logdir runs"
    beside.unlink()
    assert tensorboard_command("runs") == f"{tmp_path}/bin/python -m tensorboard.main --logdir runs"
    assert tensorboard_url(7007) == "http://localhost:7007/?smoothing=0#custom_scalars&_smoothingWeight=0"
