"""Plain loops that do more than one forward, one backward and one step."""

import copy
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from foreign.models import BUILDERS, Foreign
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from stabilitykit import watch
from stabilitykit.records import StepRecord

from .kit import SEED, agree, batches, close, grad_norm, hooks_of, mode, records
from .own_steps import Sam

Batch = dict[str, Tensor]
Step = Callable[[Foreign, torch.optim.Optimizer, Batch], Tensor]


def built() -> tuple[Foreign, torch.optim.Optimizer]:
    """Return a model and an optimizer as all of these runs begin."""
    foreign = BUILDERS["nanogpt"](seed=SEED)
    return foreign, torch.optim.SGD(foreign.model.parameters(), lr=0.1)


def usual(foreign: Foreign, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
    """Train on a batch as loops usually do."""
    optimizer.zero_grad()
    loss = foreign.loss(foreign.model, batch)
    loss.backward()
    optimizer.step()
    return loss


def trained(folder: Path, step: Step = usual) -> tuple[list[StepRecord], list[Tensor]]:
    """Train under a monitor; return the records and the weights at the end."""
    foreign, optimizer = built()
    with watch(foreign.model, optimizer, folder) as monitor:
        for batch in batches():
            monitor.step(step(foreign, optimizer, batch))
    return records(folder), [p.detach() for p in foreign.model.parameters()]


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Return whether two lists of tensors are equal bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def require_as_usual(folder: Path, step: Step) -> None:
    """Require the readings and the weights of the usual loop."""
    found, weights = trained(folder / "run", step)
    expected, usual_weights = trained(folder / "usual")
    assert same(weights, usual_weights)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        agree(one, other, 1e-6, skip=())


@mode("plain loop, evaluation in between", "nothing of it is recorded")
def evaluation(folder: Path) -> None:
    def step(foreign: Foreign, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
        loss = usual(foreign, optimizer, batch)
        foreign.model.eval()
        with torch.no_grad():
            foreign.loss(foreign.model, {key: value[:1] for key, value in batch.items()})
        foreign.model.train()
        return loss

    require_as_usual(folder, step)


@mode("plain loop, SAM", "gradients of the second pass, the whole update, one step a batch")
def sam(folder: Path) -> None:
    foreign, _ = built()
    optimizer = Sam(foreign.model.parameters(), lr=0.1)
    norms: list[float] = []
    changes: list[float] = []
    with watch(foreign.model, optimizer, folder / "run") as monitor:
        for batch in batches():
            before = [p.detach().clone() for p in foreign.model.parameters()]
            for step in (optimizer.first_step, optimizer.second_step):
                optimizer.zero_grad()
                loss = foreign.loss(foreign.model, batch)
                loss.backward()
                norms = [*norms[: len(changes)], grad_norm(foreign.model)]
                step()
            changes.append(_change(foreign.model.parameters(), before))
            monitor.step(loss)
    for record, norm, change in list(zip(records(folder / "run"), norms, changes, strict=True))[1:]:
        close(record.readings["optim/grad_norm"], norm)
        close(_whole_update(record), change)


@mode("plain loop, optimizers that step inside the backward pass", "each gradient as its optimizer used it")
def inside_backward(folder: Path) -> None:
    foreign, _ = built()
    norms: list[float] = []
    squares: list[float] = []
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in foreign.model.parameters()}

    def take(p: Tensor) -> None:
        assert p.grad is not None
        squares.append(float(p.grad.double().square().sum()))
        optimizers[p].step()
        optimizers[p].zero_grad()

    for p in optimizers:
        p.register_post_accumulate_grad_hook(take)
    with watch(foreign.model, list(optimizers.values()), folder / "run") as monitor:
        for batch in batches():
            squares.clear()
            loss = foreign.loss(foreign.model, batch)
            loss.backward()
            norms.append(sum(squares) ** 0.5)
            monitor.step(loss)
    for record, norm in list(zip(records(folder / "run"), norms, strict=True))[1:]:
        close(record.readings["optim/grad_norm"], norm)


class Lookahead:
    """Steps another optimizer, and every second time goes half of the way back."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner, self.param_groups, self.count = inner, inner.param_groups, 0
        self.slow = [p.detach().clone() for group in self.param_groups for p in group["params"]]

    def step(self) -> None:
        """Step, and now and then go back."""
        self.inner.step()
        self.count += 1
        if self.count % 2 == 0:
            parameters = [p for group in self.param_groups for p in group["params"]]
            with torch.no_grad():
                for p, slow in zip(parameters, self.slow, strict=True):
                    slow.lerp_(p, 0.5)
                    p.copy_(slow)


@mode("plain loop, a wrapper with `step` and `param_groups` (Lookahead)", "updates are the wrapper's own")
def wrapper(folder: Path) -> None:
    foreign, inner = built()
    optimizer, changes = Lookahead(inner), []
    with watch(foreign.model, optimizer, folder / "run") as monitor:
        for batch in batches():
            before = [p.detach().clone() for p in foreign.model.parameters()]
            inner.zero_grad()
            loss = foreign.loss(foreign.model, batch)
            loss.backward()
            optimizer.step()
            changes.append(_change(foreign.model.parameters(), before))
            monitor.step(loss)
    for record, change in list(zip(records(folder / "run"), changes, strict=True))[1:]:
        close(_whole_update(record), change)


@mode("plain loop, in evaluation mode all along", "sites and readings as in training mode without dropout")
def evaluation_mode(folder: Path) -> None:
    def step(foreign: Foreign, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
        return usual(Foreign(foreign.model.eval(), foreign.inputs, foreign.loss), optimizer, batch)

    require_as_usual(folder, step)


@mode("plain loop, rollouts without gradients in training mode", "nothing of them is recorded")
def rollouts(folder: Path) -> None:
    def step(foreign: Foreign, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
        with torch.no_grad():
            foreign.loss(foreign.model, {key: value.flip(0)[:1] for key, value in batch.items()})
        return usual(foreign, optimizer, batch)

    require_as_usual(folder, step)


@mode(
    "plain loop, `copy.deepcopy`, `AveragedModel` and `torch.save` of the watched model",
    "copies have no hook of ours and train by themselves; readings as without",
)
def copies(folder: Path) -> None:
    made: list[Any] = []

    def step(foreign: Foreign, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
        loss = usual(foreign, optimizer, batch)
        file = io.BytesIO()
        torch.save(foreign.model, file)
        file.seek(0)
        made[:] = [
            copy.deepcopy(foreign.model),
            AveragedModel(foreign.model).module,
            torch.load(file, weights_only=False),
        ]
        for each in made:
            assert hooks_of(each) == 0
            assert same(list(each.parameters()), list(foreign.model.parameters()))
            foreign.loss(each, batch).backward()
        return loss

    require_as_usual(folder, step)
    assert len(made) == 3


@mode("plain loop, weights written through `.data` between steps", "no part of the optimizer's update")
def through_data(folder: Path) -> None:
    changes: list[float] = []

    def step(foreign: Foreign, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
        optimizer.zero_grad()
        for p in foreign.model.parameters():
            p.data.mul_(0.99)
        before = [p.detach().clone() for p in foreign.model.parameters()]
        loss = foreign.loss(foreign.model, batch)
        loss.backward()
        optimizer.step()
        changes.append(_change(foreign.model.parameters(), before))
        return loss

    found, _ = trained(folder / "run", step)
    for record, change in list(zip(found, changes, strict=True))[1:]:
        close(_whole_update(record), change)


@mode("plain loop, a module replaced by another", "the new one's gradients and updates are read from then on")
def replaced(folder: Path) -> None:
    norms: list[float] = []
    foreign, optimizer = built()
    with watch(foreign.model, optimizer, folder / "run") as monitor:
        for number, batch in enumerate(batches(count=5)):
            if number == 2:
                found = ((n, m) for n, m in foreign.model.named_modules() if isinstance(m, nn.Linear))
                name, old = next(found)
                new = nn.Linear(old.in_features, old.out_features, bias=old.bias is not None)
                foreign.model.set_submodule(name, new)
                optimizer.add_param_group({"params": list(new.parameters())})
            optimizer.zero_grad()
            loss = foreign.loss(foreign.model, batch)
            loss.backward()
            norms.append(grad_norm(foreign.model))
            optimizer.step()
            monitor.step(loss)
    read = records(folder / "run")
    for number in (1, 3, 4):
        close(read[number].readings["optim/grad_norm"], norms[number])


def _change(parameters: Iterator[nn.Parameter], before: Sequence[Tensor]) -> float:
    """Return the norm of what has been added to parameters."""
    return float(
        torch.stack(
            [(p.detach() - b).double().norm() for p, b in zip(parameters, before, strict=True)]
        ).norm()
    )


def _whole_update(record: StepRecord) -> float:
    """Return the norm of all groups' updates together."""
    squares = [v**2 for tag, v in record.readings.items() if tag.startswith("optim/update_norm/")]
    return float(sum(squares) ** 0.5)
