"""Whose time a kernel's is, on records written by hand."""

from stabilitykit.lab.cost.measured.attribution import STEP, Kernel, kernels
from stabilitykit.lab.cost.measured.events import Event
from stabilitykit.lab.cost.measured.places import PLACE

_EVALUATED = "autograd::engine::evaluate_function: "


def step(duration: int = 1000, label: str = "0") -> Event:
    return Event(f"{STEP}{label}", 0, duration, is_range=True)


def place(name: str, start: int, duration: int) -> Event:
    return Event(PLACE + name, start, duration, is_range=True)


def by_name(events: list[Event]) -> dict[str, Kernel]:
    return {each.name: each for each in kernels(events) if each.name}


def nanoseconds(kernel: Kernel) -> int:
    return round(kernel.seconds * 1e9)


def test_a_kernel_is_of_the_innermost_place_and_has_its_own_time_alone():
    events = [
        step(),
        place("attn", 10, 500),
        place("attn.q_proj", 20, 100),
        Event("aten::linear", 30, 80),
        Event("aten::t", 32, 5),
        Event("aten::mm", 40, 60),
        Event("aten::cos", 300, 50),
    ]
    found = kernels(events)
    assert [(each.operation, each.name, nanoseconds(each)) for each in found] == [
        ("attn.q_proj", "", 15),  # calls mm
        ("attn.q_proj", "", 5),  # computes nothing
        ("attn.q_proj", "mm", 60),
        ("attn", "cos", 50),
    ]
    assert {each.work for each in found} == {"forward"}


def test_backward_is_of_the_operation_whose_forward_made_the_node():
    events = [
        step(),
        place("mlp.up_proj", 0, 100),
        # Both see number 7; the one that runs last before the next number takes it.
        Event("aten::linear", 10, 80, sequence=7),
        Event("aten::addmm", 20, 60, sequence=7),
        place("mlp.activation", 100, 50),
        Event("aten::silu", 110, 30, sequence=8),
        Event(f"{_EVALUATED}SiluBackward0", 200, 50, sequence=8),
        Event("SiluBackward0", 205, 40, sequence=8, is_node=True),
        Event("aten::silu_backward", 210, 30),
        Event(f"{_EVALUATED}AddmmBackward0", 300, 200, sequence=7),
        Event("AddmmBackward0", 305, 100, sequence=7, is_node=True),
        Event("aten::mm", 310, 80),
        Event("aten::sum", 420, 20),
        Event("aten::add_", 450, 25),
        Event(f"{_EVALUATED}torch::autograd::AccumulateGrad", 520, 40),
        Event("aten::clone", 525, 30),
    ]
    backward = {each.name: each.operation for each in kernels(events) if each.work == "backward"}
    assert backward == {
        "silu_backward": "mlp.activation",
        "mm": "mlp.up_proj",
        "sum": "mlp.up_proj.bias",
        "add_": "gradient_sums",
        "clone": "mlp.up_proj",
    }


def test_a_function_written_in_python_is_of_the_place_that_it_calls_from():
    events = [
        step(),
        Event("_Turn", 10, 100, sequence=3),
        place("attn.rope", 20, 50),
        Event("aten::mul", 25, 40),
        Event(f"{_EVALUATED}_TurnBackward", 200, 50, sequence=3),
        Event("aten::addcmul_", 210, 30),
    ]
    found = by_name(events)
    assert found["addcmul_"].operation == "attn.rope"
    # Python's own time around the kernels is not a kernel's.
    assert sum(nanoseconds(each) for each in kernels(events)) == 70


def test_attention_without_a_fused_kernel_is_told_apart():
    events = [
        step(),
        place("attn.scores", 0, 500),
        Event("aten::_scaled_dot_product_attention_math", 10, 400),
        Event("aten::matmul", 20, 50),
        Event("aten::bmm", 25, 40),
        Event("aten::_safe_softmax", 100, 50, sequence=5),
        Event("aten::dropout", 200, 50),
        Event("aten::bernoulli_", 205, 40),
        Event("aten::matmul", 300, 50),
        Event("aten::baddbmm", 305, 40),
        Event(f"{_EVALUATED}SoftmaxBackward0", 600, 50, sequence=5),
        Event("aten::_softmax_backward_data", 610, 30),
    ]
    assert {name: each.operation for name, each in by_name(events).items()} == {
        "bmm": "attn.scores",
        "_safe_softmax": "attn.softmax",
        "bernoulli_": "attn.dropout",
        "baddbmm": "attn.weighted_sum",
        "_softmax_backward_data": "attn.softmax",
    }


def test_the_optimizers_step_is_a_pass_of_its_own():
    events = [
        step(),
        Event("Optimizer.step#Muon.step", 0, 200, is_range=True),
        Event("aten::mul_", 10, 20),
        Event("aten::mm", 40, 60),
        Event("Optimizer.step#AdamW.step", 300, 100, is_range=True),
        Event("aten::addcdiv_", 310, 20),
    ]
    found = by_name(events)
    assert {each.work for each in found.values()} == {"step"}
    assert [found[name].operation for name in ("mul_", "mm", "addcdiv_")] == [
        "optimizer.muon",
        "optimizer.orthogonalise",
        "optimizer.adamw",
    ]


def test_what_nobody_marked_is_said_to_be_unknown():
    (found,) = kernels([step(), Event("aten::mm", 10, 60)])
    assert found.operation is None


def test_what_runs_outside_of_steps_does_not_count():
    assert kernels([Event("aten::mm", 10, 60), Event(f"{STEP}0", 100, 50, is_range=True)]) == []


def test_on_a_device_a_kernel_has_the_time_it_took_there():
    events = [
        step(7000),
        place("head.linear", 0, 100),
        Event("aten::mm", 10, 60, id=42),
        Event("ampere_sgemm", 5000, 700, launched_by=42, on_device=True),
        Event("of nobody", 6000, 100, launched_by=43, on_device=True),
        Event("after the step", 9000, 100, launched_by=43, on_device=True),
    ]
    assert [(each.operation, each.name, nanoseconds(each)) for each in kernels(events)] == [
        ("head.linear", "ampere_sgemm", 700),
        (None, "of nobody", 100),
    ]


def test_a_backward_thread_belongs_to_the_step_that_it_runs_in():
    events = [
        step(1000, "3"),
        place("head.linear", 0, 100),
        Event("aten::mm", 10, 60, sequence=1),
        Event(f"{_EVALUATED}MmBackward0", 500, 100, thread=2, sequence=1),
        Event("aten::bmm", 510, 60, thread=2),
    ]
    assert [(each.step, each.operation, each.work) for each in kernels(events)] == [
        ("3", "head.linear", "forward"),
        ("3", "head.linear", "backward"),
    ]
