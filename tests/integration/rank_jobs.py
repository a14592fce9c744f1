"""What the ranks of tests/integration/test_ranks.py do; the same code trains alone for comparison."""

import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

from stabilitykit import watch
from stabilitykit.errors import ConfigError, IncidentError, StabilityKitError
from stabilitykit.lab.model import Transformer, TransformerConfig
from stabilitykit.live import cadence
from stabilitykit.observe import ranks

BATCH, WIDTH, VOCABULARY = 8, 12, 32
SEQ = 8
"""So that all tokens of a batch are among those that the mean of ln Z samples."""


@dataclass
class Seen:
    """What a rank saw."""

    records: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)
    readings: list[dict[str, float]] = field(default_factory=list)
    observed: list[int] = field(default_factory=list)
    """Steps of the records."""
    host_reads: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    """Numbers that this rank sent in each collective."""
    coverage: list[str] = field(default_factory=list)
    stopped_at: int | None = None
    raised_at: int | None = None
    called: int = 0
    logged: list[str] = field(default_factory=list)
    steps: int = 0
    clock: float = 0.0


@dataclass
class Run:
    """How to train."""

    how: str = "alone"
    """Alone, ddp, inner (the module inside the wrapper is watched), fsdp, replicated, mixed, flat."""
    own: bool = True
    """Our model, with conventional names, or a foreign one."""
    rows: tuple[int, int] = (0, BATCH)
    """Sequences of the batch to train on when alone."""
    steps: int = 3
    clips: bool = True
    microbatches: int = 1
    short_at: int | None = None
    """Step at which the last rank has half its sequences."""
    poison: str = ""
    """``loss`` or ``activation``: NaN on the last rank at step 2."""
    unused: bool = False
    """Whether a branch of the foreign model is left out, by turns on either rank."""
    folder: Path | None = None
    on_incident: Any = "log"
    mute_on_last: str = ""
    """Pattern of sites that the last rank does not watch."""
    fail_on_last: bool = False
    """Whether the last rank's monitor fails at step 1."""
    extra_on_first: bool = False
    """Whether the first rank records one more scalar at every other step."""
    wide: bool = False
    """Whether our model is so large that a sample of its weights is read, on every rank."""
    overflow_at: int | None = None
    """Step at which the last rank's scaled loss overflows; a loss scaler is used where it is given."""
    budget: float | None = None
    """Of the time; by the clock, observing is dear on the first rank alone."""


class Block(nn.Module):
    """A block with odd sizes: its shards are uneven, and some are empty."""

    def __init__(self) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(WIDTH)
        # A key's bias moves no loss: its gradient is rounding alone, which Adam would make logits of.
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.ln2 = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 7), nn.Linear(7, WIDTH)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then transform."""
        q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in self.qkv(self.ln(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.scale * self.down(F.gelu(self.up(self.ln2(x))))


class Foreign(nn.Module):
    """A small model whose modules carry names of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(VOCABULARY, WIDTH)
        self.h = nn.ModuleList(Block() for _ in range(3))
        self.ln_f = nn.LayerNorm(WIDTH)
        self.lm_head = nn.Linear(WIDTH, VOCABULARY)
        self.side = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor, with_side: bool = False) -> Tensor:
        """Return logits."""
        x = self.wte(tokens)
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        return self.lm_head(x + self.side(x) if with_side else x)


def build(own: bool, wide: bool = False) -> nn.Module:
    """Return a model; always with the same weights."""
    torch.manual_seed(0)
    if not own:
        return Foreign()
    fields = {"d_model": 128 if wide else WIDTH, "n_layers": 3, "seq_len": SEQ, "attention": {"n_heads": 2}}
    vocabulary = {"vocab_size": 32 * VOCABULARY if wide else VOCABULARY}
    return Transformer(TransformerConfig.model_validate({**fields, **vocabulary}), seed=1)


def spread(model: nn.Module, run: Run) -> tuple[nn.Module, nn.Module]:
    """Return what is called, and what is watched."""
    if run.how in ("ddp", "inner"):
        # Our model has no use for a search for unused parameters; the foreign one leaves a branch out.
        wrapper = DistributedDataParallel(model, find_unused_parameters=not run.own)
        return wrapper, wrapper if run.how == "ddp" else model
    if run.how == "alone":
        return model, model
    if run.how == "flat":
        model = FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=True)
        return model, model
    names = ("replicate", "shard")
    mesh = init_device_mesh("cpu", (2, 1) if run.how == "replicated" else (1, 2), mesh_dim_names=names)
    mesh = mesh if run.how == "replicated" else mesh["shard"]
    for block in model.blocks if run.own else model.h:
        fully_shard(block, mesh=mesh)
    if run.how != "mixed":
        fully_shard(model, mesh=mesh)
        return model, model
    for parameter in model.parameters():
        if not hasattr(parameter, "to_local"):
            parameter.register_post_accumulate_grad_hook(average)
    return model, model


def average(parameter: Tensor) -> None:
    """Average a gradient over the ranks."""
    dist.all_reduce(parameter.grad)
    parameter.grad /= dist.get_world_size()


def train(rank: int, run: Run) -> Seen:
    """Train and watch."""
    size = 1 if run.how == "alone" else dist.get_world_size()
    is_last = size > 1 and rank == size - 1
    model, watched = spread(build(run.own, run.wide), run)
    scaler = None if run.overflow_at is None else torch.amp.GradScaler("cpu", init_scale=4.0)
    # Neither clipping nor a joint step works on weights of which some are whole and some are spread.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, foreach=None if run.clips else False)
    tokens = torch.randint(0, VOCABULARY, (run.steps, BATCH, SEQ + 1), generator=_generator())
    start, end = run.rows if size == 1 else (rank * BATCH // size, (rank + 1) * BATCH // size)
    seen = Seen()
    sites = {"mute": [run.mute_on_last]} if run.mute_on_last and is_last else None
    with (
        _log(seen),
        _sends(seen),
        mock.patch.object(cadence, "perf_counter", functools.partial(getattr, seen, "clock")),
        watch(
            watched, optimizer, run.folder, on_incident=_policy(run.on_incident, seen), sites=sites,
            scaler=scaler, budget=run.budget,
        ) as monitor,
    ):  # fmt: skip
        for step, batch in enumerate(tokens):
            rows = batch[start:end]
            rows = rows[: len(rows) // 2] if is_last and step == run.short_at else rows
            poison = run.poison if is_last and step == 2 else ""
            with _poisoned(model, poison == "activation"):
                scale = scaler.scale(torch.ones(())) if scaler else 1.0
                scale = scale * math.inf if is_last and step == run.overflow_at else scale
                loss = _backward(model, rows, run, rank + step, scale)
            loss = loss * math.nan if poison == "loss" else loss
            if scaler:
                scaler.unscale_(optimizer)
            if run.clips and run.how != "flat":
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            scaler.step(optimizer) if scaler else optimizer.step()
            if scaler:
                scaler.update()
            optimizer.zero_grad()
            if run.fail_on_last and is_last and step == 1:
                monitor._monitor._collector._pack = functools.partial(_fail)
            extra = {"extra": 1.0} if run.extra_on_first and rank == 0 and step % 2 else {}
            seen.steps += 1
            is_dear = run.budget is not None and rank == 0 and monitor._monitor._cadence.is_due(step)
            seen.clock += 1.1 if is_dear else 1.0
            try:
                monitor.step(loss, rank=float(rank), **extra)
            except IncidentError:
                seen.raised_at = step
                break
            _write_down(seen, monitor)
            if monitor.should_stop:
                seen.stopped_at = step
                break
        seen.coverage = [row.dark for row in monitor.coverage() if row.dark]
    return seen


class Residual(nn.Module):
    """A block without attention: only what is handed on tells that it is one."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Add to the line."""
        return x + torch.tanh(self.fc(x))


def names(rank: int, how: str, block: type[nn.Module]) -> tuple[str, ...]:
    """Return the tags of a model without attention."""
    torch.manual_seed(0)
    inner = [block() if block is Residual else nn.Linear(WIDTH, WIDTH) for _ in range(3)]
    model: nn.Module = nn.Sequential(*inner, nn.Linear(WIDTH, 2))
    if how == "fsdp":
        for part in model:
            fully_shard(part)
        fully_shard(model)
    elif how == "ddp":
        model = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters())
    with watch(model, optimizer) as monitor:
        for _ in range(2):
            loss = model(torch.randn(4, 3, WIDTH)).square().mean()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
        record = monitor.latest()
    return record.tags if record else ()


def watch_on_one(rank: int) -> str:
    """Watch on the first rank alone; returns its error."""
    short = (timedelta(seconds=0.2), timedelta(seconds=0.2))
    model = build(own=True)
    with mock.patch.object(ranks, "_PATIENCE", short):
        try:
            if rank == 0:
                with watch(model, torch.optim.SGD(model.parameters())):
                    pass
        except ConfigError as error:
            return str(error)
        finally:
            if rank:
                # The ranks count their monitors alike.
                next(ranks._numbers)
            dist.barrier()
    return ""


def fail_on_last(rank: int, mark: Path) -> bool:
    """Raise on the last rank; the first one waits, outside any collective, for that one to have closed."""
    model = DistributedDataParallel(build(own=True))
    optimizer = torch.optim.SGD(model.parameters())
    rows = torch.zeros(2, SEQ + 1, dtype=torch.long)
    with contextlib.suppress(ZeroDivisionError), watch(model, optimizer) as monitor:
        for step in range(2):
            if step == 1 and rank:
                raise ZeroDivisionError
            if step == 1:
                break
            loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
            loss.backward()
            optimizer.step()
            monitor.step(loss)
        until = time.monotonic() + 20
        while not mark.exists() and time.monotonic() < until:
            time.sleep(0.02)
        return mark.exists()
    mark.touch()
    return True


def watch_into(rank: int, folder: Path) -> str:
    """Watch into a folder that is taken; returns this rank's error."""
    model = build(own=True)
    try:
        with watch(model, torch.optim.SGD(model.parameters()), folder):
            return ""
    except StabilityKitError as error:
        return f"{type(error).__name__}: {error}"


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def _backward(model: nn.Module, rows: Tensor, run: Run, turn: int, scale: Tensor | float) -> Tensor:
    total = torch.zeros(())
    parts = rows.chunk(run.microbatches)
    for n, part in enumerate(parts):
        is_late = n < len(parts) - 1 and isinstance(model, DistributedDataParallel)
        more = {"with_side": True} if run.unused and turn % 2 else {}
        with model.no_sync() if is_late else contextlib.nullcontext():
            logits = model(part[:, :-1], **more)
            loss = F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten())
            (loss / len(parts) * scale).backward()
        total = total + loss.detach() / len(parts)
    return total


def _write_down(seen: Seen, monitor: Any) -> None:
    record = monitor.latest()
    seen.host_reads.append(monitor.host_reads)
    if record is not None and record.step not in seen.observed:
        seen.observed.append(record.step)
        seen.records.append((record.tags, record.values.tobytes()))
        seen.readings.append(dict(record.readings))


def _fail() -> None:
    raise ValueError("made to fail")


def _policy(policy: Any, seen: Seen) -> Any:
    def count(incident: object) -> None:
        seen.called += 1

    return [each if each != "count" else count for each in policy] if isinstance(policy, list) else policy


@contextlib.contextmanager
def _sends(seen: Seen) -> Iterator[None]:
    """Write down the size of every gathered vector."""
    gather: Callable[..., Any] = dist.all_gather_single

    def spy(rows: Tensor, row: Tensor, *args: Any, **kwargs: Any) -> Any:
        # fully_shard gathers weights by the same name; ours are the numbers in double precision.
        if row.dtype == torch.float64:
            seen.sent.append(len(row))
        return gather(rows, row, *args, **kwargs)

    with mock.patch.object(dist, "all_gather_single", spy):
        yield


@contextlib.contextmanager
def _log(seen: Seen) -> Iterator[None]:
    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.logged.append(record.getMessage())

    handler, logger = Keep(), logging.getLogger("stabilitykit")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _poisoned(model: nn.Module, on: bool) -> Iterator[None]:
    """Let the second block return NaN."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    block = inner.blocks[1] if hasattr(inner, "blocks") else inner.h[1]
    handle = block.register_forward_hook(lambda module, args, out: out * math.nan) if on else None
    yield
    if handle:
        handle.remove()
