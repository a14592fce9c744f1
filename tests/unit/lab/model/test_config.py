"""What a configuration refuses, in which words, and what it derives."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model.config import TransformerConfig
from stabilitykit.lab.model.wirings import ARCHS, WIRINGS, arch_config
from stabilitykit.lab.validation import Config, validated

FIELDS = ", ".join(TransformerConfig.model_fields)

REFUSED: list[tuple[object, str | None]] = [
    ({"d_model": -3}, "model.d_model: got -3; must be greater than 0"),
    ({"n_layers": 0}, "model.n_layers: got 0; must be greater than 0"),
    ({"n_layers": 1.5}, "model.n_layers: got 1.5; must be a whole number"),
    ({"n_layers": "six"}, "model.n_layers: got 'six'; must be a whole number"),
    ({"n_layers": None}, "model.n_layers: got None; must be a whole number"),
    ({"n_layers": True}, "model.n_layers: got True; must not be a truth value"),
    ({"norm": {"eps": 0}}, "model.norm.eps: got 0; must be greater than 0"),
    ({"norm": {"eps": "tiny"}}, "model.norm.eps: got 'tiny'; must be a number"),
    ({"norm": {"eps": float("nan")}}, "model.norm.eps: got nan; must be finite"),
    ({"norm": {"eps": float("inf")}}, "model.norm.eps: got inf; must be finite"),
    ({"norm": "layernorm"}, "model.norm: got 'layernorm'; must be a mapping of field names to values"),
    ({"norm": {"kind": "layer"}}, "model.norm.kind: got 'layer'; did you mean 'layernorm'?"),
    ({"norm": {"kind": "zzz"}}, "model.norm.kind: got 'zzz'; accepted: rmsnorm, layernorm, l2, dyt, derf"),
    ({"wiring": "pre"}, "model.wiring: got 'pre'; did you mean 'pre_norm'?"),
    ({"d_modle": 64}, "model.d_modle: not a known field; did you mean 'd_model' or 'order'?"),
    ({"qqq": 64}, f"model.qqq: not a known field; accepted: {FIELDS}"),
    (
        {"attention": {"n_head": 4}},
        "model.attention.n_head: not a known field; did you mean 'n_heads' or 'n_kv_heads' or 'head_dim'?",
    ),
    (
        {"d_model": 12, "attention": {"n_heads": 5}},
        "model.attention.n_heads: got 5; must divide d_model 12, accepted: 1, 2, 3, 4, 6, 12",
    ),
    ({"d_model": 0, "seq_len": 0}, "model.d_model: got 0; must be greater than 0 (and 1 more)"),
    (7, "model: got 7; must be a mapping of field names to values"),
    ({"wiring": "x" * 99}, None),
]


@pytest.mark.parametrize(("mapping", "message"), REFUSED)
def test_a_refusal_is_one_line_that_names_field_value_and_what_is_accepted(
    mapping: object, message: str | None
) -> None:
    with pytest.raises(ConfigError) as refused:
        validated(TransformerConfig, mapping)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 280
    if message is not None:
        assert str(refused.value) == message


def test_the_section_begins_every_message() -> None:
    with pytest.raises(ConfigError, match=r"^optimizer\.norm\.epss: not a known field; did you mean 'eps'"):
        validated(TransformerConfig, {"norm": {"epss": 1}}, where="optimizer")


def test_a_missing_field_is_named() -> None:
    class Needy(Config):
        """Needs a value."""

        value: int

    with pytest.raises(ConfigError, match=r"^needy\.value: is required$"):
        validated(Needy, {}, where="needy")


def test_the_class_itself_refuses_unknown_fields_with_the_closest_name() -> None:
    with pytest.raises(ValidationError, match="did you mean 'd_model'"):
        TransformerConfig(d_modle=3)  # type: ignore[call-arg]


def test_text_is_read_by_the_field_type() -> None:
    config = validated(TransformerConfig, {"d_model": "32", "norm": {"eps": "1e-3"}})
    assert config.d_model == 32
    assert config.norm.eps == 1e-3


def test_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TransformerConfig().d_model = 3  # type: ignore[misc]


def models(cls: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield cls
    for field in cls.model_fields.values():
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from models(inner)


def test_every_field_is_described() -> None:
    fields = [(m.__name__, n, f) for m in models(TransformerConfig) for n, f in m.model_fields.items()]
    assert len(fields) >= 80
    assert [(model, name) for model, name, field in fields if not field.description] == []


@pytest.mark.parametrize(("d_model", "d_ff"), [(64, 176), (24, 64), (25, 72), (1, 8)])
def test_the_hidden_width_is_eight_thirds_rounded_up_to_eights(d_model: int, d_ff: int) -> None:
    config = TransformerConfig(d_model=d_model, attention={"n_heads": 1})
    assert config.d_ff == d_ff
    assert config.resolved().feedforward.d_ff == d_ff
    assert config.resolved().d_ff == config.d_ff


def test_an_explicit_hidden_width_stands() -> None:
    assert TransformerConfig(feedforward={"d_ff": 5}).d_ff == 5


@pytest.mark.parametrize("arch", ARCHS)
def test_every_architecture_is_a_valid_configuration(arch: str) -> None:
    config = validated(TransformerConfig, arch_config(arch))
    assert config.wiring == arch
    assert config.attention.qk_norm == ("head" if arch == "out_norm" else "none")


def test_output_norm_without_qk_norm_is_allowed_when_explicit() -> None:
    config = validated(TransformerConfig, {"wiring": "out_norm", "attention": {"qk_norm": "none"}})
    assert config.attention.qk_norm == "none"


def test_architectures_are_handed_out_as_copies() -> None:
    arch_config("out_norm")["attention"]["qk_norm"] = "none"
    assert arch_config("out_norm") == {"wiring": "out_norm", "attention": {"qk_norm": "head"}}


def test_an_unknown_architecture_gets_the_closest_names() -> None:
    with pytest.raises(ConfigError, match=r"^arch: got 'dubble_norm'; did you mean 'double_norm'"):
        arch_config("dubble_norm")


def test_only_a_normalised_line_needs_no_final_norm() -> None:
    without = {name for name in WIRINGS if not TransformerConfig(wiring=name).has_final_norm}
    assert without == {"post_norm", "deepnorm", "lerp", "no_norm"}
    assert TransformerConfig(wiring="post_norm", final_norm=True).has_final_norm
    assert not TransformerConfig(final_norm=False).has_final_norm


def test_configuration_loads_no_torch() -> None:
    code = "import sys, stabilitykit.lab.model.config, stabilitykit.lab.model; print('torch' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert ran.stdout.strip() == "False"
