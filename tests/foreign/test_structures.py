"""Blocks of every structure are found, in order, and every reading is that of its own block and turn."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from foreign import structures as made
from foreign.structure_cases import CASES, FULL, LINE, TOKENS, Blocks, block, layers
from torch import Tensor, nn

from stabilitykit.observe import Collector, Role


def steps_of(model: nn.Module, before: list[Callable[[], None]]) -> Iterator[tuple[Collector, Any]]:
    """Train a step after each of some preparations; yield the collector and the step's record."""
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.0)
    collector = Collector(model, [optimizer])
    collector.attach()
    for step, prepare in enumerate(before):
        prepare()
        collector.arm()
        model(TOKENS).square().mean().backward()
        collector.read_gradients()
        optimizer.step()
        optimizer.zero_grad()
        yield collector, collector.collect(step)
    collector.detach()


def watched(model: nn.Module) -> tuple[Collector, Any]:
    """Return the collector and the record of a second step."""
    return list(steps_of(model, [lambda: None] * 2))[-1]


def found(collector: Collector) -> dict[str, Blocks]:
    """Return the blocks that a layout holds, by the name of their stack."""
    stacks: dict[str, dict[str, tuple[str, list[str]]]] = {}
    for site in collector.layout.sites:
        match = re.fullmatch(r"(.*?)blocks\.(\d+)\.(.+)", site.name)
        if site.role is Role.ACTIVATION and match:
            block = stacks.setdefault(match[1], {}).setdefault(match[2], (site.module, []))
            block[1].append(match[3])
    return {
        name: [(path, " ".join(names)) for _, (path, names) in sorted(blocks.items())]
        for name, blocks in stacks.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_blocks_and_their_parameters_are_found_and_every_site_is_seen(name: str) -> None:
    build, expected = CASES[name]
    torch.manual_seed(0)
    collector, record = watched(build())
    assert found(collector) == expected
    sites = {site.name for site in collector.layout.sites if site.role is Role.ACTIVATION}
    assert sites == {tag.removeprefix("act/rms/") for tag in record.tags if tag.startswith("act/rms/")}
    attention = {site.name for site in collector.layout.sites if site.role is Role.ATTENTION}
    assert attention == {
        tag.removeprefix("attn/entropy/") for tag in record.tags if tag.startswith("attn/entropy/")
    }
    groups = collector.layout.groups
    grouped = [each for names in groups.values() for each in names]
    assert sorted(grouped) == sorted(parameter for parameter, _ in collector._model.named_parameters())
    for stack, blocks in expected.items():
        paths = [path for path, _ in blocks]
        for path in paths:
            within = {parameter for parameter in grouped if parameter.startswith(f"{path}.")}
            assert within <= set(groups[f"{stack}blocks.{paths.index(path):02d}"])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_watching_changes_no_bit(name: str) -> None:
    ends = []
    for is_watched in (False, True):
        torch.manual_seed(0)
        model = CASES[name][0]().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        collector = Collector(model, [optimizer])
        if is_watched:
            collector.attach()
        for step in range(2):
            collector.arm()
            model(TOKENS).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            if is_watched:
                collector.collect(step)
        ends.append(list(model.state_dict().values()))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def rms(x: Tensor) -> float:
    return x.detach().square().mean().sqrt().item()


def test_blocks_that_are_skipped_keep_their_numbers_and_have_readings_only_where_they_run() -> None:
    plans = [(1, 3), (0, 1, 2, 3, 4), (0, 4), (2,)]
    model = made.Skipping(*(block() for _ in range(5)))
    seen: dict[int, float] = {}
    for i, layer in enumerate(model.layers):
        layer.register_forward_hook(lambda module, args, output, i=i: seen.__setitem__(i, rms(output)))

    def planned(plan: tuple[int, ...]) -> Callable[[], None]:
        def prepare() -> None:
            model.plan = plan
            seen.clear()

        return prepare

    steps = steps_of(model, [planned(plan) for plan in plans])
    for plan, (collector, record) in zip(plans, steps, strict=True):
        assert found(collector) == {"": layers(5, FULL)}
        read = {
            int(tag.split(".")[1]): value
            for tag, value in record.readings.items()
            if re.fullmatch(r"act/rms/blocks\.\d+\.resid_post", tag)
        }
        assert read == pytest.approx(seen, rel=1e-5)
        assert sorted(read) == list(plan)
        assert {tag for tag in record.tags if tag.startswith("attn/entropy/")} == (
            set() if plan == plans[0] else {f"attn/entropy/blocks.0{i}" for i in plan}
        )
    told = [row.dark for row in collector.coverage() if row.kind == "missing"]
    assert any("blocks.00, blocks.02, blocks.04" in each and "did not run" in each for each in told)
    assert [name for name in collector.layout.groups if "blocks" in name] == [
        f"blocks.0{i}" for i in range(5)
    ]


def test_a_first_forward_without_any_block_leaves_their_lines_to_be_read_later() -> None:
    model = made.Skipping(block(), block())
    plans = iter([(), (0, 1)])

    def prepare() -> None:
        model.plan = next(plans)

    (first, _), (collector, record) = steps_of(model, [prepare, prepare])
    assert found(collector) == {"": layers(2, LINE)}
    assert "act/rms/blocks.01.resid_post" in record.tags
    assert any("did not run" in row.dark for row in first.coverage() if row.kind == "missing")


def test_turns_of_a_loop_are_told_apart_however_many_there_are() -> None:
    model = made.Looped(block())
    seen: list[float] = []
    model.layers[0].register_forward_hook(lambda module, args, output: seen.append(rms(output)))

    def turning(turns: int) -> Callable[[], None]:
        def prepare() -> None:
            model.turns = turns
            seen.clear()

        return prepare

    steps = steps_of(model, [turning(n) for n in (3, 5, 2, 1, 3)])
    for collector, record in steps:  # noqa: B007
        for i in range(3):
            tag = f"act/rms/blocks.0{i}.resid_post"
            if i < len(seen):
                assert record.readings[tag] == pytest.approx(seen[i], rel=1e-5)
            else:
                assert tag not in record.tags
                assert f"attn/logit_max/blocks.0{i}" not in record.tags
    told = [row.dark for row in collector.coverage() if "ran" in row.dark]
    assert told == ["layers.0 ran 5 times in one pass at most: the first 3 are read, what comes after is not"]


def test_a_block_that_first_runs_once_and_then_in_a_loop_is_read_at_its_first_turn() -> None:
    model = made.Looped(block())
    seen: list[float] = []
    model.layers[0].register_forward_hook(lambda module, args, output: seen.append(rms(output)))

    def turning(turns: int) -> Callable[[], None]:
        def prepare() -> None:
            model.turns = turns
            seen.clear()

        return prepare

    steps = steps_of(model, [turning(n) for n in (1, 4)])
    for collector, record in steps:  # noqa: B007
        assert record.readings["act/rms/blocks.00.resid_post"] == pytest.approx(seen[0], rel=1e-5)
    told = [row.dark for row in collector.coverage() if "ran" in row.dark]
    assert told == ["layers.0 ran 4 times in one pass at most: the first is read, what comes after is not"]


def test_a_loop_with_something_in_between_is_read_as_a_whole_and_says_so() -> None:
    model = made.Injected(block())
    seen: list[Tensor] = []
    model.layers[0].register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    (_, _), (collector, record) = steps_of(model, [seen.clear, seen.clear])
    assert record.readings["act/rms/blocks.00.resid_post"] == pytest.approx(rms(torch.cat(seen)), rel=1e-5)
    assert any("all its runs" in row.dark for row in collector.coverage() if row.kind == "missing")


def test_turns_are_counted_anew_in_every_microbatch() -> None:
    model = made.Looped(block()).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    collector = Collector(model, [optimizer])
    collector.attach()
    kept: list[Tensor] = []
    for step in range(2):
        collector.arm()
        kept.clear()
        with model.layers[0].register_forward_hook(lambda module, args, output: kept.append(output.detach())):
            for tokens in (TOKENS, TOKENS.flip(0, 1)):
                model(tokens).square().mean().backward()
        collector.read_gradients()
        optimizer.step()
        record = collector.collect(step)
    assert len(kept) == 6
    expected = rms(torch.cat([kept[1], kept[4]]))
    assert record.readings["act/rms/blocks.01.resid_post"] == pytest.approx(expected, rel=1e-5)


def test_streams_are_told_apart() -> None:
    model = made.Joint()
    seen: list[tuple[Tensor, Tensor]] = []
    model.layers[1].register_forward_hook(lambda module, args, output: seen.append(output))
    _, record = watched(model)
    context, hidden = seen[-1]
    assert record.readings["act/rms/blocks.01.resid_post"] == pytest.approx(rms(hidden), rel=1e-5)
    assert record.readings["act/rms/blocks.01.context.resid_post"] == pytest.approx(rms(context), rel=1e-5)
    assert record.readings["act/rms/blocks.02.resid_pre"] == pytest.approx(rms(hidden), rel=1e-5)


def test_a_shared_block_among_others_has_a_site_for_each_of_its_turns() -> None:
    collector, record = watched(made.SharedAttention())
    assert {tag for tag in record.tags if tag.startswith("attn/logit_max/")} == {
        "attn/logit_max/blocks.01",
        "attn/logit_max/blocks.03",
    }
    values = [record.readings[f"attn/entropy/blocks.0{i}"] for i in (1, 3)]
    assert values[0] != values[1]
    assert len([group for group in collector.layout.groups if "blocks" in group]) == 4


def test_branches_that_are_skipped_leave_the_others_under_their_numbers() -> None:
    model = made.Branches()
    plans = iter([(0, 1, 3, 4, 5), (0, 1, 2, 3, 4, 5)])

    def prepare() -> None:
        model.plan = next(plans)

    *_, (collector, _) = steps_of(model, [prepare, prepare])
    sites = "resid_pre attn_norm_in attn_norm_out attn_out"
    assert found(collector) == {"": [("layers.0.0", sites), ("layers.4.0", sites)]}
    assert [site.name for site in collector.layout.sites if site.role is Role.ATTENTION] == [
        "blocks.00",
        "blocks.02",
    ]
    assert any("blocks.01" in row.dark for row in collector.coverage() if row.kind == "missing")
