"""Write ``docs/cost.md``: what the prediction means, and what it says of the lecture's comparisons.

Run ``python benchmarks/cost_page.py``; nothing is measured, so every machine writes the same page.
"""

from collections.abc import Iterator
from pathlib import Path

from stabilitykit.cost import COMPARISONS, Prediction, Workload, predict, variants
from stabilitykit.cost.comparisons import GROWTH
from stabilitykit.model.config import validated
from stabilitykit.model.presets import preset, preset_fields

PAGE = Path(__file__).parent.parent / "docs" / "cost.md"

_TEXT = """# What an architecture costs

```sh
stabilitykit cost --arch llama3                        # every operation: FLOPs beside bytes
stabilitykit cost --arch gpt2 --compare llama2         # side by side, with ratios
stabilitykit cost --arch llama3 --scale release --compare kv_heads --dtype bfloat16
stabilitykit cost --compare norm            # also bias, window, order, placement, glu, softcap, qk_norm
stabilitykit cost --recipe cost_shares                 # which of the lecture's orders of costs hold here
stabilitykit cost --compare norm --json > cost.json    # and stabilitykit report cost.json draws it
```

All of it is computed from the configuration; no weight is built, so any size can be asked for. Only the two
peaks are measured, on the machine that runs the command, by one product of matrices and one copy. `at least`
is the roofline's bound, the larger of FLOPs over one peak and bytes over the other, one operation after
another. Where memory would not suffice, the page says so.

## What is counted

- A multiply-add is 2 FLOPs; a comparison, an exponential, a root, tanh and erf are 1 each.
- Of attention only those pairs of query and key count that the mask leaves. `dense_flops` in the JSON counts
  the hidden ones, too, where the kernel is handed them: that is the number of torch's flop counter, which the
  tests compare with to the last FLOP, for every preset at its published widths, over one period of its
  layers. What the fused kernel computes again in its backward counts in neither.
- Every operation reads each of its tensors once and writes each of its results once, in one type. Nothing
  stays in a cache from one operation to the next. The fused attention kernel writes no T×T tensor; capped
  logits, sinks, learned biases and dropout of attention go matrix by matrix, and do. Masks cost nothing.
- The classes are the lecture's: products of matrices; what takes statistics of a row, norms and softmax
  alike; everything else. DyT and Derf take no statistics.
- Memory is the sum of weights, gradients, the optimizer's state, what forward keeps for backward (within
  10 % of what autograd keeps, in the tests, where attention runs matrix by matrix), and the largest single
  operation. Clipping, and the allocator's own, are not in it.
- `decode` is one new token a sequence, which sees `--cache` tokens, itself included. The model here has no
  cache of its own: decoding is predicted, not run.

Written by `python benchmarks/cost_page.py`; a ratio is to the first row of what is varied.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page."""
    return "\n".join([_TEXT, *_classes(), *_comparisons(), *_cache()]) + "\n"


def _classes() -> Iterator[str]:
    yield "## Shares of the classes\n"
    yield "One training step in float32, batch 8, the longest sequence: FLOPs, and bytes, in %.\n"
    yield "| architecture | size | contraction | normalisation | element-wise |\n|---|---|---|---|---|"
    for name, scale in (("gpt2", "medium"), ("llama2", "medium"), ("gemma2", "medium"), ("olmo2", "medium")):
        config = preset(name, scale)
        rows = predict(config, Workload(length=config.seq_len)).to_json(None)["classes"]
        shares = [f"{100 * row['flops_share']:.2f}, {100 * row['bytes_share']:.1f}" for row in rows]
        yield f"| {name} | {scale} | {' | '.join(shares)} |"
    yield ""


def _comparisons() -> Iterator[str]:
    yield "## The lecture's comparisons\n"
    yield "`llama2` at the scale `medium`, one training step, batch 8, float32.\n"
    yield "| varied | | parameters | FLOPs | bytes | memory |\n|---|---|---|---|---|---|"
    fields = preset_fields("llama2", "medium")
    for name, comparison in COMPARISONS.items():
        if comparison.growing:
            continue
        found = {
            each.label: predict(each.config, Workload(length=each.config.seq_len))
            for each in variants(name, fields)
        }
        first = next(iter(found.values()))
        for label, one in found.items():
            yield f"| `{name}` | {label} | {' | '.join(_ratios(first, one))} |"
    yield ""


def _ratios(first: Prediction, one: Prediction) -> list[str]:
    pairs = [
        (one.parameters, first.parameters),
        (one.total.flops, first.total.flops),
        (one.total.bytes, first.total.bytes),
        (one.memory.total, first.memory.total),
    ]
    return [f"{each / by:.4g}" for each, by in pairs]


def _cache() -> Iterator[str]:
    yield "## Decoding where the cache grows\n"
    yield "`llama3` as released, batch 8, bfloat16, one token a sequence.\n"
    yield "| cache | | FLOP/byte | GB moved | KV cache, GB |\n|---|---|---|---|---|"
    for times in GROWTH:
        for each in variants("kv_heads", preset_fields("llama3", "release")):
            length = each.config.seq_len * times
            config = validated(type(each.config), {**each.config.model_dump(), "seq_len": length})
            one = predict(config, Workload("decode", 8, length, "bfloat16"))
            moved, cache = one.total.bytes / 1e9, one.memory.kv_cache / 1e9
            yield f"| {length:,} | {each.label} | {one.total.intensity:.3g} | {moved:.4g} | {cache:.4g} |"


if __name__ == "__main__":
    main()
