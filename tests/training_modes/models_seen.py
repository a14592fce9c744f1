"""What is found in each foreign model, and what of it agrees with hooks of one's own."""

from collections import Counter
from typing import Any, NamedTuple

import torch
from foreign.models import BUILDERS, Foreign
from foreign.structure_cases import built
from torch import Tensor

from stabilitykit.observe import Collector, Role, Site
from stabilitykit.records import StepRecord

from .kit import SEED, close, grad_norm


class Seen(NamedTuple):
    """One model's row; each count is of sites, or of groups of parameters."""

    model: str
    residual: str
    norms: str
    attention: str
    head: str
    updates: str
    notes: tuple[str, ...]


def seen_in(name: str) -> Seen:
    """Watch a public model.

    Args:
        name: Of the builder.
    """
    return _seen(name, BUILDERS[name](seed=SEED, dropout=0.0))


def seen_in_structure(name: str) -> Seen:
    """Watch a model whose blocks are of a structure.

    Args:
        name: Of the structure.
    """
    return _seen(name, built(name, SEED))


def _seen(name: str, foreign: Foreign) -> Seen:
    """Watch some steps of a model and compare the last one's readings."""
    optimizer = torch.optim.AdamW(foreign.model.parameters(), lr=1e-3)
    collector = Collector(foreign.model, [optimizer])
    collector.attach()
    for step in range(3):
        collector.arm()
        own = _hooks(collector, foreign) if step == 2 else {}
        before = {n: p.detach().clone() for n, p in foreign.model.named_parameters(remove_duplicate=False)}
        foreign.loss(foreign.model, foreign.inputs).backward()
        collector.read_gradients()
        norm = grad_norm(foreign.model)
        optimizer.step()
        optimizer.zero_grad()
        record = collector.collect(step)
    collector.detach()
    close(record.readings["optim/grad_norm"], norm)
    activations = [site for site in collector.layout.sites if site.role is Role.ACTIVATION]
    attention = [site.name for site in collector.layout.sites if site.role is Role.ATTENTION]
    kinds = {row.site: row.kind for row in collector.coverage() if "attn/entropy" in row.statistics}
    read = [site for site in attention if f"attn/entropy/{site}" in record.tags]
    how = ", ".join(Counter(kinds[site] for site in read))
    return Seen(
        name,
        _checked([site for site in activations if ".resid_" in site.name], own, record),
        _checked([site for site in activations if "norm" in site.name.rpartition(".")[2]], own, record),
        f"{len(read)} of {len(attention)} ({how})"
        if read
        else f"0 of {len(attention)}"
        if attention
        else "none",
        _head(collector, own, record),
        _updates(collector, foreign, before, record),
        collector.layout.notes,
    )


def _hooks(collector: Collector, foreign: Foreign) -> dict[str, Tensor]:
    """Keep what each site's module was given or gave, at its turn."""
    modules, kept = dict(foreign.model.named_modules()), dict[str, Tensor]()
    for site in collector.layout.sites:
        if site.role is not Role.ATTENTION:
            _hook(modules[site.module], site, kept)
    return kept


def _hook(module: torch.nn.Module, site: Site, kept: dict[str, Tensor]) -> None:
    calls = 0

    def note(value: Any) -> None:
        nonlocal calls
        calls += 1
        if (calls - 1) % site.of_calls == site.call:
            x = _tensor_of(value, site.place).detach()
            # Of a site that is not told apart by turns, all turns are one reading.
            kept[site.name] = torch.cat([kept[site.name], x]) if site.name in kept else x.clone()

    if site.side == "input":
        module.register_forward_pre_hook(
            lambda m, args, kwargs: note({**dict(enumerate(args)), **kwargs}), with_kwargs=True
        )
    else:
        module.register_forward_hook(lambda m, args, output: note(output))


def _tensor_of(value: Any, place: tuple[int | str, ...]) -> Tensor:
    """Return the tensor at a place in what a module was given or gave, or the first one."""
    while not isinstance(value, Tensor):
        inside = vars(value) if hasattr(value, "__dict__") and not isinstance(value, dict | tuple) else value
        items = dict(inside) if isinstance(inside, dict) else dict(enumerate(inside))
        key, place = (place[0], place[1:]) if place else (_first(items), ())
        value = items[key]
    return value


def _first(items: dict[Any, Any]) -> Any:
    return next(key for key, value in items.items() if value is not None)


def _checked(sites: list[Site], own: dict[str, Tensor], record: StepRecord) -> str:
    for site in sites:
        x = own[site.name].double()
        close(record.readings[f"act/rms/{site.name}"], x.square().mean().sqrt().item(), 1e-5)
        close(record.readings[f"act/max_abs/{site.name}"], x.abs().max().item(), 1e-5)
    return str(len(sites)) if sites else "none"


def _head(collector: Collector, own: dict[str, Tensor], record: StepRecord) -> str:
    if "head.logits" not in own:
        return "none"
    close(
        record.readings["output/log_z"], own["head.logits"].flatten(0, -2).logsumexp(-1).mean().item(), 1e-4
    )
    return next(row.module.split()[1] for row in collector.coverage() if row.site == "head.logits")


def _updates(collector: Collector, foreign: Foreign, before: dict[str, Tensor], record: StepRecord) -> str:
    after = dict(foreign.model.named_parameters(remove_duplicate=False))
    for group, names in collector.layout.groups.items():
        change = torch.stack([(after[n].detach() - before[n]).norm() for n in names]).norm()
        weight = torch.stack([after[n].detach().norm() for n in names]).norm()
        close(record.readings[f"optim/update_ratio/{group}"], float(change / weight), 1e-3)
    return str(len(collector.layout.groups))
