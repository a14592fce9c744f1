"""Models of other people, priced: products as torch counts them, every kernel given to an operation."""

import pytest
import torch
from foreign import models
from foreign.models import Foreign
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from stabilitykit.lab.cost import profile
from stabilitykit.lab.cost.counted.count import Count, count
from stabilitykit.lab.cost.measured import rounds
from stabilitykit.lab.cost.task import Task

# Public packages warn of much that is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = ("gpt2", "torch_encoder", "mlp")
OTHERS = tuple(name for name in models.BUILDERS if name not in QUICK)


@pytest.fixture(autouse=True)
def one_round(monkeypatch):
    """Keep to one round, whose shares add up: medians over several need not while others use the cores."""
    monkeypatch.setattr(rounds, "FEWEST", 1)


def _fused(q, k, v, *rest, out_val=None, **options):
    return sdpa_flop_count(q.shape, k.shape, v.shape)


def _fused_backward(grad, q, k, v, *rest, out_val=None, **options):
    return sdpa_backward_flop_count(grad.shape, q.shape, k.shape, v.shape)


def _grouped(rows, matrices, *rest, out_val=None, **options):
    # Of experts, the rows are never in groups of their own.
    return 2 * rows.shape[0] * rows.shape[1] * matrices.shape[-1] if rows.dim() == 2 else None


for each in (_fused, _fused_backward, _grouped):
    each._get_raw = True  # type: ignore[attr-defined]
LEFT_OUT = {
    torch.ops.aten._grouped_mm: _grouped,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _fused,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _fused_backward,
}
"""What torch's counter leaves out."""


def task_of(built: Foreign) -> Task:
    """Return a step of a model: with its own loss where it has one, else with the mean of what it returns."""
    inputs = {
        name: each for name, each in built.inputs.items() if built.loss is models.own_loss or name == "x"
    }
    if built.loss is models.own_loss:
        return Task(built.model, inputs)
    tokens = inputs["x"]
    return Task(built.model, tokens if tokens.is_floating_point() else tokens[:, :-1])


def torch_counts(task: Task) -> dict[str, int]:
    """Return what torch's flop counter says of a step."""
    with task.as_found():
        with FlopCounterMode(display=False, custom_mapping=LEFT_OUT) as forward:
            loss = task.forward()
        with FlopCounterMode(display=False, custom_mapping=LEFT_OUT) as backward:
            task.backward(loss)
    return {"forward": forward.get_total_flops(), "backward": backward.get_total_flops(), "step": 0}


def counted(task: Task) -> Count:
    """Return the count of a step."""
    with task.as_found():
        return count(task)


def agrees(name: str) -> None:
    """Compare a step's count with torch's, and with what is measured of the step."""
    task = task_of(models.BUILDERS[name]())
    assert counted(task).products == torch_counts(task)
    told = profile(task.module, task.batch, seconds=0.0).to_json()
    assert told["measured"]["unattributed_share"] < 0.03
    # A count without a time would be a name that differs between the two.
    assert not [
        row["name"] for row in told["operations"] if row["measured"] is None and row["done_by"] is None
    ]
    assert sum(row["parameters"] for row in told["operations"]) == told["parameters"]
    for key in ("flops", "bytes"):
        assert sum(row[key] for row in told["classes"]) == told["total"][key]
        assert sum(row[f"{key}_share"] for row in told["classes"]) == pytest.approx(1)
    shares = sum(row["time_share"] for row in told["classes"])
    assert shares == pytest.approx(1 - told["measured"]["unattributed_share"])


@pytest.mark.parametrize("name", QUICK)
def test_a_models_products_are_torchs_and_every_operation_is_timed(name):
    agrees(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_any_models_products_are_torchs_and_every_operation_is_timed(name):
    agrees(name)


def test_operations_are_named_by_module_and_function():
    llama = {each.name: each for each in counted(task_of(models.llama())).operations}
    assert {
        "model.embed_tokens": "element-wise",
        "model.layers.*.input_layernorm": "normalisation",
        "model.layers.*.self_attn.q_proj": "contraction",
        "model.layers.*.self_attn.scaled_dot_product_attention": "contraction",
        "model.layers.*.mlp.mul": "element-wise",
        "model.layers.*.mlp.act_fn": "element-wise",
        "lm_head": "contraction",
        "cross_entropy": "normalisation",
        "gradient_sums": "element-wise",
    }.items() <= {name: each.op_class for name, each in llama.items()}.items()
    assert llama["model.layers.*.self_attn.q_proj"].layers == 3
    # A product by the same matrix three times over: forward once, backward twice.
    product = llama["model.layers.*.self_attn.q_proj"]
    assert product.backward.flops == 2 * product.forward.flops


def test_experts_multiply_the_tokens_that_are_sent_to_them():
    from transformers import MixtralConfig, MixtralForCausalLM

    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    config = MixtralConfig(num_hidden_layers=3, num_local_experts=4, num_experts_per_tok=2, **sizes)
    tokens = torch.arange(24).view(2, 12)
    task = Task(MixtralForCausalLM(config), {"input_ids": tokens, "labels": tokens})
    rows = {each.name: each for each in counted(task).operations}
    experts = rows["model.layers.*.mlp.experts.grouped_mm"]
    # Gate and up are one product, down another: in each of 3 layers 24 tokens go to 2 experts.
    assert experts.forward.flops == 3 * 24 * 2 * (2 * 32 * 2 * 48 + 2 * 48 * 32)
    assert experts.backward.flops == 2 * experts.forward.flops
    assert experts.op_class == "contraction"


@pytest.mark.slow
@pytest.mark.parametrize("reentrant", [True, False])
def test_what_is_computed_again_counts_in_backward(reentrant):
    plain = counted(task_of(models.gpt2(dropout=0.0, use_cache=False)))
    built = models.gpt2(dropout=0.0, use_cache=False)
    built.model.activation_checkpointing_enable({"use_reentrant": reentrant})  # type: ignore[operator]
    task = task_of(built)
    again = counted(task)
    # torch's counter sees the same, one pass after the other.
    assert again.products == torch_counts(task)
    name = "transformer.h.*.mlp.c_fc"
    one, other = ({each.name: each for each in found.operations}[name] for found in (plain, again))
    assert one.forward.flops == other.forward.flops
    assert other.backward.flops > one.backward.flops
    assert again.memory.activations < plain.memory.activations
    told = profile(built.model, built.inputs, seconds=0.0).to_json()
    assert told["measured"]["unattributed_share"] < 0.03


def test_under_autocast_products_are_the_same_and_their_tensors_half_as_large():
    plain = counted(task_of(models.mlp()))
    with torch.autocast("cpu", torch.bfloat16):
        half = counted(task_of(models.mlp()))
        told = profile(models.mlp().model, torch.randn(6, 32), seconds=0.0).to_json()
    assert half.products == plain.products
    assert told["measured"]["unattributed_share"] < 0.03
    saved = [next(each.saved for each in found.operations if each.name == "1") for found in (plain, half)]
    assert saved[1] == saved[0] / 2
