"""Dearer statistics: on one sequence, on the steps they are asked for, of the right tensors."""

from typing import Any

import pytest
import torch
from torch import Tensor

from stabilitykit import watch
from stabilitykit.observe import Collector
from stabilitykit.stats import LineDetail, line_detail

LINE = ("act/massive", "act/kurtosis", "act/token_spread")


def details(readings: Any) -> set[str]:
    return {tag for tag in readings if tag.startswith((*LINE, "act/silent_units"))}


def test_they_are_those_of_the_first_sequence_of_the_first_microbatch(build: Any, tokens: Tensor) -> None:
    model, optimizer = build()
    collector = Collector(model, [optimizer])
    collector.attach()
    seen: dict[str, Tensor] = {}
    block = model.blocks[1]

    def keep(name: str, tensor: Tensor) -> None:
        seen.setdefault(name, tensor.detach()[0])

    block.resid_post.register_forward_hook(lambda m, a, out: keep("line", out))
    block.mlp.down_proj.register_forward_pre_hook(lambda m, a: keep("hidden", a[0]))
    with torch.no_grad():
        block.mlp.up_proj.weight[:7] = 0.0
    for batch in tokens[:2]:
        collector.arm(detail=True)
        model(batch[:, :-1]).square().mean().backward()
    collector.read_gradients()
    readings = collector.collect(0).readings
    exact = LineDetail.of(line_detail(seen["line"]).tolist(), *seen["line"].shape)
    assert readings["act/massive/blocks.01.resid_post"] == pytest.approx(exact.massive)
    assert readings["act/kurtosis/blocks.01.resid_post"] == pytest.approx(exact.kurtosis)
    assert readings["act/token_spread/blocks.01.resid_post"] == pytest.approx(exact.token_spread)
    silent = (seen["hidden"].abs().amax(0) == 0).float().mean().item()
    assert silent == pytest.approx(7 / seen["hidden"].shape[1])
    assert readings["act/silent_units/blocks.01.mlp_hidden"] == pytest.approx(silent)
    assert len(details(readings)) == 4 * 3


def test_only_steps_that_ask_for_them_have_them(build: Any, step: Any, tokens: Tensor) -> None:
    model, optimizer = build()
    collector = Collector(model, [optimizer])
    collector.attach()
    step(model, optimizer, tokens[:1], collector)
    assert not details(collector.collect(0).readings)
    collector.arm(False, detail=True)
    model(tokens[0][:, :-1])
    collector.arm()
    assert not details(collector.collect(1).readings)
    rows = [row for row in collector.coverage() if row.statistics[0] in (LINE[0], "act/silent_units")]
    assert len(rows) == 6
    assert {row.kind for row in rows} == {"sampled"}
    assert all("one sequence" in row.module and row.every == 10 for row in rows)


@pytest.mark.parametrize(("every", "expected"), [(1, [0, 10, 20]), (2, [0, 20])])
def test_a_monitor_asks_for_them_at_every_tenth_observed_step(
    build: Any, tokens: Tensor, every: int, expected: list[int]
) -> None:
    model, optimizer = build()
    found = []
    with watch(model, optimizer, every_n_steps=every) as monitor:
        for n in range(25):
            loss = model(tokens[n % 8][:, :-1]).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.step(loss)
            latest = monitor.latest()
            if latest and latest.step == n and details(latest.readings):
                found.append(n)
        assert monitor.host_reads == -(-25 // every)
    assert found == expected


def test_a_model_of_other_parts_lacks_what_it_has_no_place_for(build: Any, tokens: Tensor) -> None:
    model, optimizer = build()
    for block in model.blocks:
        block.mlp = torch.nn.Linear(32, 32)
    collector = Collector(model, [optimizer])
    collector.attach()
    collector.arm(detail=True)
    model(tokens[0][:, :-1])
    names = {tag.rpartition("/")[0] for tag in details(collector.collect(0).readings)}
    assert names == set(LINE)


def test_a_sequence_of_one_token_has_none(build: Any, tokens: Tensor) -> None:
    model, optimizer = build()
    collector = Collector(model, [optimizer])
    collector.attach()
    collector.arm(detail=True)
    model(tokens[0][:, :1])
    assert not details(collector.collect(0).readings)


def test_taking_them_changes_no_bit(build: Any, tokens: Tensor) -> None:
    ends = []
    for detail in (False, True):
        torch.manual_seed(3)
        model, optimizer = build()
        collector = Collector(model, [optimizer])
        collector.attach()
        for batch in tokens[:3]:
            collector.arm(detail, detail=detail)
            model(batch[:, :-1]).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(([p.detach().clone() for p in model.parameters()], torch.get_rng_state()))
    assert all(torch.equal(a, b) for a, b in zip(ends[0][0], ends[1][0], strict=True))
    assert torch.equal(ends[0][1], ends[1][1])
