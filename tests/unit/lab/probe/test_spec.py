"""What a probe is asked to do: precedence of sources, and one clear line for what is wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stabilitykit.errors import ConfigError
from stabilitykit.lab.probe import build_spec
from stabilitykit.lab.sweep.grid import cell_key

RECIPES = [
    path
    for path in sorted((Path(__file__).parents[4] / "recipes").glob("*.yaml"))
    if not {"axes", "workloads"} & yaml.safe_load(path.read_text()).keys()
]


def test_defaults_are_the_documented_ones() -> None:
    spec = build_spec("double_norm")
    assert (spec.model.d_model, spec.model.n_layers, spec.model.seq_len) == (64, 6, 64)
    assert (spec.data.batch_size, spec.trainer.steps, spec.optimizer.lr, spec.trainer.clip) == (
        8,
        300,
        3e-3,
        1.0,
    )
    assert spec.warmup == 30
    assert spec.model.wiring == "double_norm"


def test_out_norm_comes_with_qk_norm_unless_told_otherwise() -> None:
    assert build_spec("out_norm").model.attention.qk_norm == "head"
    bare = build_spec("out_norm", overrides=["model.attention.qk_norm=none"])
    assert bare.model.attention.qk_norm == "none"


def test_flags_beat_overrides_beat_the_recipe_beats_defaults(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("arch: pre_norm\noptimizer: {lr: 1e-3, weight_decay: 0.2}\nmodel: {n_layers: 3}\n")
    spec = build_spec(None, recipe, ["optimizer.lr=2e-3", "model.n_layers=4"], {"optimizer.lr": 5e-3})
    assert spec.arch == "pre_norm"
    assert (spec.optimizer.lr, spec.optimizer.weight_decay, spec.model.n_layers) == (5e-3, 0.2, 4)
    assert build_spec("post_norm", recipe).model.wiring == "post_norm"


def test_an_override_may_be_a_list() -> None:
    written = "model.pattern=[{span: sliding, window: 8}, {span: full}]"
    spec = build_spec("pre_norm", overrides=[written])
    assert [(kind.span, kind.window) for kind in spec.model.pattern] == [("sliding", 8), ("full", None)]


def test_a_null_override_gives_a_rule_its_say_again() -> None:
    spec = build_spec(
        "pre_norm", overrides=["schedule.warmup=7", "schedule.warmup=null", "trainer.clip=null"]
    )
    assert spec.warmup == 30
    assert spec.trainer.clip is None


def test_the_resolved_configuration_is_plain_data_with_every_rule_written_out() -> None:
    document = build_spec("pre_norm").resolved()
    assert yaml.safe_load(yaml.safe_dump(document)) == document
    assert document["schedule"]["warmup"] == 30
    assert document["model"]["feedforward"]["d_ff"] == 176


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_a_probe_is_valid(recipe: Path) -> None:
    assert build_spec(None, recipe).trainer.steps > 0
    assert recipe.read_text().startswith("# Question:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": None}, "arch: is required"),
        ({"arch": "pre_nrom"}, "arch: got 'pre_nrom'; did you mean 'pre_norm'"),
        ({"flags": {"optimizer.lr": 0.0}}, "optimizer.lr: got 0.0; must be greater than 0"),
        ({"flags": {"optimizer.lr": float("nan")}}, "optimizer.lr: got nan; must be finite"),
        ({"flags": {"optimizer.lr": float("inf")}}, "optimizer.lr: got inf; must be finite"),
        (
            {"flags": {"schedule.warmup": 301}},
            "schedule.warmup: got 301; must be at most the run's steps",
        ),
        (
            {"overrides": ["model.attention.n_heads=5"]},
            "attention.n_heads: got 5; must divide d_model 64",
        ),
        ({"overrides": ["model.vocab_size=100"]}, "model.vocab_size: got 100; text is read as bytes"),
        ({"overrides": ["model.n_layrs=3"]}, "model.n_layrs: not a known field; did you mean 'n_layers'?"),
        ({"overrides": ["modle.n_layers=3"]}, "modle: not a known field; did you mean 'model'?"),
        ({"overrides": ["model.n_layers=three"]}, "model.n_layers: got 'three'; must be a whole number"),
        ({"overrides": ["model.n_layers"]}, "--set: got 'model.n_layers'; must be a field and a value"),
        ({"overrides": ["model=3"]}, "model: got '3'; must be a mapping"),
        ({"overrides": ["model.pattern=[{"]}, "--set: model.pattern: got '[{'; must be YAML"),
        (
            {"overrides": ["model.pattern=[{span: slidin}]"]},
            "model.pattern.0.span: got 'slidin'; did you mean",
        ),
        ({"flags": {"seed": -1}}, "seed: got -1; must be at least 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_spec(**{"arch": "pre_norm", **arguments})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "arch: pre_norm\nmodel: {n_layer: 3}\n",
            "model.n_layer: not a known field; did you mean 'n_layers'?",
        ),
        ("arch: [\n", "not YAML"),
        ("- a\n- b\n", "must hold fields"),
        ("arch: pre_norm\noptimizer: {lr: fast}\n", "optimizer.lr: got 'fast'; must be a number"),
        ("arch: pre_norm\ncolour: blue\n", "colour: not a known field"),
        ("arch: 3\n", "arch: got '3'"),
    ],
)
def test_a_malformed_recipe_names_the_file_and_the_field(tmp_path: Path, text: str, message: str) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(text)
    with pytest.raises(ConfigError) as caught:
        build_spec(None, recipe)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(recipe))


def test_a_missing_recipe_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
        build_spec(None, Path("nowhere.yaml"))


def test_a_run_of_several_devices_needs_a_batch_for_each_and_a_strategy_that_starts_none() -> None:
    spec = build_spec("pre_norm", overrides=["trainer.devices=4", "trainer.strategy=fsdp"])
    assert (spec.trainer.devices, spec.trainer.strategy, spec.trainer.precision) == (4, "fsdp", "32-true")
    with pytest.raises(
        ConfigError, match=r"^data.batch_size: got 8; must be a multiple of trainer.devices, .* 3"
    ):
        build_spec("pre_norm", overrides=["trainer.devices=3"])
    with pytest.raises(
        ConfigError, match=r"^trainer.strategy: got ddp_spawn; must be a strategy such as ddp"
    ):
        build_spec("pre_norm", overrides=["trainer.strategy=ddp_spawn"])
    with pytest.raises(ConfigError, match=r"^trainer.precision: got 'fp16'"):
        build_spec("pre_norm", overrides=["trainer.precision=fp16"])


def test_sharpness_is_of_one_process() -> None:
    with pytest.raises(
        ConfigError, match=r"^monitor.sharpness_every_n_steps: .* needs trainer.devices 1, not 2"
    ):
        build_spec("pre_norm", overrides=["trainer.devices=2", "monitor.sharpness_every_n_steps=5"])


def test_a_run_without_a_fault_keeps_the_name_it_had_before_there_were_faults() -> None:
    assert cell_key(build_spec("pre_norm")) == "pre_norm-72792322e40c"
    other = build_spec("double_norm", overrides=["data.kind=synthetic", "optimizer.kind=muon", "seed=3"])
    assert cell_key(other) == "double_norm-82d5e011af0d"
    assert "fault" not in other.resolved()
    assert cell_key(build_spec("pre_norm", overrides=FAULT)) != cell_key(build_spec("pre_norm"))


FAULT = ["fault.kind=learning_rate", "fault.step=150"]


def test_a_fault_is_written_out_with_what_its_kind_decides() -> None:
    def resolved(*overrides: str) -> Any:
        return build_spec("pre_norm", overrides=["fault.step=3", *overrides]).resolved()["fault"]

    rate = {"kind": "learning_rate", "step": 3, "steps": 1, "factor": 10.0}
    assert resolved("fault.kind=learning_rate") == rate
    assert resolved("fault.kind=learning_rate", "fault.steps=null") == {**rate, "steps": None}
    assert resolved("fault.kind=huge_gradient")["factor"] == 1000.0
    assert resolved("fault.kind=lost_moments")["steps"] == 1
    lasting = {"kind": "shuffled_labels", "step": 3, "steps": None, "factor": None}
    assert resolved("fault.kind=shuffled_labels") == lasting
    assert resolved("fault.kind=shuffled_labels", "fault.steps=5") == {**lasting, "steps": 5}
    assert "fault" not in build_spec("pre_norm", overrides=[*FAULT, "fault=null"]).resolved()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["fault.kind=learning_rate"], "fault.step: is required"),
        (["fault.step=3"], "fault.kind: is required"),
        ([*FAULT, "fault.step=-1"], "fault.step: got '-1'; must be at least 0"),
        ([*FAULT, "fault.steps=0"], "fault.steps: got '0'; must be greater than 0"),
        ([*FAULT, "fault.factor=0"], "fault.factor: got '0'; must be greater than 0"),
        ([*FAULT, "trainer.steps=150"], "fault.step: got 150; must be less than trainer.steps, which is 150"),
        (
            [*FAULT, "fault.kind=repeated_token", "fault.factor=2"],
            "fault.factor: got 2; needs fault.kind learning_rate or huge_gradient, not repeated_token",
        ),
        (
            [*FAULT, "fault.kind=lost_moments", "fault.step=0"],
            "fault.step: got 0; must be at least 1: before the first step there are no moments",
        ),
        (
            [*FAULT, "fault.kind=lost_moments", "optimizer.kind=sgd"],
            "fault.kind: got lost_moments; needs optimizer.kind adamw or muon, not sgd",
        ),
        (
            [*FAULT, "trainer.strategy=deepspeed_stage_2"],
            "fault.kind: got learning_rate; needs gradients and moments in reach, "
            "not trainer.strategy deepspeed_stage_2",
        ),
    ],
)
def test_a_fault_that_cannot_happen_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build_spec("pre_norm", overrides=overrides)
    assert str(refused.value) == message


def test_a_vocabulary_holds_the_synthetic_texts_symbols() -> None:
    wide = ["data.kind=synthetic", "data.synthetic.symbols=8192"]
    with pytest.raises(ConfigError) as refused:
        build_spec("pre_norm", overrides=wide)
    assert str(refused.value) == (
        "model.vocab_size: got 256; must be at least data.synthetic.symbols, which is 8192"
    )
    assert build_spec("pre_norm", overrides=[*wide, "model.vocab_size=8192"]).model.vocab_size == 8192
    with pytest.raises(ConfigError, match=r"^data.synthetic.symbols: .* must be at most 65536"):
        build_spec("pre_norm", overrides=["data.kind=synthetic", "data.synthetic.symbols=65540"])
