"""Every command of the page through the lecture stands for a model that trains."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from stabilitykit.lab.model import Transformer
from stabilitykit.lab.probe import ProbeSpec, build_spec

PAGE = (Path(__file__).parents[2] / "docs" / "lecture.md").read_text()
FLAGS = {"--lr": "optimizer.lr", "--warmup": "schedule.warmup"}


def commands(text: str) -> list[str]:
    """Return the lines of the shell blocks of a text."""
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def spec_of(command: str) -> ProbeSpec:
    """Return what a command of the page asks for; only the options the page uses are known."""
    words = iter(shlex.split(command, comments=True)[2:])
    arch, overrides, flags = None, [], {}
    for word in words:
        if word == "--arch":
            arch = next(words)
        elif word == "--set":
            overrides.append(next(words))
        else:
            flags[FLAGS[word]] = next(words)
    return build_spec(arch, None, overrides, flags)


@pytest.mark.slow
@pytest.mark.parametrize("command", commands(PAGE))
def test_a_command_of_the_page_is_a_model_that_trains(command: str) -> None:
    assert command.startswith("stabilitykit probe --arch ")
    spec = spec_of(command)
    model = Transformer(spec.model, seed=0)
    tokens = torch.randint(0, 256, (2, 17), generator=torch.Generator().manual_seed(0))
    loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_no_two_commands_of_a_section_are_the_same_model() -> None:
    for section in PAGE.split("\n## ")[1:]:
        lines = commands(section)
        specs = [spec_of(line).resolved() for line in lines]
        same = [(a, b) for i, a in enumerate(lines) for j, b in enumerate(lines[:i]) if specs[i] == specs[j]]
        assert not same, section.partition("\n")[0]
