"""Where two runs part: what was asked, the first bit that differs, and what lies apart, in time order."""

import math

import numpy as np

from stabilitykit.lab.report.parting import parting
from stabilitykit.lab.report.parting_view import sentence
from stabilitykit.lab.report.two_runs import where_they_part

from .conftest import write_run

STEPS = np.arange(20)


def columns(**changed):
    """Return the readings of a run: flat lines, but for what is said."""
    tags = ("train/loss", "act/rms/blocks.00.resid_post", "act/rms/blocks.01.resid_post", "grad/norm/head")
    values = {tag: np.ones(20, np.float32) for tag in tags}
    for name, series in changed.items():
        values[next(tag for tag in tags if name in tag)] = np.array(series, np.float32)
    return values


def part(a, b, **more):
    return parting(list(a), lambda tag: (STEPS, a[tag]), lambda tag: (STEPS, b[tag]), **more)


def rise(start: int, size: float):
    return [1.0 + size * (step >= start) for step in range(20)]


def test_two_that_are_the_same_say_so():
    found = part(columns(), columns())
    assert found.first == found.apart == ()
    assert "the same to the last bit over the 20 steps and 4 readings" in sentence(found)


def test_nan_on_both_sides_is_the_same():
    series = [math.nan] * 20
    assert part(columns(loss=series), columns(loss=series)).first == ()


def test_the_first_difference_is_told_in_forward_order_whatever_the_order_of_tags():
    found = part(columns(), columns(**{"blocks.01": rise(7, 1e-6), "loss": rise(7, 1e-6)}))
    assert [each.tag for each in found.first] == ["act/rms/blocks.01.resid_post", "train/loss"]
    assert found.first[0].step == 7
    assert found.apart == ()
    assert "and never by more than 5 %" in sentence(found)


def test_apart_is_told_of_each_family_in_time_order_with_its_first_site():
    b = columns(**{"blocks.00": rise(12, 0.2), "blocks.01": rise(9, 0.2), "loss": rise(4, 0.2)})
    found = part(columns(), b)
    assert [(each.step, each.tag) for each in found.apart] == [
        (4, "train/loss"),
        (9, "act/rms/blocks.01.resid_post"),
    ]


def test_two_steps_are_no_parting_but_three_are():
    two = [1.0] * 5 + [2.0] * 2 + [1.0] * 13
    three = [1.0] * 5 + [2.0] * 3 + [1.0] * 12
    assert part(columns(), columns(loss=two)).apart == ()
    assert part(columns(), columns(loss=three)).apart[0].step == 5


def test_not_finite_on_one_side_is_apart():
    b = columns(loss=[1.0] * 6 + [math.nan] * 14)
    assert part(columns(), b).apart[0].step == 6


def test_only_steps_that_both_have_count():
    a, b = columns(), columns(loss=rise(3, 1.0))
    found = parting(list(a), lambda tag: (STEPS[::2], a[tag][::2]), lambda tag: (STEPS[1::2], b[tag][1::2]))
    assert found.shared_steps == 0
    assert "share no reading" in sentence(found)


def test_config_that_differs_is_named_by_its_dotted_path():
    a = {"schema_version": 1, "arch": "pre_norm", "model": {"n_layers": 4, "norm": {"eps": 1e-6}}}
    b = {"schema_version": 2, "arch": "pre_norm", "model": {"n_layers": 6, "norm": {"eps": 1e-6}}, "seed": 1}
    found = part(columns(), columns(), config_a=a, config_b=b)
    assert found.config == (("model.n_layers", 4, 6), ("seed", None, 1))


def test_folders_and_anybodys_logs_are_compared_by_what_both_have(tmp_path):
    losses = [3.0 - 0.01 * step for step in range(30)]
    write_run(tmp_path / "run", losses, schedule={"warmup": 0})
    log = tmp_path / "log.csv"
    rows = [f"{step},{loss + (step > 20):.6g}" for step, loss in enumerate(losses)]
    log.write_text("step,loss\n" + "\n".join(rows) + "\n")
    found = where_they_part(tmp_path / "run", log)
    assert found.shared_tags == 1
    assert [(each.step, each.tag) for each in found.apart] == [(21, "train/loss")]
    assert found.first[0].step == 21
