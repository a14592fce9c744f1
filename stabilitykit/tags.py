"""The registry of every tag: name, meaning, unit, merge rule. The docs' table is made from it.

A tag is ``<family>/<statistic>`` or ``<family>/<statistic>/<site>``, in ``[a-z0-9_./]``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Merge = Literal["norm", "max", "min", "mean", "sum", "last"]
"""How partials of microbatches, ranks and shards become one; ``norm`` is the root of summed squares."""


FLOAT16_MAX = 65_504.0
"""The largest float16 number: what headroom is a share of."""


@dataclass(frozen=True, slots=True)
class TagFamily:
    """All tags that share ``<family>/<statistic>``."""

    name: str
    meaning: str
    unit: str
    merge: Merge
    sites: str
    """What stands in the place of ``<site>``, or an empty text for a tag without one."""
    kind: Literal["exact", "bound", "sampled"] = "exact"
    chart: bool = False
    """Whether TensorBoard gets it as scalars: few, readable charts."""


REGISTRY: dict[str, TagFamily] = {
    family.name: family
    for family in (
        TagFamily(
            "train/loss",
            "training loss of the step's batch, before the update",
            "nats",
            "mean",
            "",
            chart=True,
        ),
        TagFamily(
            "train/unigram_cross_entropy",
            "cross-entropy of the batch's targets under the training split's unigram distribution",
            "nats",
            "mean",
            "",
            chart=True,
        ),
        TagFamily(
            "train/cross_entropy",
            "cross-entropy alone, where a z-loss is part of the loss",
            "nats",
            "mean",
            "",
        ),
        TagFamily("train/z_loss", "what the z-loss adds to the loss", "nats", "mean", ""),
        TagFamily(
            "train/preconditioned_sharpness",
            "largest eigenvalue of Adam's preconditioned Hessian on the batch (Cohen 2207.14484), to 1 %",
            "",
            "mean",
            "",
        ),
        TagFamily(
            "train/edge_of_stability",
            "the same over (2 + 2·β1)/((1 − β1)·η), 38/η at β1 = 0.9; at 1 Adam is at the edge",
            "",
            "mean",
            "",
            chart=True,
        ),
        TagFamily(
            "monitor/every_n_steps",
            "steps from one observed to the next, under a budget",
            "steps",
            "last",
            "",
        ),
        TagFamily("optim/lr", "learning rate of the first parameter group", "", "last", "", chart=True),
        TagFamily(
            "optim/grad_norm",
            "2-norm of all gradients, unscaled, before clipping",
            "",
            "norm",
            "",
            chart=True,
        ),
        TagFamily(
            "optim/clip_factor",
            "norm of the gradients at the optimizer's step over that before, below 1 where clipped; from "
            "parameters read in full",
            "",
            "last",
            "",
            chart=True,
        ),
        TagFamily(
            "optim/skipped",
            "1 when no optimizer stepped, as a loss scaler does on overflow, else 0",
            "",
            "max",
            "",
        ),
        TagFamily(
            "optim/loss_scale", "what the loss was multiplied with for the backward pass", "", "last", ""
        ),
        TagFamily(
            "optim/update_norm",
            "2-norm of what the optimizer's step changed; exact up to 2^18 elements",
            "",
            "norm",
            "group",
        ),
        TagFamily(
            "optim/update_ratio",
            "2-norm of the update over 2-norm of the weights; exact up to 2^18 elements",
            "",
            "norm",
            "group",
            kind="sampled",
            chart=True,
        ),
        TagFamily(
            "optim/rms_t",
            "root mean square of gradient over Adam's root second moment, as the optimizer saw them "
            "(Wortsman 2304.13013); exact up to 2^18 elements",
            "",
            "norm",
            "group",
            kind="sampled",
            chart=True,
        ),
        TagFamily(
            "optim/staleness",
            "the same times √(1 − β2): 1 where second moments hold nothing but the last gradient",
            "0 to 1",
            "norm",
            "group",
            kind="sampled",
        ),
        TagFamily(
            "optim/grad_cosine",
            "cosine of the gradient and that of the observed step before, all parameters; of n independent "
            "elements 0 ± 1/√n",
            "-1 to 1",
            "last",
            "",
            kind="sampled",
            chart=True,
        ),
        TagFamily(
            "grad/cosine", "the same over a group's parameters", "-1 to 1", "last", "group", kind="sampled"
        ),
        TagFamily(
            "grad/norm", "2-norm of a group's gradients, unscaled, before clipping", "", "norm", "group"
        ),
        TagFamily(
            "grad/share",
            "2-norm of a group's gradients over the global one",
            "",
            "norm",
            "group",
            chart=True,
        ),
        TagFamily("act/rms", "root mean square of an activation", "", "norm", "site", chart=True),
        TagFamily("act/max_abs", "largest absolute value of an activation", "", "max", "site"),
        TagFamily(
            "act/headroom",
            "the largest number of float16, 65,504, over the largest absolute activation read",
            "",
            "min",
            "",
        ),
        TagFamily("act/nonfinite", "1 when an activation holds NaN or Inf, else 0", "", "max", "site"),
        TagFamily(
            "act/massive",
            "largest over median absolute value of one sequence's activation, every 10th observed step "
            "(Sun 2402.17762); Gaussian: 6 to 8",
            "",
            "last",
            "site",
            kind="sampled",
        ),
        TagFamily(
            "act/kurtosis",
            "fourth moment of channels' root mean squares over their squared second, on one sequence, "
            "every 10th observed step (He 2405.19279); Gaussian: 1",
            "1 to width",
            "last",
            "site",
            kind="sampled",
        ),
        TagFamily(
            "act/token_spread",
            "1 minus the mean cosine of all pairs of tokens of one sequence, every 10th observed step; "
            "Gaussian: 1, all alike: 0",
            "0 to 2",
            "last",
            "site",
            kind="sampled",
        ),
        TagFamily(
            "act/silent_units",
            "share of hidden units that are silent on all tokens of one sequence, every 10th observed step; "
            "a unit that fires at rate p looks so on n tokens with probability (1 - p)^n",
            "0 to 1",
            "last",
            "site",
            kind="sampled",
        ),
        TagFamily(
            "attn/logit_max",
            "largest attention logit found on the rows looked at; exact where attn/logit_max_bound equals it",
            "",
            "max",
            "block",
            kind="sampled",
            chart=True,
        ),
        TagFamily(
            "attn/logit_max_bound",
            "upper bound of the largest attention logit, from the log-sum-exp of every row",
            "",
            "max",
            "block",
            kind="bound",
        ),
        TagFamily(
            "attn/entropy",
            "attention entropy over its maximum ln n, mean over sampled rows and all heads",
            "0 to 1",
            "mean",
            "block",
            kind="sampled",
            chart=True,
        ),
        TagFamily(
            "attn/entropy_min",
            "the same mean for the head where it is lowest",
            "0 to 1",
            "min",
            "block",
            kind="sampled",
        ),
        TagFamily(
            "moe/router_entropy",
            "entropy of a router's chances (softmax, or sigmoids over their sum) over its maximum ln n of n "
            "experts, mean over tokens; all alike: 1, one expert for certain: 0",
            "0 to 1",
            "mean",
            "block",
            chart=True,
        ),
        TagFamily(
            "moe/max_share",
            "share of all choices that fell on the expert chosen most; balanced: 1/n, all on one: 1",
            "0 to 1",
            "max",
            "block",
            chart=True,
        ),
        TagFamily(
            "moe/min_share",
            "share of all choices that fell on the expert chosen least; balanced: 1/n, an unused expert: 0",
            "0 to 1",
            "min",
            "block",
        ),
        TagFamily(
            "moe/dropped",
            "share of tokens that no expert chose, where experts choose tokens",
            "0 to 1",
            "mean",
            "block",
        ),
        TagFamily("norm/gain_rms", "root mean square of a norm's gain", "", "last", "norm"),
        TagFamily(
            "output/log_z",
            "log-sum-exp of the output logits, mean over sampled tokens",
            "nats",
            "mean",
            "",
            kind="sampled",
            chart=True,
        ),
    )
}


def tag(name: str, site: str = "") -> str:
    """Return the tag of a statistic at a site.

    Args:
        name: ``<family>/<statistic>`` as in the registry.
        site: The site, or nothing for a tag without one.

    Raises:
        KeyError: The registry does not hold ``name``.
    """
    if name not in REGISTRY:
        raise KeyError(f"{name!r} is not in stabilitykit.tags.REGISTRY")
    return f"{name}/{site}" if site else name


def split(tag: str) -> tuple[str, str]:
    """Return ``(<family>/<statistic>, site)`` of a tag; the site is empty where there is none."""
    family, _, rest = tag.partition("/")
    statistic, _, site = rest.partition("/")
    return f"{family}/{statistic}", site


def site_of(tag: str) -> str:
    """Return the site that a finding on ``tag`` names: its site, or the tag itself where it has none."""
    return split(tag)[1] or tag


def role_of(site: str, renamed: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return what a site is in its block: ``resid_post`` of ``blocks.03.resid_post``, whatever it is called.

    Args:
        site: The site.
        renamed: Conventional names of renamed sites, as a step record has them.
    """
    return renamed.get(site, site).rpartition(".")[2]


def by_conventional_site(
    tags: Iterable[str], name: str, renamed: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return the tags of a family by their site's conventional name, in order.

    Args:
        tags: All tags.
        name: The family.
        renamed: Conventional names of renamed sites, as a step record has them.
    """
    sites = [(split(tag)[1], tag) for tag in select(tags, name)]
    return {renamed.get(site, site): tag for site, tag in sites}


def block_site(index: int, n_blocks: int) -> str:
    """Return the site of a block, zero-padded so that sorting is depth: ``blocks.03``."""
    return f"blocks.{index:0{max(2, len(str(n_blocks - 1)))}d}"


def select(tags: Iterable[str], name: str) -> tuple[str, ...]:
    """Return those tags that belong to the family ``name``, in order."""
    prefix = name + "/"
    return tuple(each for each in tags if each == name or each.startswith(prefix))


def markdown_table() -> str:
    """Return the registry as the table of docs/tags.md."""
    rows = [
        f"| `{family.name}{f'/<{family.sites}>' if family.sites else ''}` | {family.meaning} | "
        f"{family.unit or '1'} | {family.merge} | {family.kind} | {'yes' if family.chart else ''} |"
        for family in REGISTRY.values()
    ]
    head = ["| tag | meaning | unit | merged by | kind | chart |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"
