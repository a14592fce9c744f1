"""The transformer against formulas written out here: outputs, causality, names, counts."""

import math

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model import Transformer, TransformerConfig, arch_config
from stabilitykit.lab.model.block import norm_names
from stabilitykit.lab.model.wirings import WIRINGS, Slots
from stabilitykit.lab.validation import validated

ARCHS = ("post_norm", "pre_norm", "double_norm", "out_norm")
VOCAB, WIDTH, HEADS, SEQ, HIDDEN, LAYERS = 11, 12, 3, 7, 16, 2
VARIANTS = [
    {**arch_config(arch), "norm": {"kind": kind}, **extra}
    for arch in ARCHS
    for kind in ("rmsnorm", "layernorm")
    for extra in ({"attention": {"qk_norm": "none"}}, {"attention": {"qk_norm": "head"}})
]


def build(overrides: dict[str, object]) -> Transformer:
    attention = {"n_heads": HEADS, **overrides.get("attention", {})}
    sizes = {"vocab_size": VOCAB, "d_model": WIDTH, "seq_len": SEQ, "n_layers": LAYERS}
    fields = {**sizes, "feedforward": {"d_ff": HIDDEN}, **overrides, "attention": attention}
    model = Transformer(validated(TransformerConfig, fields), seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:  # gains of 1 would hide a gain in the wrong place
                weight.copy_(
                    torch.rand(weight.shape, generator=torch.Generator().manual_seed(len(name))) + 0.5
                )
            if "embed" in name:
                weight.mul_(50)
    return model


def tokens(batch: int = 2, length: int = SEQ) -> Int[Tensor, "batch seq"]:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(3))


class Reference:
    """One sequence at a time, one head at a time, in float64, from the weights alone."""

    def __init__(self, model: Transformer) -> None:
        self.config = model.config
        self.weights = {name: weight.detach().double() for name, weight in model.state_dict().items()}

    def norm(self, name: str, x: Float[Tensor, "..."], kind: str) -> Float[Tensor, "..."]:
        if kind == "layernorm":
            x = x - x.mean(-1, keepdim=True)
        return (
            x / ((x**2).mean(-1, keepdim=True) + self.config.norm.eps) ** 0.5 * self.weights[f"{name}.weight"]
        )

    def attention(self, block: str, x: Float[Tensor, "seq d_model"]) -> Float[Tensor, "seq d_model"]:
        q, k, v = (x @ self.weights[f"{block}.attn.{p}_proj.weight"].T for p in "qkv")
        width, out = WIDTH // HEADS, []
        for head in range(HEADS):
            of_head = slice(head * width, (head + 1) * width)
            q_h, k_h = q[:, of_head], k[:, of_head]
            if self.config.attention.qk_norm == "head":
                q_h = self.norm(f"{block}.attn.q_norm", q_h, "rmsnorm")
                k_h = self.norm(f"{block}.attn.k_norm", k_h, "rmsnorm")
            rows = []
            for i in range(len(x)):
                scores = torch.exp(k_h[: i + 1] @ q_h[i] / math.sqrt(width))
                rows.append((scores / scores.sum()) @ v[: i + 1, of_head])
            out.append(torch.stack(rows))
        return torch.cat(out, -1) @ self.weights[f"{block}.attn.o_proj.weight"].T

    def feedforward(self, block: str, x: Float[Tensor, "seq d_model"]) -> Float[Tensor, "seq d_model"]:
        gate, up, down = (self.weights[f"{block}.mlp.{p}_proj.weight"] for p in ("gate", "up", "down"))
        gated = x @ gate.T
        return (gated / (1 + torch.exp(-gated)) * (x @ up.T)) @ down.T

    def sublayer(
        self, block: str, name: str, x: Float[Tensor, "seq d_model"]
    ) -> Float[Tensor, "seq d_model"]:
        f = self.attention if name == "attn" else self.feedforward
        first, second = f"{block}.{name}_norm", f"{block}.{name}_out_norm"
        kind = self.config.norm.kind
        match self.config.wiring:
            case "post_norm":
                return self.norm(first, x + f(block, x), kind)
            case "pre_norm":
                return x + f(block, self.norm(first, x, kind))
            case "double_norm":
                return x + self.norm(second, f(block, self.norm(first, x, kind)), kind)
            case "out_norm":
                return x + self.norm(first, f(block, x), kind)

    def logits(self, sequence: Int[Tensor, "seq"]) -> Float[Tensor, "seq vocab"]:
        x = (
            self.weights["embed.token.weight"][sequence]
            + self.weights["embed.position.weight"][: len(sequence)]
        )
        for i in range(LAYERS):
            for name in ("attn", "mlp"):
                x = self.sublayer(f"blocks.{i}", name, x)
        if self.config.wiring != "post_norm":
            x = self.norm("final_norm", x, self.config.norm.kind)
        return x @ self.weights["head.linear.weight"].T


@pytest.mark.parametrize("overrides", VARIANTS, ids=str)
def test_equals_the_formula_written_out(overrides: dict[str, object]) -> None:
    model, batch = build(overrides), tokens()
    expected = torch.stack([Reference(model).logits(sequence) for sequence in batch])
    for length in (SEQ, 3):
        logits = model(batch[:, :length])
        assert logits.shape == (2, length, VOCAB)
        assert expected[:, :length].std() > 0.1
        # The reference looks at no later token: of a shorter sequence it says the same.
        torch.testing.assert_close(logits.double(), expected[:, :length], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_no_future_token_changes_a_logit(arch: str) -> None:
    model, batch = build(arch_config(arch)), tokens()
    before = model(batch)
    for position in range(SEQ):
        changed = batch.clone()
        changed[:, position] = (changed[:, position] + 1) % VOCAB
        after = model(changed)
        assert torch.equal(after[:, :position], before[:, :position])
        assert not torch.equal(after[:, position:], before[:, position:])


@pytest.mark.parametrize(
    ("arch", "per_block"),
    [
        ("post_norm", 2 * WIDTH),
        ("pre_norm", 2 * WIDTH),
        ("double_norm", 4 * WIDTH),
        ("out_norm", 2 * WIDTH + 8),
    ],
)
def test_parameter_counts(arch: str, per_block: int) -> None:
    matrices = 4 * WIDTH**2 + 3 * WIDTH * HIDDEN
    outside = VOCAB * WIDTH + SEQ * WIDTH + WIDTH * VOCAB + (0 if arch == "post_norm" else WIDTH)
    model = build(arch_config(arch))
    assert sum(p.numel() for p in model.parameters()) == LAYERS * (matrices + per_block) + outside


@pytest.mark.parametrize("overrides", VARIANTS, ids=str)
def test_nothing_has_a_bias(overrides: dict[str, object]) -> None:
    model = build(overrides)
    assert [name for name, _ in model.named_parameters() if not name.endswith(".weight")] == []
    assert not list(model.buffers())


@pytest.mark.parametrize(
    ("arch", "names"),
    [
        ("post_norm", "resid_pre attn attn_out attn_norm resid_mid mlp mlp_out mlp_norm resid_post"),
        ("pre_norm", "resid_pre attn_norm attn attn_out resid_mid mlp_norm mlp mlp_out resid_post"),
        (
            "double_norm",
            "resid_pre attn_norm attn attn_out_norm attn_out resid_mid "
            "mlp_norm mlp mlp_out_norm mlp_out resid_post",
        ),
        ("out_norm", "resid_pre attn attn_norm attn_out resid_mid mlp mlp_norm mlp_out resid_post"),
    ],
)
def test_a_block_lists_its_sites_in_data_order(arch: str, names: str) -> None:
    called: list[str] = []
    block = build(arch_config(arch)).blocks[0]
    for name, module in block.named_children():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    block(torch.randn(1, 3, WIDTH))
    assert called == names.split()
    assert [name for name, _ in block.named_children()] == names.split()


@pytest.mark.parametrize("arch", ARCHS)
def test_the_marks_see_what_is_added_and_what_the_line_carries(arch: str) -> None:
    model, seen = build(arch_config(arch)), {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Identity):
            module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    logits = model(tokens())
    assert seen["head.logits"] is logits
    assert torch.equal(seen["blocks.0.resid_post"], seen["blocks.1.resid_pre"])
    summed = seen["blocks.1.resid_pre"] + seen["blocks.1.attn_out"]
    line = model.blocks[1].attn_norm(summed) if arch == "post_norm" else summed
    assert torch.equal(line, seen["blocks.1.resid_mid"])


def test_top_level_names() -> None:
    assert [name for name, _ in build({}).named_children()] == ["embed", "blocks", "final_norm", "head"]
    assert build({"wiring": "post_norm"}).final_norm is None


def test_a_third_norm_would_carry_its_slot() -> None:
    slots = Slots(branch_in=True, branch_out=True, line_out=True)
    assert norm_names("mlp", slots.names) == {
        "branch_in": "mlp_norm",
        "branch_out": "mlp_out_norm",
        "line_out": "mlp_line_out_norm",
    }


def test_a_row_of_the_table_is_all_a_wiring_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WIRINGS, "pre_norm", Slots(line_in=True, branch_out=True))
    block, x = build({"wiring": "pre_norm"}).blocks[0], torch.randn(1, SEQ, WIDTH)
    line = block.attn_norm(x)
    line = block.mlp_norm(line + block.attn_out_norm(block.attn(line)))
    assert torch.equal(block(x), line + block.mlp_out_norm(block.mlp(line)))


def test_every_wiring_trains_every_weight() -> None:
    for arch in WIRINGS:
        # A gate that starts closed gives its branch no gradient yet.
        residual = {"residual": {"gate": "scalar", "gate_init": 0.5}} if arch == "no_norm" else {}
        model = build({**arch_config(arch), **residual})
        model(tokens()).logsumexp(-1).sum().backward()
        assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())


def test_too_long_a_sequence_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\.seq_len: got a sequence of 8 tokens; at most 7$"):
        build({})(tokens(length=8))
