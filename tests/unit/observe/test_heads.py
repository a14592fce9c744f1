"""A head is what the loss sees as logits over a vocabulary or classes; nothing else is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stabilitykit.observe import Collector
from stabilitykit.observe.foreign import layout_of
from stabilitykit.observe.structure import assumed_calls

N, LENGTH, WIDTH, CLASSES = 3, 6, 8, 11
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Block(nn.Module):
    """Two norms and matrices on a line."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Body(nn.Module):
    """Tokens to vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(CLASSES, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.final = nn.LayerNorm(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.final(x)


class Model(nn.Module):
    """A body, a head, and a projection that runs last."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], classes: int = CLASSES) -> None:
        super().__init__()
        self.body, self.head = Body(), nn.Linear(WIDTH, classes)
        self.boxes, self.query = nn.Linear(WIDTH, 4), nn.Linear(WIDTH, WIDTH)
        self.run = forward

    def forward(self, tokens: Tensor) -> Any:
        return self.run(self, tokens)


def watched(model: nn.Module, loss: Loss) -> tuple[Collector, Any]:
    """Return a collector and its second record."""
    torch.manual_seed(0)
    tokens, targets = torch.randint(CLASSES, (2, N, LENGTH))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    collector = Collector(model, [optimizer])
    collector.attach()
    for step in range(2):
        collector.arm()
        loss(model, tokens, targets).backward()
        collector.read_gradients()
        optimizer.step()
        optimizer.zero_grad()
        record = collector.collect(step)
    collector.detach()
    return collector, record


def head(collector: Collector) -> str | None:
    """Return the path of the module whose output is taken for logits."""
    found = [site for site in collector.layout.sites if site.name == "head.logits"]
    return found[0].module if found else None


def entropy(z: Tensor, y: Tensor, **options: Any) -> Tensor:
    """Return a cross-entropy over the last dimension."""
    return F.cross_entropy(z.flatten(0, -2), y.flatten(), **options)


def plain(self: Any, tokens: Tensor) -> Any:
    return self.head(self.body(tokens))


def detector(self: Any, tokens: Tensor) -> Any:
    x = self.body(tokens)
    return self.head(x), self.boxes(x)


def detected(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    z, boxes = model(x)
    return F.cross_entropy(z.transpose(1, 2), y) + boxes.sigmoid().abs().mean()


def written_out(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    z = model(x)
    z = z - z.amax(-1, keepdim=True)
    return (z.exp().sum(-1).log() - z.gather(-1, y[..., None])[..., 0]).mean()


def of_categorical(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return -torch.distributions.Categorical(logits=model(x)).log_prob(y).mean()


def ctc(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    log_p = model(x).transpose(0, 1).log_softmax(-1)
    lengths = torch.full((N,), LENGTH), torch.full((N,), 2)
    return F.ctc_loss(log_p, 1 + y[:, :2] % (CLASSES - 1), *lengths)


def in_chunks(self: Any, tokens: Tensor) -> Any:
    x = self.body(tokens)
    return torch.cat([self.head(part) for part in x.split(2, dim=1)], 1)


def recomputed(model: Any, x: Tensor, y: Tensor) -> Tensor:
    hidden = model.body(x)
    parts = zip(hidden.split(2, 1), y.split(2, 1), strict=True)
    return sum(
        checkpoint(lambda h, t: entropy(model.head(h), t), *each, use_reentrant=False) for each in parts
    )


def hidden(model: Any, x: Tensor, y: Tensor) -> Tensor:
    return checkpoint(lambda h: entropy(model.head(h), y), model.body(x), use_reentrant=True)


def softened(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    q = torch.randn(N, LENGTH, CLASSES).softmax(-1)
    return F.kl_div(model(x).float().log_softmax(-1), q, reduction="batchmean")


FOUND: dict[str, tuple[Any, Loss]] = {
    "outside": (plain, lambda m, x, y: entropy(m(x), y)),
    "beside boxes that come last": (detector, detected),
    "shifted rows": (plain, lambda m, x, y: entropy(m(x)[:, :-1].contiguous(), y[:, 1:])),
    "chosen rows": (plain, lambda m, x, y: F.cross_entropy(m(x)[y > 3], y[y > 3])),
    "smoothed": (plain, lambda m, x, y: entropy(m(x).double(), y, label_smoothing=0.1)),
    "weighed": (plain, lambda m, x, y: entropy(m(x), y, weight=torch.rand(CLASSES))),
    "likelihood": (plain, lambda m, x, y: F.nll_loss(m(x).log_softmax(-1).flatten(0, 1), y.flatten())),
    "logarithm of a softmax": (
        plain,
        lambda m, x, y: -m(x).softmax(-1).gather(-1, y[..., None]).log().mean(),
    ),
    "written out": (plain, written_out),
    "a distribution": (plain, of_categorical),
    "connectionist": (plain, ctc),
    "distilled": (plain, softened),
    "recomputed, where no graph holds the head": (plain, hidden),
    "in chunks": (in_chunks, lambda m, x, y: entropy(m(x), y)),
    "recomputed in chunks": (plain, recomputed),
    "one vector a sequence": (lambda s, x: s.head(s.body(x)[:, 0]), lambda m, x, y: entropy(m(x), y[:, 0])),
}


@pytest.mark.parametrize("case", FOUND)
def test_logits_are_known_however_the_loss_is_written(case: str) -> None:
    forward, loss = FOUND[case]
    model = Model(forward)
    collector, record = watched(model, loss)
    assert head(collector) == "head"
    assert "output/log_z" in record.tags
    assert not [note for note in collector.layout.notes if "log_z" in note]


def contrasted(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x) / 0.1, torch.arange(N))


def alike(self: Any, tokens: Tensor) -> Any:
    x = self.body(tokens)
    return self.query(x[:, 0]) @ self.boxes(x).mean(1).repeat(1, 2).T


def spans(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    start, end = model(x).split(CLASSES // 2 + 1, dim=-1)
    return F.cross_entropy(start[..., 0], y[:, 0] % LENGTH) + F.cross_entropy(end[..., 0], y[:, 1] % LENGTH)


def preferred(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    reward = model(x)[:, -1, 0]
    return -F.logsigmoid(reward[0] - reward[1:]).mean()


NONE: dict[str, tuple[Any, Loss]] = {
    "regression": (plain, lambda m, x, y: m(x).square().mean()),
    "normalised features": (plain, lambda m, x, y: (F.normalize(m(x), dim=-1) - 1).square().mean()),
    "similarities": (alike, contrasted),
    "positions": (plain, spans),
    "a reward": (plain, preferred),
    "several labels": (
        plain,
        lambda m, x, y: F.binary_cross_entropy_with_logits(m(x), F.one_hot(y, CLASSES) * 1.0),
    ),
    "a part of the output": (plain, lambda m, x, y: entropy(m(x)[..., :5], y % 5)),
    "the weight used bare": (
        lambda s, x: (entropy(F.linear(s.body(x), s.body.embed.weight), x), s.boxes(s.body(x))),
        lambda m, x, y: m(x)[0],
    ),
}


@pytest.mark.parametrize("case", NONE)
def test_what_no_softmax_over_classes_sees_is_no_head_and_that_is_said(case: str) -> None:
    forward, loss = NONE[case]
    collector, record = watched(Model(forward), loss)
    assert head(collector) is None
    assert "output/log_z" not in record.tags
    assert "no head was found: output/log_z is not read" in collector.layout.notes


def test_of_several_heads_the_one_with_most_classes_is_read() -> None:
    def both(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        z, more = model(x)
        return entropy(z, y) + F.cross_entropy(more[:, 0], y[:, 0] % 4)

    assert head(watched(Model(detector), both)[0]) == "head"


def test_logits_of_a_tied_weight_are_read_where_a_module_returns_them() -> None:
    model = Model(lambda s, x: s.body(x) @ s.body.embed.weight.T)
    collector, record = watched(model, lambda m, x, y: entropy(m(x), y))
    assert head(collector) == ""
    torch.manual_seed(0)
    z = model(torch.randint(CLASSES, (2, N, LENGTH))[0])
    assert record.readings["output/log_z"] == pytest.approx(z.logsumexp(-1).mean().item(), rel=1e-5)


@pytest.mark.parametrize("inside", [True, False])
def test_capped_logits_are_read_capped_where_a_module_returns_them_so(inside: bool) -> None:
    def capped(z: Tensor) -> Tensor:
        return 3 * torch.tanh(z / 3)

    model = Model((lambda s, x: capped(plain(s, x))) if inside else plain)
    collector, _ = watched(model, lambda m, x, y: entropy(m(x) if inside else capped(m(x)), y))
    assert head(collector) == ("" if inside else "head")
    told = [note for note in collector.layout.notes if "before the loss scales or caps it" in note]
    assert bool(told) == (not inside)


def test_classes_of_pixels_are_in_the_second_dimension() -> None:
    class Pixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.classes = nn.Conv2d(1, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, CLASSES, 1)

        def forward(self, x: Tensor) -> Any:
            return self.classes(self.inner(x[:, None, :, None].float()))

    model = Pixels()
    collector, record = watched(model, lambda m, x, y: F.cross_entropy(m(x), y[:, :, None]))
    assert head(collector) == "classes"
    torch.manual_seed(0)
    z = model(torch.randint(CLASSES, (2, N, LENGTH))[0])
    assert record.readings["output/log_z"] == pytest.approx(z.logsumexp(1).mean().item(), rel=1e-5)


class _Opaque(torch.autograd.Function):
    """A loss that does not tell what it is."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(z, y)
        return entropy(z, y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        z, y = ctx.saved_tensors
        return grads[0] * (z.softmax(-1) - F.one_hot(y, z.shape[-1])) / y.numel(), None


@pytest.mark.parametrize("classes", [CLASSES, CLASSES + 1])
def test_a_loss_that_does_not_tell_is_believed_where_the_outputs_are_as_many_as_tokens(classes: int) -> None:
    collector, _ = watched(Model(plain, classes), lambda m, x, y: _Opaque.apply(m(x), y))
    assert head(collector) == ("head" if classes == CLASSES else None)


@pytest.mark.parametrize("classes", [CLASSES, CLASSES + 1])
def test_without_a_view_of_the_loss_a_head_must_be_as_wide_as_the_vocabulary(classes: int) -> None:
    model = Model(detector, classes)
    layout = layout_of(model, assumed_calls(model), watched=False)
    found = [site.module for site in layout.sites if site.name == "head.logits"]
    assert found == (["head"] if classes == CLASSES else [])


def test_a_head_whose_weight_is_the_embedding_is_known_without_a_view_of_the_loss() -> None:
    model = Model(detector)
    model.positions = nn.Embedding(2 * CLASSES, WIDTH)
    assert not [
        s for s in layout_of(model, assumed_calls(model), watched=False).sites if s.name == "head.logits"
    ]
    model.head.weight = model.body.embed.weight
    assert [s for s in layout_of(model, assumed_calls(model), watched=False).sites if s.name == "head.logits"]


def test_nothing_of_the_first_graph_is_kept_alive() -> None:
    import gc
    import weakref

    model, kept = Model(plain), []

    def loss(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        z = m(x)
        kept.append(weakref.ref(z))
        return entropy(z, y)

    gc.disable()
    try:
        collector, _ = watched(model, loss)
        assert all(reference() is None for reference in kept)
    finally:
        gc.enable()
    assert head(collector) == "head"
