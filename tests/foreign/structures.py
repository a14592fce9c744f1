"""One model of each kind of block structure, written by hand; every forward takes tokens and gives logits."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from foreign.modules import VOCABULARY, WIDTH
from torch import Tensor, nn

HEADS = 2


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return what queries gather, over heads."""
    split = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


def norm(x: Tensor) -> Tensor:
    """Return a tensor of unit mean square over its last dimension, as a function without a module."""
    return F.rms_norm(x, (x.shape[-1],))


class Attention(nn.Module):
    """Attention to itself, or to a context."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return what is gathered."""
        seen = x if context is None else context
        return self.out(attended(self.query(x), self.key(seen), self.value(seen)))


class FeedForward(nn.Sequential):
    """Two matrices."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Mixer(nn.Module):
    """A convolution over time in place of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed tokens."""
        return self.out(self.conv(self.into(x).transpose(1, 2)).transpose(1, 2))


class Block(nn.Module):
    """A block with norms in front."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width)
        self.norm2, self.mlp = nn.LayerNorm(width), FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the line behind the block."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class MixerBlock(nn.Module):
    """A block without attention."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.mixer = nn.LayerNorm(WIDTH), Mixer()
        self.norm2, self.mlp = nn.LayerNorm(WIDTH), FeedForward()

    def forward(self, x: Tensor) -> Tensor:
        """Return the line behind the block."""
        x = x + self.mixer(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    """Embedding, blocks one after another, last norm and head."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(blocks)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        return self.head(self.norm(self.line(self.embedding(tokens))))

    def line(self, x: Tensor) -> Tensor:
        """Return the line behind all blocks."""
        for layer in self.layers:
            x = layer(x)
        return x


class Skipping(Decoder):
    """Runs those of its blocks that ``plan`` names, as with LayerDrop, growing depth or an early exit."""

    plan: tuple[int, ...] = ()

    def line(self, x: Tensor) -> Tensor:
        """Return the line behind the blocks of the plan."""
        for i in self.plan:
            x = self.layers[i](x)
        return x


class Looped(Decoder):
    """Runs its blocks ``turns`` times over, as a universal transformer does."""

    turns = 3

    def line(self, x: Tensor) -> Tensor:
        """Return the line behind the last turn."""
        for _ in range(self.turns):
            x = super().line(x)
        return x


class Injected(Looped):
    """Runs its blocks several times, and each time mixes the input in by a matrix."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__(*blocks)
        self.adapter = nn.Linear(2 * WIDTH, WIDTH)

    def line(self, x: Tensor) -> Tensor:
        """Return the line behind the last turn."""
        y = x
        for _ in range(self.turns):
            y = self.adapter(torch.cat([y, x], -1))
            for layer in self.layers:
                y = layer(y)
        return y


class Settling(Looped):
    """Looks for a fixed point of its only block, mixing old and new as it goes."""

    def line(self, x: Tensor) -> Tensor:
        """Return the last iterate."""
        y = x
        for _ in range(self.turns):
            y = torch.lerp(y, self.layers[0](y), 0.5)
        return y


class Repeating(Decoder):
    """Runs each of its blocks twice in a row."""

    def line(self, x: Tensor) -> Tensor:
        """Return the line behind all blocks."""
        for layer in self.layers:
            x = layer(layer(x))
        return x


class SharedAttention(Decoder):
    """Blocks without attention, and before every other one the same block with attention."""

    def __init__(self) -> None:
        super().__init__()
        shared = Block()
        self.layers = nn.ModuleList(WithShared(shared if i % 2 else None, MixerBlock()) for i in range(4))


class WithShared(nn.Module):
    """A block in front of which another may run that it shares with its like."""

    def __init__(self, shared: nn.Module | None, own: nn.Module) -> None:
        super().__init__()
        self.shared, self.own = shared, own

    def forward(self, x: Tensor) -> Tensor:
        """Return the line behind the block."""
        return self.own(x if self.shared is None else self.shared(x))


class PackedExperts(nn.Module):
    """All experts in two parameters; every token goes to all, weighted by a softmax over three dimensions."""

    def __init__(self, n_experts: int = 4) -> None:
        super().__init__()
        self.router = nn.Parameter(torch.randn(n_experts, WIDTH) * 0.02)
        self.up = nn.Parameter(torch.randn(n_experts, WIDTH, WIDTH) * 0.05)
        self.down = nn.Parameter(torch.randn(n_experts, WIDTH, WIDTH) * 0.05)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum over the experts."""
        weights = (x @ self.router.T).softmax(-1)
        hidden = F.silu(torch.einsum("btd,edh->bteh", x, self.up))
        return torch.einsum("bte,bted->btd", weights, torch.einsum("bteh,ehd->bted", hidden, self.down))


class RoutedExperts(nn.Module):
    """A list of experts, of which each is given its tokens alone."""

    def __init__(self, n_experts: int = 4) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, n_experts)
        self.experts = nn.ModuleList(FeedForward() for _ in range(n_experts))

    def forward(self, x: Tensor) -> Tensor:
        """Return each token's best expert's output."""
        flat = x.flatten(0, -2)
        weight, chosen = self.gate(flat).softmax(-1).max(-1)
        out = torch.zeros_like(flat)
        for i, expert in enumerate(self.experts):
            at = (chosen == i).nonzero()[:, 0]
            out = out.index_add(0, at, expert(flat[at]) * weight[at, None])
        return out.view_as(x)


def with_experts(experts: nn.Module) -> Block:
    """Return a block with experts for its feed-forward sublayer."""
    block = Block()
    block.mlp = experts
    return block


class JointBlock(nn.Module):
    """Two streams that attend to each other; taken by name, and given back in the other order."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_x, self.norm_c = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv_x, self.qkv_c = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.out_x, self.out_c = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm_mlp_x, self.mlp_x = nn.LayerNorm(WIDTH), FeedForward()
        self.norm_mlp_c, self.mlp_c = nn.LayerNorm(WIDTH), FeedForward()

    def forward(self, *, hidden: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the context and the hidden states."""
        both = torch.cat([self.qkv_c(self.norm_c(context)), self.qkv_x(self.norm_x(hidden))], 1)
        y = attended(*both.chunk(3, -1))
        c, x = y.split([context.shape[1], hidden.shape[1]], 1)
        hidden, context = hidden + self.out_x(x), context + self.out_c(c)
        hidden = hidden + self.mlp_x(self.norm_mlp_x(hidden))
        return context + self.mlp_c(self.norm_mlp_c(context)), hidden


class Joint(Decoder):
    """Blocks of two streams."""

    def __init__(self) -> None:
        super().__init__(*(JointBlock() for _ in range(3)))
        self.condition = nn.Embedding(VOCABULARY, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        x, context = self.embedding(tokens), self.condition(tokens[:, :10])
        for layer in self.layers:
            context, x = layer(hidden=x, context=context)
        return self.head(self.norm(x))


@dataclass
class State:
    """What a block hands on."""

    aux: Tensor
    line: Tensor


class StateBlock(Block):
    """A block that takes and returns a dataclass."""

    def forward(self, state: State) -> State:  # type: ignore[override]
        """Return the state behind the block."""
        return State(state.aux + 1, super().forward(state.line))


class Stateful(Decoder):
    """Blocks that hand on a dataclass."""

    def line(self, x: Tensor) -> Tensor:
        """Return the line behind all blocks."""
        state: Any = State(torch.zeros(()), x)
        for layer in self.layers:
            state = layer(state)
        return state.line


class Output:
    """A plain object with a tensor in it."""

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


class ObjectBlock(Block):
    """A block that is given its input by name and returns a plain object."""

    def forward(self, *, mask: None, hidden: Tensor) -> Output:  # type: ignore[override]
        """Return the line behind the block, in an object."""
        return Output(super().forward(hidden))


class Objects(Decoder):
    """Blocks that return plain objects."""

    def line(self, x: Tensor) -> Tensor:
        """Return the line behind all blocks."""
        for layer in self.layers:
            x = layer(mask=None, hidden=x).hidden
        return x


class FunctionalBlock(nn.Module):
    """Norms that are functions, a mix of the line with its beginning, and attention that may be missing."""

    def __init__(self, attends: bool) -> None:
        super().__init__()
        self.attention = Attention() if attends else None
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.lambdas = nn.Parameter(torch.tensor([1.0, 0.1]))

    def forward(self, x: Tensor, x0: Tensor) -> Tensor:
        """Return the line behind the block."""
        x = self.lambdas[0] * x + self.lambdas[1] * x0
        if self.attention is not None:
            x = x + self.attention(norm(x))
        return x + self.down(F.relu(self.up(norm(x))).square())


class Functional(Decoder):
    """No norm is a module, and something is mixed into the line between the blocks."""

    def __init__(self) -> None:
        super().__init__(*(FunctionalBlock(attends=i != 2) for i in range(4)))
        self.norm = nn.Identity()
        self.scales = nn.Parameter(torch.ones(4))

    def line(self, x: Tensor) -> Tensor:
        """Return the line behind all blocks."""
        x = first = norm(x)
        for scale, layer in zip(self.scales, self.layers, strict=True):
            x = layer(scale * x, first)
        return norm(x)


class Keyed(Decoder):
    """Blocks in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({f"layer_{i}": Block() for i in range(3)})

    def line(self, x: Tensor) -> Tensor:
        """Return the line behind all blocks."""
        for layer in self.layers.values():
            x = layer(x)
        return x


class CrossBlock(nn.Module):
    """Attention to itself, attention to a context, and a feed-forward sublayer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(width), Attention(width)
        self.norm2, self.attn2 = nn.LayerNorm(width), Attention(width)
        self.norm3, self.ff = nn.LayerNorm(width), FeedForward(width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Return the line behind the block."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Projected(nn.Module):
    """A block with a projection on either side, all of it added to the line."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.into, self.out = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.blocks = nn.ModuleList([CrossBlock(width)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Return the line behind it."""
        y = self.into(self.norm(x))
        for block in self.blocks:
            y = block(y, context)
        return x + self.out(y)


class Level(nn.Module):
    """A level of a U-Net: mixers, with attention in between."""

    def __init__(self, width: int, n: int) -> None:
        super().__init__()
        self.mixers = nn.ModuleList(nn.Linear(width, width) for _ in range(n))
        self.attentions = nn.ModuleList(Projected(width) for _ in range(n))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Return the line behind it."""
        for mixer, attention in zip(self.mixers, self.attentions, strict=True):
            x = attention(x + torch.tanh(mixer(x)), context)
        return x


class UNet(Decoder):
    """Down to half the width, through a middle, and up again."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle, self.up = Level(WIDTH, 2), Level(2 * WIDTH, 1), Level(WIDTH, 3)
        self.wider, self.narrower = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        # As wide at every level.
        self.contexts = nn.ModuleList(nn.Linear(WIDTH, width) for width in (WIDTH, 2 * WIDTH))

    def line(self, x: Tensor) -> Tensor:
        """Return the line behind the last level."""
        narrow, wide = (context(x[:, :10]) for context in self.contexts)
        skipped = self.down(x, narrow)
        y = self.middle(self.wider(skipped), wide)
        return self.up(skipped + self.narrower(y), narrow)


class Axial(nn.Module):
    """Two full blocks one after the other behind a mixer, as attention over blocks and over a grid is."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        self.layers.add_module("mixer", MixerBlock())
        self.layers.add_module("block_attention", Block())
        self.layers.add_module("grid_attention", Block())

    def forward(self, x: Tensor) -> Tensor:
        """Return the line behind all three."""
        return self.layers(x)


class SomeTokens(nn.Module):
    """Lets half of the tokens through a block."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.block = nn.Linear(WIDTH, 1), Block()

    def forward(self, x: Tensor) -> Tensor:
        """Return the line, changed where tokens were chosen."""
        weight, at = self.router(x)[..., 0].topk(x.shape[1] // 2)
        at = at[..., None].expand(-1, -1, x.shape[-1])
        chosen = x.gather(1, at)
        return x.scatter_add(1, at, torch.sigmoid(weight)[..., None] * (self.block(chosen) - chosen))


class NormedLinear(nn.Module):
    """A norm and a matrix in one module, as fused kernels have it."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.layer_norm_weight = nn.Parameter(torch.ones(n_in))
        self.weight = nn.Parameter(torch.randn(n_out, n_in) * 0.05)

    def forward(self, x: Tensor) -> Tensor:
        """Return the product of the matrix and the norm of the input, and no bias."""
        return F.linear(norm(x) * self.layer_norm_weight, self.weight)


class FusedAttention(nn.Module):
    """Attention whose norm lies in its first matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_qkv, self.linear_proj = NormedLinear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return what is gathered, and no bias."""
        return self.linear_proj(attended(*self.linear_qkv(x).chunk(3, -1))), None


class FusedBlock(nn.Module):
    """A block whose norms lie in its matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attention = FusedAttention()
        self.mlp = nn.Sequential(NormedLinear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None]:
        """Return the line behind the block, and no context."""
        x = hidden_states + self.self_attention(hidden_states)[0]
        return x + self.mlp(x), None


class Fused(Decoder):
    """Blocks that return a tuple and take their input by name."""

    def line(self, x: Tensor) -> Tensor:
        """Return the line behind all blocks."""
        for layer in self.layers:
            x, _ = layer(hidden_states=x)
        return x


class Branches(Decoder):
    """Branches in one list, each added to the line; runs those that ``plan`` names."""

    plan = (0, 1, 2, 3, 4, 5)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([nn.LayerNorm(WIDTH), FeedForward() if i % 2 else Attention()]) for i in range(6)
        )

    def line(self, x: Tensor) -> Tensor:
        """Return the line with all branches of the plan added."""
        for i in self.plan:
            before, branch = self.layers[i]
            x = x + branch(before(x))
        return x
