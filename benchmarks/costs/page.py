"""Write ``docs/cost.md``: what ``cost`` computes and measures, and what it says of the lecture's comparisons.

Run ``python -m benchmarks.costs.page``. What is computed is computed anew; what was measured is read from
``figures.json``, which ``figures.py`` wrote.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.costs.figures import FILE, WORKLOAD
from stabilitykit.lab.cost import COMPARISONS, Prediction, Workload, predict, variants
from stabilitykit.lab.cost.comparisons import GROWTH
from stabilitykit.lab.model.presets import preset, preset_fields
from stabilitykit.lab.validation import validated

PAGE = Path(__file__).parents[2] / "docs" / "cost.md"

_TEXT = """# What an architecture costs

```sh
stabilitykit cost --arch llama3                        # every operation: FLOPs, bytes, time
stabilitykit cost --arch gpt2 --compare llama2         # side by side, in turns, ratios with intervals
stabilitykit cost --compare norm            # also bias, window, order, placement, glu, softcap, qk_norm
stabilitykit cost --compare kv_heads        # decoding behind a cache that grows
stabilitykit cost --compare monitor         # what watching costs
stabilitykit cost --arch llama3 --scale release --mode decode --dtype bfloat16 --predict
stabilitykit cost --recipe cost_shares      # which of the lecture's orders of costs hold here
stabilitykit cost --compare norm --json > cost.json    # and stabilitykit report cost.json draws it
```

FLOPs, bytes and memory are computed from the configuration; with `--predict` no weight is built, so any size
can be asked for. Without it, what would not fit in memory is refused before anything is allocated, and then
steps are run. `at least` is the roofline's bound: the larger of FLOPs over one peak and bytes over the other,
one operation after another; the peaks are measured by one product of matrices and one copy.

## What is counted

- A multiply-add is 2 FLOPs; a comparison, an exponential, a root, tanh and erf are 1 each.
- Of attention only those pairs of query and key count that the mask leaves. `dense_flops` in the JSON counts
  the hidden ones, too, where the kernel is handed them: that is the number of torch's flop counter, which the
  tests compare with to the last FLOP, for every preset at its published widths, over one period of its
  layers. What the fused kernel computes again in its backward counts in neither.
- Every operation reads each of its tensors once and writes each of its results once, in one type. Nothing
  stays in a cache from one operation to the next. The fused attention kernel writes no T×T tensor; capped
  logits, sinks, learned biases and dropout of attention go matrix by matrix, and do. Masks cost nothing.
- Where a tensor is read several times (the line by branch and skip, a norm's result by three projections)
  its gradients are added up: `gradient_sums`.
- The classes are the lecture's: products of matrices; what takes statistics of a row, norms and softmax
  alike; everything else. DyT and Derf take no statistics. A fused attention kernel counts as a product: its
  softmax never leaves it.
- Memory is the sum of weights, gradients, the optimizer's state, what forward keeps for backward (within
  10 % of what autograd keeps, in the tests, where attention runs matrix by matrix), and the largest single
  operation. Clipping, and the allocator's own, are not in it.

## What is measured

- Each round runs every model once as it is, which is `step`, and once under torch's profiler; the order turns
  around from round to round. Times are medians with quartiles, ratios are of the same round, with the
  bootstrap's 95 % interval of their median. Two steps before the first round do not count.
- Every operator of torch that ran is a kernel with its own time. Forward it belongs to the place in the model
  that called it; backward to the operation whose forward made the autograd node, by the number that both
  carry. `unattributed_share` says what is left: below 3 % in the tests, for every preset.
- What lies outside of kernels, in Python and the autograd engine, is `outside_share` of the step. The
  profiler slows Python down, not kernels, so shares of time are of kernels.
- `kernels` names those that ran, at 5 % or more of an operation's pass. One alone is called fused. What has
  none of its own is `done_by` another: a bias is added by its product, softmax within fused attention.
- `attn.copies`, `attn.mask` and `attn.cache` are work that the prediction does not know: bringing heads
  together, masks, writing to the cache.
- On a GPU times are the device's, by the operator that launched the kernel. That path is tested on records
  written by hand only.

## Any other model

```python
from stabilitykit.lab.cost import profile

priced = profile(model, {"input_ids": tokens, "labels": tokens}, optimizer=optimizer)
priced.to_json()
```

`profile` takes any module and a batch: a tensor, a tuple of arguments, or named ones. The loss is a
function of what the model returns; by default its own `loss`, else the mean of its first floats. One step
is counted operator by operator; then steps are timed as for our own models. A module without children is
one operation (`model.layers.*.self_attn.q_proj`); in a module with children each function of torch is one
(`model.layers.*.mlp.mul`). Layers add up. Views, and the copies that they need, stand under `layout`.

FLOPs of products are those of torch's flop counter, with the two kernels that it leaves out: attention on
the CPU, and grouped products of experts. What a mask hides counts as computed. Norms and softmax have the
factors above; all else counts one for each element; copies and look-ups compute nothing. Every tensor
counts once in and once out.

The model stays as it was: weights, buffers, gradients, hooks, random numbers. With an optimizer it is
trained on that batch, by 13 steps at least.

`stabilitykit cost --hf CONFIG.json` does this for a language model of transformers (`pip install
'stabilitykit[hf]'`), from its configuration file alone, with random weights; `--compare OTHER.json` runs
two in turns. It is first counted on torch's meta device, and refused where memory is short; `--predict`
prints that count. There attention runs matrix by matrix, and so moves and keeps more than a fused kernel.
Some mixtures of experts do not run there, and can only be measured.

"""


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page."""
    figures = json.loads(FILE.read_text(encoding="utf-8"))
    parts = (_shares(figures), _norms(figures), _comparisons(figures), _decode(figures), _released())
    return _TEXT + "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _shares(figures: Mapping[str, Any]) -> Iterator[str]:
    yield "## FLOPs are not runtime\n"
    peaks, first = figures["peaks"], figures["shares"][0]["measured"]
    yield (
        f"One training step at the scale `small`, batch {WORKLOAD.batch}, {WORKLOAD.length} tokens, float32: "
        "FLOPs, bytes and measured time of each class, in %. The machine: "
        f"{first['device']}, {first['threads']} thread, torch {first['torch']}, "
        f"{peaks['flops_per_s'] / 1e9:.0f} GFLOP/s and {peaks['bytes_per_s'] / 1e9:.1f} GB/s at most.\n"
    )
    yield "| architecture | contraction | normalisation | element-wise | step | outside | unattributed |"
    yield "|---|---|---|---|---|---|---|"
    for row in figures["shares"]:
        cells = [
            ", ".join(_percent(each[key]) for key in ("flops_share", "bytes_share", "time_share"))
            for each in row["classes"]
        ]
        measured = row["measured"]
        step = f"{1000 * measured['step_s']['median']:.0f} ms"
        rest = [step, _percent(measured["outside_share"]), _percent(measured["unattributed_share"])]
        yield f"| {row['arch']} | {' | '.join([*cells, *rest])} |"
    yield ""
    yield from _lecture(figures["shares"], peaks["ridge"])


def _lecture(rows: list[dict[str, Any]], ridge: float) -> Iterator[str]:
    factors = {row["arch"]: _factor(row) for row in rows}
    low, high = min(factors, key=factors.__getitem__), max(factors, key=factors.__getitem__)
    yield (
        "`outside` is the part of the step in no kernel. The lecture (Ivanov et al. 2007.00072, table 1, "
        "on a GPU) has 99.8, 0.17 and 0.03 % of the FLOPs and 61, 25.5 and 13.5 % of the time. Here "
        f"normalisation's share of time is {factors[low]:.1f} ({low}) to {factors[high]:.0f} ({high}) times "
        f"its share of FLOPs. One core computes slowly for what its memory gives it: from {ridge:.1f} FLOPs "
        "a byte on arithmetic limits, on a GPU from some hundreds, so here products take more of the time. "
        "gpt2 trains with dropout: drawing its masks is element-wise, and on a CPU slow; dropout of "
        "attention also leaves the fused kernel, as gemma2's capped logits do.\n"
    )


def _factor(row: Mapping[str, Any]) -> float:
    norm = next(each for each in row["classes"] if each["class"] == "normalisation")
    return float(norm["time_share"] / norm["flops_share"])


def _norms(figures: Mapping[str, Any]) -> Iterator[str]:
    rows = figures["norms"]
    widths = list(dict.fromkeys(row["width"] for row in rows))
    yield "## LayerNorm and RMSNorm\n"
    yield (
        "RMSNorm needs 4 FLOPs an element and LayerNorm 7, and both move the same bytes. Whether it is "
        "quicker depends on which kernels are compared. `llama2` in `small`, and with d 1,024 and 2 layers; "
        f"{WORKLOAD.tokens} tokens; all norms of a training step, forward and backward:\n"
    )
    yield f"| norms | kernels forward | {' | '.join(f'{each}: ms, share of time' for each in widths)} |"
    yield f"|---|---|{'---|' * len(widths)}"
    for label in dict.fromkeys(row["arch"] for row in rows if "seconds" in row):
        found = [next(r for r in rows if r["arch"] == label and r["width"] == each) for each in widths]
        cells = [f"{1000 * r['seconds']['median']:.2f}, {_percent(r['share'])} %" for r in found]
        kernels = " ".join(f"`{each}`" for each in found[0]["kernels"]["forward"])
        yield f"| {label} | {kernels} | {' | '.join(cells)} |"
    yield ""
    yield f"| RMSNorm's time over LayerNorm's | {' | '.join(widths)} |"
    yield f"|---|{'---|' * len(widths)}"
    told = {
        "": "this toolkit's",
        ", torch's": "torch's functions",
        ", composite": "every operation by itself",
    }
    for suffix, name in told.items():
        label = f"RMSNorm / LayerNorm{suffix}"
        found = [next(r["ratio"] for r in rows if r["arch"] == label and r["width"] == w) for w in widths]
        yield f"| {name} | {' | '.join(_interval(each) for each in found)} |"
    yield ""
    yield (
        "Like with like, operation by operation, RMSNorm is the quicker one, as the lecture says. With "
        "torch's own functions on a CPU the claim turns around: `F.layer_norm` is one kernel there and "
        "`F.rms_norm` several, each of which reads and writes the whole tensor. This toolkit's RMSNorm takes "
        "its backward through LayerNorm's kernel; its LayerNorm adds the bias by itself, as every norm here "
        "does. None of it moves the step by much: all norms together are a few hundredths of the time at "
        "these sizes.\n"
    )


def _comparisons(figures: Mapping[str, Any]) -> Iterator[str]:
    measured = {(row["name"], row["arch"]): row["measured_ratios"] for row in figures["comparisons"]}
    yield "## The lecture's comparisons\n"
    yield (
        f"`llama2` in `small`, one training step, batch {WORKLOAD.batch}, {WORKLOAD.length} tokens, float32: "
        "ratios to the first row of what is varied; the last two are measured.\n"
    )
    yield "| varied | | parameters | FLOPs | bytes | memory | step | kernels |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in COMPARISONS:
        if name in ("norm", "kv_heads"):
            continue
        found = {
            each.label: predict(each.config, WORKLOAD)
            for each in variants(name, preset_fields("llama2", "small"))
        }
        first = next(iter(found.values()))
        for label, one in found.items():
            ratios = measured[name, label]
            times = [_interval(ratios[each]) for each in ("step", "kernels")] if ratios else ["1", "1"]
            yield f"| `{name}` | {label} | {' | '.join([*_ratios(first, one), *times])} |"
    yield ""


def _ratios(first: Prediction, one: Prediction) -> list[str]:
    pairs = [
        (one.parameters, first.parameters),
        (one.total.flops, first.total.flops),
        (one.total.bytes, first.total.bytes),
        (one.memory.total, first.memory.total),
    ]
    return [f"{each / by:.4g}" for each, by in pairs]


def _decode(figures: Mapping[str, Any]) -> Iterator[str]:
    rows = figures["decode"]
    yield "## Decoding where the cache grows\n"
    yield (
        "`llama2` in `small`, batch 8, one token a sequence, float32, measured. At each step attention does "
        "2h/(g·s) FLOPs for a byte of keys and values, whatever the cache's length and the batch.\n"
    )
    yield "| cache | | attention, FLOP/byte | attention | ratio | GFLOP/s in it | step | ratio |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        times, attention = row["measured"], row["attention"]
        took = times["attention_s"]["median"]
        cells = [
            f"{attention['intensity']:.3g}",
            f"{1000 * took:.2f} ms",
            _interval(times["attention_ratio"]),
            f"{attention['flops'] / took / 1e9:.2f}",
            f"{1000 * times['step_s']['median']:.1f} ms",
            _interval(times["step_ratio"]),
        ]
        yield f"| {row['cache']:,} | {row['arch']} | {' | '.join(cells)} |"
    yield ""


def _released() -> Iterator[str]:
    yield "`llama3` as released, batch 8, bfloat16, computed:\n"
    yield "| cache | | FLOP/byte | GB moved | KV cache, GB |\n|---|---|---|---|---|"
    for times in GROWTH:
        for each in variants("kv_heads", preset_fields("llama3", "release")):
            length = each.config.seq_len * times
            config = validated(type(each.config), {**each.config.model_dump(), "seq_len": length})
            one = predict(config, Workload("decode", 8, length, "bfloat16"))
            moved, cache = one.total.bytes / 1e9, one.memory.kv_cache / 1e9
            yield f"| {length:,} | {each.label} | {one.total.intensity:.3g} | {moved:.4g} | {cache:.4g} |"
    yield ""
    yield "Shares of the classes as released, one training step, batch 1, 1,024 tokens, bfloat16, computed:\n"
    yield "| architecture | contraction | normalisation | element-wise |\n|---|---|---|---|"
    for name in ("gpt2", "llama2", "gemma2", "olmo2"):
        config = preset(name, "release")
        rows = predict(config, Workload("train", 1, 1024, "bfloat16")).side(name, None).to_json()["classes"]
        shares = [f"{100 * row['flops_share']:.2f}, {100 * row['bytes_share']:.1f}" for row in rows]
        yield f"| {name} | {' | '.join(shares)} |"
    yield ""


def _percent(share: float) -> str:
    return f"{100 * share:.3g}"


def _interval(ratio: Mapping[str, float]) -> str:
    if ratio["low"] == ratio["high"]:
        return f"{ratio['median']:.3g}"
    return f"{ratio['median']:.3g} ({ratio['low']:.3g}–{ratio['high']:.3g})"


if __name__ == "__main__":
    main()
