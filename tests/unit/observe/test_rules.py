"""Sites of the user's own, other names for them, and silence where it is asked for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.observe import Collector, SiteRules


@pytest.fixture
def model() -> Transformer:
    return Transformer(TransformerConfig(d_model=16, n_layers=2, seq_len=16), seed=0)


def readings(model: nn.Module, rules: SiteRules) -> Any:
    collector = Collector(model, [], rules)
    collector.attach()
    collector.arm()
    model(torch.zeros(2, 16, dtype=torch.long)).mean().backward()
    collector.read_gradients()
    collector.detach()
    return collector.collect(0).readings


def test_an_added_site_is_read_under_its_name(model: Transformer) -> None:
    seen = readings(model, SiteRules(add={"blocks.0*.hidden": "blocks.*.mlp.up_proj"}))
    assert seen["act/rms/blocks.01.hidden"] > 0
    assert "act/rms/blocks.00.hidden" in seen


def test_a_renamed_site_keeps_the_text_of_its_stars(model: Transformer) -> None:
    plain = readings(model, SiteRules())
    seen = readings(model, SiteRules(rename={"blocks.*.mlp_out": "layer*.ffn"}))
    assert seen["act/rms/layer01.ffn"] == plain["act/rms/blocks.01.mlp_out"]
    assert "act/rms/blocks.01.mlp_out" not in seen


def test_what_is_muted_is_not_read(model: Transformer) -> None:
    seen = readings(model, SiteRules(mute=("*.mlp_out", "blocks.00", "head*")))
    assert not [tag for tag in seen if tag.endswith("mlp_out")]
    assert "attn/logit_max/blocks.00" not in seen
    assert "grad/norm/blocks.00" not in seen
    assert "attn/logit_max/blocks.01" in seen
    assert "output/log_z" not in seen


def test_rules_survive_in_a_file(tmp_path: Path) -> None:
    rules = SiteRules(add={"x": "blocks.0.mlp"}, rename={"a*": "b*"}, mute=("*.mlp_out",))
    rules.save(tmp_path / "sites.yaml")
    assert SiteRules.of(str(tmp_path / "sites.yaml")) == rules
    assert SiteRules.of({"mute": "head*"}) == SiteRules(mute=("head*",))
    (tmp_path / "empty.yaml").write_text("")
    assert SiteRules.load(tmp_path / "empty.yaml") == SiteRules()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"muted": ["x"]}, "sites.muted: not a known key; did you mean"),
        ({"mute": [3]}, "sites.mute: got 3; must be a text"),
        ({"rename": ["x"]}, "sites.rename: got ['x']; must map names to patterns"),
        ({"add": {"My Site": "blocks.0"}}, "sites.add: got the name 'My Site'; accepted"),
        (7, "sites: got 7; must be rules"),
        ("no/such/file.yaml", "sites: no/such/file.yaml cannot be read"),
    ],
)
def test_wrong_rules_are_refused_in_words(value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SiteRules.of(value)
    assert said in str(caught.value)


def test_a_pattern_that_fits_no_module_is_refused_at_once(model: Transformer) -> None:
    with pytest.raises(ConfigError, match=r"sites\.add\.x: got 'blocks\.7\.mlp', no module's path"):
        Collector(model, [], SiteRules(add={"x": "blocks.7.mlp"}))
