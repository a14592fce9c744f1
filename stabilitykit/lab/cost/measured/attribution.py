"""Attribute every kernel that the profiler saw to an operation of the model, and to a pass."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from stabilitykit.lab.cost.measured.events import Event
from stabilitykit.lab.cost.measured.places import PLACE
from stabilitykit.lab.cost.operation import SUMS, Pass

STEP = "stabilitykit.step:"
"""Begins the name of the range around a step."""

_EVALUATED = "autograd::engine::evaluate_function: "
_ENGINE = ("autograd::engine::", "torch::autograd::")
_COMPOSITE = "aten::_scaled_dot_product_attention_math"
_OPTIMIZER = "Optimizer.step#"
_BOOKKEEPING = re.compile(
    "alias|as_strided|chunk|detach|empty|empty_like|empty_strided|expand|fill_|full|full_like|item|lift_fresh|"
    "narrow|new_empty|new_full|new_zeros|ones_like|permute|promote_types|reshape|resize_|resolve_conj|"
    "resolve_neg|result_type|select|slice|split|squeeze|t|to|transpose|unfold|unsqueeze|view|zero_|zeros|"
    "zeros_like|_local_scalar_dense|_reshape_alias|_unsafe_view"
)
"""What computes nothing, however long it takes."""
_MATRIX = ("mm", "addmm", "bmm", "baddbmm", "addmm_", "baddbmm_", "matmul")


class Kernel(NamedTuple):
    """One kernel's own time."""

    step: str
    """Label of the step that it ran in."""
    operation: str | None
    """None where it is not known."""
    work: Pass
    name: str
    """As torch calls it, without its namespace; empty for what only calls others, or computes nothing."""
    seconds: float


@dataclass(slots=True)
class _Frame:
    """An event that is open, and what is known of it by its surroundings."""

    event: Event
    parent: "_Frame | None"
    step: str | None
    operation: str | None
    work: Pass
    evaluates: bool = False
    products: int = 0
    """Matrix products in it so far, where it is attention matrix by matrix."""
    inner: int = 0
    """Nanoseconds of what it called."""
    calls_kernels: bool = False
    """Whether others compute for it."""


def kernels(events: Iterable[Event]) -> list[Kernel]:
    """Return every kernel with its own time, within steps.

    An operator belongs to the innermost marked place around it. What runs in backward belongs to the
    operation whose forward made the node that is evaluated: torch numbers both alike. A leaf's gradient is
    kept by the engine right after the node that gave it, and belongs there.

    Where kernels ran on a device, each has the time that it took there, and the host's are left out.

    Args:
        events: Of one profiler.
    """
    everything = list(events)
    device = [each for each in everything if each.on_device]
    steps = [each for each in everything if each.is_range and each.name.startswith(STEP)]
    frames = _frames([each for each in everything if not each.on_device], steps)
    if not device:
        return [_kernel(frame) for frame in frames if frame.step is not None and _is_kernel(frame.event)]
    launchers = {frame.event.id: frame for frame in frames if not frame.event.is_range and frame.event.id}
    found = (_on_device(each, launchers.get(each.launched_by), steps) for each in device)
    return [kernel for kernel in found if kernel is not None]


def _on_device(event: Event, launcher: "_Frame | None", steps: list[Event]) -> Kernel | None:
    """Return a device's kernel; None where it ran outside of steps. A step ends when the device has done."""
    step = _step_at(event, steps) if launcher is None else launcher.step
    if step is None:
        return None
    operation, work = (None, "forward") if launcher is None else (launcher.operation, launcher.work)
    return Kernel(step, operation, work, event.name, event.duration / 1e9)


def _is_kernel(event: Event) -> bool:
    """Return whether an event is torch's own work, and neither Python's nor the engine's around it."""
    return not event.is_range and "::" in event.name and not event.name.startswith(_ENGINE)


def _kernel(frame: _Frame) -> Kernel:
    own, name = max(frame.event.duration - frame.inner, 0), _short(frame.event.name)
    named = name if computes(name) and not frame.calls_kernels else ""
    return Kernel(str(frame.step), frame.operation, frame.work, named, own / 1e9)


def _frames(events: list[Event], steps: list[Event]) -> list[_Frame]:
    """Return the host's events, each with its surroundings, in order of their start."""
    made: dict[int, _Frame] = {}
    found = []
    for thread in _threads(events):
        open_frames: list[_Frame] = []
        last: str | None = None
        for event in thread:
            while open_frames and open_frames[-1].event.end <= event.start:
                open_frames.pop()
            frame = _opened(event, open_frames[-1] if open_frames else None, steps)
            last = _placed(frame, made, last)
            open_frames.append(frame)
            found.append(frame)
    return found


def _threads(events: list[Event]) -> Iterator[list[Event]]:
    """Yield each thread's events, those that hold others first; threads in order of their first event."""
    threads: dict[int, list[Event]] = {}
    for event in sorted(events, key=lambda each: (each.start, -each.duration)):
        threads.setdefault(event.thread, []).append(event)
    yield from threads.values()


def _opened(event: Event, parent: _Frame | None, steps: list[Event]) -> _Frame:
    """Return an event's frame, with what it inherits."""
    if parent is not None:
        parent.inner += event.duration
        parent.calls_kernels |= _is_kernel(event) and computes(_short(event.name))
        return _Frame(event, parent, parent.step, parent.operation, parent.work)
    # A backward thread's: only time tells its step.
    return _Frame(event, None, _step_at(event, steps), None, "forward")


def _step_at(event: Event, steps: list[Event]) -> str | None:
    around = next((each for each in steps if each.start <= event.start < each.end), None)
    return None if around is None else around.name.removeprefix(STEP)


def _placed(frame: _Frame, made: dict[int, _Frame], last: str | None) -> str | None:
    """Fill in what the event itself tells of its operation; return the last that was evaluated."""
    event, parent = frame.event, frame.parent
    if event.is_range:
        _read_range(frame)
        return last
    if event.name.startswith(_EVALUATED):
        frame.work, frame.evaluates = "backward", True
        source = made.get(event.sequence)
        frame.operation = source.operation if source is not None else last
        return frame.operation
    if parent is not None and parent.evaluates and not event.is_node:
        _read_engine(frame)
    elif parent is not None and parent.event.name == _COMPOSITE:
        _read_composite(frame, parent)
    elif frame.work == "step" and _short(event.name) in _MATRIX and frame.operation == "optimizer.muon":
        frame.operation = "optimizer.orthogonalise"
    if event.sequence >= 0 and not event.is_node:
        # Several operators may see a number before one of them takes it: the last one did.
        made[event.sequence] = frame
    return last


def _read_range(frame: _Frame) -> None:
    name = frame.event.name
    if name.startswith(STEP):
        frame.step = name.removeprefix(STEP)
    elif name.startswith(_OPTIMIZER):
        kind = name.removeprefix(_OPTIMIZER).partition(".")[0].lower()
        frame.operation, frame.work = f"optimizer.{kind}", "step"
    elif name.startswith(PLACE):
        frame.operation = name.removeprefix(PLACE)
        # An operator that calls back into Python is of the place that it first reaches there.
        above = frame.parent
        while above is not None and above.operation is None and not above.event.is_range:
            above.operation, above = frame.operation, above.parent


def _read_engine(frame: _Frame) -> None:
    """Tell what the engine does itself, behind a node: it adds gradients up, or sums what was broadcast."""
    name = _short(frame.event.name)
    if name in ("add", "add_"):
        frame.operation = SUMS
    elif name == "sum" and frame.operation is not None:
        frame.operation = f"{frame.operation}.bias"


def _read_composite(frame: _Frame, attention: _Frame) -> None:
    """Tell apart what torch does where its attention has no fused kernel: two products, and the rest."""
    name, whole = _short(frame.event.name), attention.operation or ""
    if name in _MATRIX:
        attention.products += 1
        part = "scores" if attention.products == 1 else "weighted_sum"
    else:
        part = "dropout" if "dropout" in name else "softmax"
    frame.operation = f"{whole.removesuffix('.scores')}.{part}"


def computes(operator: str) -> bool:
    """Return whether an operator computes or copies, rather than looks at a tensor anew or makes room.

    Args:
        operator: Its name without its namespace.
    """
    return not _BOOKKEEPING.fullmatch(operator)


def _short(name: str) -> str:
    return name.removeprefix("aten::")
