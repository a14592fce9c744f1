"""Tokens one at a time behind a cache give the logits of the whole sequence at once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from stabilitykit.errors import ConfigError
from stabilitykit.lab.model import KVCache, LayerKind, Transformer, TransformerConfig, arch_config
from stabilitykit.lab.model.cache import cached_tokens
from stabilitykit.lab.model.context import distinct_kinds, visible
from stabilitykit.lab.model.presets import PRESETS, preset
from stabilitykit.lab.model.wirings import WIRINGS
from stabilitykit.lab.validation import validated

Build = Callable[..., Transformer]
ROPE: dict[str, Any] = {"kind": "rope", "theta": 50.0}
MIXED: list[dict[str, Any]] = [{"span": "sliding", "window": 4}, {"span": "chunked", "window": 5}, {}]
RESCALES: dict[str, dict[str, Any]] = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0, "original_len": 5},
    "llama3": {"factor": 4.0, "original_len": 8},
    "yarn": {"factor": 4.0, "original_len": 100},
    "longrope": {"factor": 2.0, "original_len": 6, "short": [1.0, 1.2], "long": [2.0, 5.0]},
}
VARIANTS: list[dict[str, Any]] = [
    *({"position": {"kind": kind}} for kind in ("learned", "sine", "none", "alibi", "t5_bias")),
    {"position": {"kind": "sine", "sine_start": 2, "sine_layout": "half"}},
    {"position": {"kind": "t5_bias", "buckets": 6, "max_distance": 8}, "attention": {"n_kv_heads": 2}},
    {"position": {"kind": "alibi"}, "attention": {"n_kv_heads": 1, "softcap": 3.0}},
    *({"position": {**ROPE, "rescale": {"kind": kind, **more}}} for kind, more in RESCALES.items()),
    {"position": {**ROPE, "layout": "interleaved", "rotary_fraction": 0.5, "theta_local": 10.0}},
    *({"position": ROPE, "attention": {"n_kv_heads": heads}} for heads in (1, 2)),
    {"position": ROPE, "attention": {"n_kv_heads": 2, "sinks": "learned", "head_scale": True}},
    {"position": ROPE, "attention": {"n_kv_heads": 2, "sinks": "zero", "softcap": 3.0, "out_norm": True}},
    {"position": ROPE, "attention": {"qk_norm": "head", "qk_norm_at": "post_rope", "v_norm": True}},
    {"position": ROPE, "attention": {"qk_norm": "full", "clip_qkv": 0.5, "implementation": "eager"}},
    {"position": ROPE, "attention": {"temperature_floor": 3, "temperature_layers": "all"}},
    {"position": ROPE, "order": "parallel"},
]
SPANS = [LayerKind(), *(LayerKind(span=s, window=w) for s in ("sliding", "chunked") for w in (1, 4, 5))]


def generated(
    model: Transformer, tokens: Int[Tensor, "batch seq"], cache: KVCache, prompt: int
) -> Float[Tensor, "batch seq vocab"]:
    """Return the logits of a prompt, and then of one token at a time."""
    parts = [tokens[:, :prompt], *(tokens[:, i : i + 1] for i in range(prompt, tokens.shape[1]))]
    with torch.no_grad():
        return torch.cat([model(part, cache) for part in parts], 1)


def cache_of(model: Transformer, tokens: Int[Tensor, "batch seq"]) -> KVCache:
    return KVCache(model.config, tokens.shape[0], tokens.shape[1], torch.float64)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_generates_what_it_gives_at_once(name: str) -> None:
    config = preset(name, "tiny", n_layers=2)
    # A layer of each kind: the full ones come late in some patterns.
    config = config.model_copy(update={"pattern": distinct_kinds(config)})
    assert len(config.pattern) <= 2
    model, generator = Transformer(config, seed=1).eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():  # branches that start closed would hide their attention
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    tokens = torch.randint(config.vocab_size, (2, config.seq_len), generator=generator)
    with torch.no_grad():
        expected = model(tokens)
        alone = model(tokens[:, -1:], KVCache(config, 2))
    got = generated(model, tokens, KVCache(config, 2), prompt=config.seq_len - 2)
    largest = expected.abs().max().item()
    torch.testing.assert_close(got, expected, rtol=0, atol=5e-6 * largest)
    assert (alone - expected[:, -1:]).abs().max() > 1e-2 * largest


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_every_kind_of_attention_goes_on_where_it_was(
    build: Build, tokens: Int[Tensor, "batch seq"], fields: dict[str, Any]
) -> None:
    model = build(n_layers=3, pattern=MIXED, **fields)
    got = generated(model, tokens, cache_of(model, tokens), 7)
    torch.testing.assert_close(got, model(tokens), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("arch", WIRINGS)
def test_every_wiring_goes_on_where_it_was(build: Build, tokens: Int[Tensor, "batch seq"], arch: str) -> None:
    model = build(**arch_config(arch))
    got = generated(model, tokens, cache_of(model, tokens), 9)
    torch.testing.assert_close(got, model(tokens), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", SPANS, ids=str)
def test_a_window_of_any_width_behind_a_prompt_of_any_length(
    build: Build, tokens: Int[Tensor, "batch seq"], kind: LayerKind
) -> None:
    model = build(pattern=[kind.model_dump()], position={"kind": "alibi"}, n_layers=1)
    for prompt in (1, 7, 12):
        got = generated(model, tokens, cache_of(model, tokens), prompt)
        torch.testing.assert_close(got, model(tokens), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", SPANS, ids=str)
def test_what_is_kept_is_what_the_last_token_sees(kind: LayerKind) -> None:
    for length in range(1, 15):
        assert cached_tokens(kind, length) == visible(kind, length)[-1].sum()


def test_a_prompt_by_blocks_is_kept_too() -> None:
    fields = {
        "seq_len": 300, "d_model": 16, "n_layers": 2, "position": ROPE, "attention": {"n_heads": 2},
        "pattern": [{"span": "sliding", "window": 32}, {"span": "chunked", "window": 64}],
    }  # fmt: skip
    model = Transformer(validated(TransformerConfig, fields)).double().eval()
    tokens = torch.randint(0, 256, (2, 260), generator=torch.Generator().manual_seed(0))
    got = generated(model, tokens, cache_of(model, tokens), 256)
    torch.testing.assert_close(got, model(tokens), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_a_rope_that_depends_on_the_length_takes_the_capacity_for_it(
    build: Build, tokens: Int[Tensor, "batch seq"], kind: str
) -> None:
    model = build(position={**ROPE, "rescale": {"kind": kind, **RESCALES[kind]}})
    short, room = tokens[:, :5], KVCache(model.config, 2, 12, dtype=torch.float64)
    got = generated(model, short, room, 3)
    torch.testing.assert_close(got, model(tokens)[:, :5], rtol=1e-9, atol=1e-9)
    assert (got - model(short)).abs().max() > 1e-3


def test_a_layer_has_no_more_room_than_its_window(build: Build) -> None:
    model = build(n_layers=3, pattern=MIXED, attention={"n_kv_heads": 2})
    for capacity, slots in ((12, [4, 5, 12]), (3, [3, 3, 3])):
        cache = KVCache(model.config, 2, capacity, torch.bfloat16)
        for layer, expected in enumerate(slots):
            for buffer in cache.layer(layer)[:2]:
                assert buffer.shape == (2, 2, expected, 4)
                assert buffer.dtype == torch.bfloat16


def test_an_emptied_cache_has_forgotten(build: Build, tokens: Int[Tensor, "batch seq"]) -> None:
    model = build(n_layers=3, pattern=MIXED)
    cache = cache_of(model, tokens)
    generated(model, tokens.flip(1), cache, 5)
    assert cache.length == 12
    cache.length = 0
    torch.testing.assert_close(generated(model, tokens, cache, 2), model(tokens), rtol=1e-9, atol=1e-9)


def test_buffers_stay_where_they_are_and_out_of_the_graph(
    build: Build, tokens: Int[Tensor, "batch seq"]
) -> None:
    model = build().train()
    cache = cache_of(model, tokens)
    before = [buffer.data_ptr() for buffer in cache.layer(1)[:2]]
    for i in range(12):
        logits = model(tokens[:, i : i + 1], cache)
    logits.sum().backward()
    assert [buffer.data_ptr() for buffer in cache.layer(1)[:2]] == before
    assert not any(buffer.requires_grad for buffer in cache.layer(1)[:2])
    gradient = model.get_parameter("blocks.0.attn.q_proj.weight").grad
    assert gradient is not None
    assert gradient.any()


class Made(TorchDispatchMode):
    """Notes the elements of every tensor an operation returns, but views of the cache's buffers."""

    def __init__(self, cache: KVCache, layers: int) -> None:
        super().__init__()
        buffers = [buffer for layer in range(layers) for buffer in cache.layer(layer)[:2]]
        self.known = {buffer.untyped_storage().data_ptr() for buffer in buffers}
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            if isinstance(each, Tensor) and each.untyped_storage().data_ptr() not in self.known:
                self.sizes.append(each.numel())
        return out


@pytest.mark.parametrize("heads", [4, 2, 1])
def test_a_step_makes_nothing_that_grows_with_the_cache(build: Build, heads: int) -> None:
    model = build(seq_len=200, position=ROPE, attention={"n_kv_heads": heads})
    found = []
    for length in (20, 199):
        cache = KVCache(model.config, 1, 200, torch.float64)
        with torch.no_grad():
            model(torch.zeros(1, length, dtype=torch.long), cache)
            with Made(cache, 2) as made:
                model(torch.zeros(1, 1, dtype=torch.long), cache)
        found.append(made.sizes)
    assert found[0] == found[1]
    assert len(found[0]) > 50


def test_a_step_with_biases_makes_one_row_of_them(build: Build) -> None:
    model = build(seq_len=200, position={"kind": "alibi"})
    cache = KVCache(model.config, 1, 200, torch.float64)
    with torch.no_grad():
        model(torch.zeros(1, 150, dtype=torch.long), cache)
        with Made(cache, 2) as made:
            model(torch.zeros(1, 1, dtype=torch.long), cache)
    assert max(made.sizes) == 4 * 151


@pytest.mark.parametrize(
    ("held", "batch", "new", "line"),
    [
        (0, 2, 9, "cache.capacity: got a sequence of 9 tokens; at most 8"),
        (8, 2, 1, "cache.capacity: got a sequence of 9 tokens; at most 8"),
        (3, 2, 2, "tokens: got 2 a sequence behind 3 in the cache; accepted: 1"),
        (0, 3, 2, "cache.batch: got 3 sequences; the cache is for 2"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(build: Build, held: int, batch: int, new: int, line: str) -> None:
    model = build(n_layers=3, pattern=MIXED)
    cache = KVCache(model.config, 2, 8, torch.float64)
    if held:
        model(torch.zeros(2, held, dtype=torch.long), cache)
    with pytest.raises(ConfigError, match=f"^{line}$"):
        model(torch.zeros(batch, new, dtype=torch.long), cache)
    assert cache.length == held


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ((2, 13), "cache.capacity: got 13; at most model.seq_len 12"),
        ((2, 0), "cache.capacity: got 0; must be at least 1"),
        ((0, 4), "cache.batch: got 0; must be at least 1"),
    ],
)
def test_a_cache_that_cannot_be_is_refused(build: Build, sizes: tuple[int, int], line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}$"):
        KVCache(build().config, *sizes)


def test_a_cache_of_another_type_or_for_longer_sequences_is_refused(
    build: Build, tokens: Int[Tensor, "batch seq"]
) -> None:
    model, wider = build(), build(seq_len=14)
    with pytest.raises(ConfigError, match=r"^cache\.dtype: got torch\.float32; .* are torch\.float64$"):
        model(tokens, KVCache(model.config, 2))
    cache = KVCache(wider.config, 2, dtype=torch.float64)
    model(tokens, cache)
    with pytest.raises(ConfigError, match=r"^model\.seq_len: got a sequence of 13 tokens; at most 12$"):
        model(tokens[:, :1], cache)
