"""What is found in models of other people, by watching one forward pass."""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from foreign.models import BUILDERS, LENGTH, VOCABULARY, WIDTH, Foreign
from torch import Tensor, nn

from stabilitykit.observe import Collector, Role, SiteRules
from stabilitykit.observe.calls import Tracer
from stabilitykit.observe.forwards import Forwards

PRE_NORM = (
    "resid_pre attn_norm_in attn_norm_out attn_out resid_mid mlp_norm_in mlp_norm_out mlp_out resid_post"
)
POST_NORM = "resid_pre attn_out attn_norm_in attn_norm_out mlp_out mlp_norm_in mlp_norm_out resid_post"
DOUBLE_NORM = (
    "resid_pre attn_norm_in attn_norm_out attn_out attn_out_norm_in attn_out_norm_out resid_mid mlp_norm_in "
    "mlp_norm_out mlp_out mlp_out_norm_in mlp_out_norm_out resid_post"
)
CROSS = (
    "resid_pre attn_norm_in attn_norm_out attn_out cross_attn_norm_in cross_attn_norm_out cross_attn_out "
    "mlp_norm_in mlp_norm_out mlp_out resid_post"
)
STRETCH = PRE_NORM.removesuffix(" resid_post")
ATTENTION_ONLY = "resid_pre attn_norm_in attn_norm_out attn_out"
CONVOLUTIONS = "resid_pre norm1_in norm1_out norm2_in norm2_out resid_post"

Stacks = dict[str, tuple[int, str]]
"""Number of blocks, and the sites of each in order, by the stack's name."""

EXPECTED: dict[str, Stacks] = {
    "gpt2": {"": (3, PRE_NORM)},
    "llama": {"": (3, PRE_NORM)},
    "gemma2": {"": (3, DOUBLE_NORM)},
    "olmo2": {"": (3, POST_NORM)},
    "gpt_oss": {"": (3, PRE_NORM)},
    "bert": {"": (3, POST_NORM)},
    "t5": {"encoder.": (2, PRE_NORM), "decoder.": (3, CROSS)},
    "vit": {"": (3, PRE_NORM)},
    "swin": {"stage0.": (2, PRE_NORM), "stage1.": (2, PRE_NORM)},
    "whisper": {"encoder.": (2, PRE_NORM), "decoder.": (3, CROSS)},
    "x_transformers_lm": {"": (3, STRETCH)},
    "x_transformers_flash": {"": (3, STRETCH)},
    "x_transformers_vit": {"": (3, STRETCH)},
    "torch_encoder": {"": (3, PRE_NORM)},
    "torch_attention": {"": (3, ATTENTION_ONLY)},
    "nanogpt": {"": (3, PRE_NORM)},
    "resnet": {"layer1.": (2, CONVOLUTIONS), "layer2.": (2, CONVOLUTIONS)},
    "mlp": {},
}
pytestmark = pytest.mark.filterwarnings("ignore")

WITHOUT_HEAD = ("torch_encoder", "torch_attention")
PACKED = ("gpt_oss",)
"""Whose feed-forward matrices are no modules, so that nothing tells where hidden units enter one."""
WITHOUT_LAST_NORM = ("bert", "torch_encoder", "torch_attention", "resnet", "mlp")


def watched(foreign: Foreign, steps: int = 2, rules: SiteRules | None = None) -> tuple[Collector, Any]:
    """Return a collector after some training steps, and its last record."""
    optimizer = torch.optim.SGD(foreign.model.parameters(), lr=0.0)
    collector = Collector(foreign.model, [optimizer], rules)
    collector.attach()
    for step in range(steps):
        collector.arm()
        foreign.loss(foreign.model, foreign.inputs).backward()
        collector.read_gradients()
        optimizer.step()
        optimizer.zero_grad()
        record = collector.collect(step)
    collector.detach()
    return collector, record


def stacks_of(collector: Collector) -> Stacks:
    """Return the stacks that a layout holds, checking that their blocks are alike."""
    sites: dict[str, dict[str, list[str]]] = {}
    for site in collector.layout.sites:
        if site.role is Role.ACTIVATION and (match := re.fullmatch(r"(.*)blocks\.(\d+)\.(\w+)", site.name)):
            sites.setdefault(match[1], {}).setdefault(match[2], []).append(match[3])
    for name, blocks in sites.items():
        assert len({tuple(found) for found in blocks.values()}) == 1, (name, blocks)
    return {name: (len(blocks), " ".join(next(iter(blocks.values())))) for name, blocks in sites.items()}


@pytest.mark.parametrize("name", EXPECTED)
def test_blocks_norms_and_branches_are_found(name: str) -> None:
    collector, _ = watched(BUILDERS[name](seed=1))
    assert stacks_of(collector) == EXPECTED[name]
    names = {site.name for site in collector.layout.sites}
    assert ("head.logits" in names) == (name not in WITHOUT_HEAD)
    assert any(each.endswith("final_norm_out") for each in names) == (name not in WITHOUT_LAST_NORM)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_site_found_is_seen(name: str) -> None:
    collector, record = watched(BUILDERS[name](seed=1))
    act = {site.name for site in collector.layout.sites if site.role is Role.ACTIVATION}
    assert act == {tag.removeprefix("act/rms/") for tag in record.tags if tag.startswith("act/rms/")}
    assert ("output/log_z" in record.tags) == (name not in WITHOUT_HEAD)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_trainable_parameter_is_in_one_group(name: str) -> None:
    foreign = BUILDERS[name](seed=1)
    collector, record = watched(foreign)
    grouped = [each for names in collector.layout.groups.values() for each in names]
    assert sorted(grouped) == sorted(n for n, p in foreign.model.named_parameters() if p.requires_grad)
    blocks = sum(count for count, _ in EXPECTED[name].values())
    assert sum("blocks." in group for group in collector.layout.groups) == blocks
    assert record.readings["optim/grad_norm"] > 0


@pytest.mark.parametrize("name", EXPECTED)
def test_readings_are_those_of_hooks_of_ones_own(name: str) -> None:
    foreign = BUILDERS[name](seed=1, dropout=0.0)
    collector, record = watched(foreign)
    modules, seen = dict(foreign.model.named_modules()), dict[str, Tensor]()

    def first(value: Any) -> Tensor:
        return value if isinstance(value, Tensor) else first(next(iter(value)))

    def note(site: str) -> Any:
        return lambda module, args, output: seen.__setitem__(site, first(output).detach())

    wanted = [s for s in collector.layout.sites if s.name.endswith(("resid_post", "_norm_out", "_out"))]
    hooks = [modules[site.module].register_forward_hook(note(site.name)) for site in wanted]
    foreign.loss(foreign.model, foreign.inputs)
    for hook in hooks:
        hook.remove()
    for site, x in seen.items():
        assert record.readings[f"act/rms/{site}"] == pytest.approx(x.square().mean().sqrt().item(), rel=1e-5)
        assert record.readings[f"act/max_abs/{site}"] == pytest.approx(x.abs().max().item(), rel=1e-6)
    assert len(seen) == len(wanted)


@pytest.mark.parametrize("name", EXPECTED)
def test_watching_changes_no_bit_of_a_foreign_model(name: str) -> None:
    ends = []
    for is_watched in (False, True):
        foreign = BUILDERS[name](seed=1, dropout=0.1)
        torch.manual_seed(3)
        optimizer = torch.optim.AdamW(foreign.model.parameters(), lr=1e-3)
        collector = Collector(foreign.model, [optimizer])
        if is_watched:
            collector.attach()
        losses = []
        for step in range(3):
            collector.arm()
            loss = foreign.loss(foreign.model, foreign.inputs)
            loss.backward()
            if is_watched:
                collector.read_gradients()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
            if is_watched:
                collector.collect(step)
        ends.append((losses, list(foreign.model.state_dict().values()), torch.get_rng_state()))
    bare, seen = ends
    assert all(torch.equal(a, b) for a, b in zip(bare[0], seen[0], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(bare[1], seen[1], strict=True))
    assert torch.equal(bare[2], seen[2])


@pytest.mark.parametrize("name", EXPECTED)
def test_hidden_units_are_found_where_blocks_have_attention_and_feed_forward(name: str) -> None:
    collector, _ = watched(BUILDERS[name](seed=1))
    modules = dict(collector._modules)
    hidden = collector.layout.hidden
    feeding = sum(count for count, sites in EXPECTED[name].values() if "mlp_out" in sites)
    assert len(hidden) == (0 if name in PACKED else feeding)
    for site in hidden.values():
        widths = modules[site.module].weight.shape
        assert max(widths) > WIDTH, "the hidden layer is wider than the line"


class SharedLayers(nn.Module):
    """One layer applied four times, as in ALBERT."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        for _ in range(4):
            x = self.layer(x)
        return self.head(x)


class TwoViews(nn.Module):
    """One encoder that sees two inputs a step, as in contrastive learning."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the mean square distance of both views."""
        return (self.encoder(one) - self.encoder(other)).square().mean()


class Inline(nn.Module):
    """A block that computes its attention itself, without a module for it."""

    def __init__(self) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return the line after the block."""
        q, k, v = (t.unflatten(-1, (4, -1)).transpose(1, 2) for t in self.qkv(self.n1(x)).chunk(3, -1))
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.n2(x))))


def summed(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    return model(**inputs).square().mean()


def test_a_shared_layer_is_as_many_blocks_as_it_has_calls() -> None:
    collector, record = watched(Foreign(SharedLayers(), {"x": torch.randn(2, LENGTH, WIDTH)}, summed))
    assert next(iter(stacks_of(collector).values()))[0] == 4
    lines = [record.readings[f"act/rms/blocks.0{i}.resid_pre"] for i in range(4)]
    ends = [record.readings[f"act/rms/blocks.0{i}.resid_post"] for i in range(4)]
    assert lines[1:] == ends[:-1]
    assert len({*lines, ends[-1]}) == 5


def test_two_passes_in_a_step_are_one_stack_whose_readings_are_merged() -> None:
    one, other = torch.randn(2, 6, WIDTH), 3 * torch.randn(2, 6, WIDTH)
    collector, record = watched(Foreign(TwoViews(), {"one": one, "other": other}, summed))
    assert list(stacks_of(collector)) == [""]
    both = torch.cat([one, other])
    expected = both.square().mean().sqrt().item()
    assert record.readings["act/rms/blocks.00.resid_pre"] == pytest.approx(expected, rel=1e-5)
    assert record.readings["act/max_abs/blocks.00.resid_pre"] == pytest.approx(both.abs().max().item())


def test_attention_written_into_the_block_is_found() -> None:
    model = nn.Sequential(Inline(), Inline(), Inline())
    collector, record = watched(Foreign(model, {"input": torch.randn(2, 16, WIDTH)}, summed))
    assert stacks_of(collector) == {"": (3, PRE_NORM)}
    assert {site.module for site in collector.layout.sites if site.name == "blocks.01"} == {"1"}
    assert "attn/logit_max/blocks.01" in record.tags


@pytest.mark.parametrize("name", EXPECTED)
def test_the_first_record_has_gradients_and_activations(name: str) -> None:
    _, first = watched(BUILDERS[name](seed=1, dropout=0.0), steps=1)
    _, second = watched(BUILDERS[name](seed=1, dropout=0.0), steps=2)
    expected = {tag: value for tag, value in second.readings.items() if tag.startswith(("act/", "grad/norm"))}
    details = ("act/massive", "act/kurtosis", "act/token_spread", "act/silent_units")
    for tag, value in expected.items():
        if not tag.startswith(details):
            assert first.readings[tag] == pytest.approx(value, rel=1e-6), tag


def test_no_hook_is_left_on_a_model_that_never_ran() -> None:
    model = BUILDERS["nanogpt"]().model
    collector = Collector(model, [])
    collector.attach()
    assert any(module._forward_hooks for module in model.modules())
    collector.detach()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_forward_that_raises_while_it_is_traced_leaves_no_mode_behind() -> None:
    foreign = BUILDERS["nanogpt"]()
    forwards = Forwards(foreign.model, Collector(foreign.model, []))
    tracer = Tracer(foreign.model, lambda module: True, forwards)
    with pytest.raises(IndexError):
        foreign.loss(foreign.model, {name: x + VOCABULARY for name, x in foreign.inputs.items()})
    assert torch._C._len_torch_function_stack() == 0
    foreign.loss(foreign.model, foreign.inputs)
    assert tracer.calls[-1].end == len(tracer.calls)
    tracer.detach()
