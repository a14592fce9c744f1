"""What a model does outside its blocks: embedding, head and loss."""

from collections.abc import Iterator

from stabilitykit.lab.cost.operation import Operation, Work
from stabilitykit.lab.cost.predicted.attention import logit_bias
from stabilitykit.lab.cost.predicted.traffic import Case, dropout, factor, linear, norm, pointwise

_INDEX = 8
"""Bytes of a token's number."""


def embedding(case: Case) -> Iterator[Operation]:
    """Yield what turns tokens into the line, and the bias on logits that all layers share.

    Args:
        case: Model and workload.
    """
    config, section, n = case.config, case.config.embedding, case.tokens * case.config.d_model
    yield _gather(case)
    if section.scale != 1:
        yield pointwise(case, "embed.scale", n)
    if config.position.kind in ("learned", "sine"):
        learned = config.position.kind == "learned"
        rows = case.workload.queries * config.d_model
        back = (1, 1, 0) if learned else (0, 0, 0)
        yield pointwise(case, "embed.position", n, shared=rows, back=back)
    if section.norm:
        yield norm(case, "embed.norm", case.tokens, config.d_model, config.norm_of("embed"))
    yield from dropout(case, "embed.dropout", n, section.dropout)
    yield from logit_bias(case)


def head(case: Case) -> Iterator[Operation]:
    """Yield the final norm, the logits, and in training the loss.

    Args:
        case: Model and workload.
    """
    config, section = case.config, case.config.head
    n = case.tokens * config.vocab_size
    if config.has_final_norm:
        yield norm(case, "final_norm", case.tokens, config.d_model, config.norm_of("final"))
    yield from linear(case, "head.linear", config.d_model, config.vocab_size, section.bias)
    if config.output_scale != 1:
        yield pointwise(case, "head.scale", n)
    if section.gain:
        yield factor(case, "head.gain", n, config.vocab_size)
    if section.softcap is not None:
        yield pointwise(case, "head.softcap", n, flops=3, back=(3, 2, 1), keeps=1)
    if case.workload.mode == "train":
        yield from _loss(case, n)


def _gather(case: Case) -> Operation:
    """Return the look-up of tokens; its gradient is a table as large as the embedding."""
    config, s = case.config, case.size
    n, table = case.tokens * config.d_model, config.vocab_size * config.d_model
    index = _INDEX * case.tokens
    # The tied head's gradient is of the same table: one is added to the other.
    tied = int(config.head.tied)
    forward = Work(0, 0, s * n + index, s * n)
    flops = n + tied * table
    backward = Work(flops, flops, s * (2 * n + 2 * tied * table) + index, s * (n + (1 + tied) * table))
    return Operation("embed.token", "element-wise", forward, backward, saved=index)


def _loss(case: Case, n: int) -> Iterator[Operation]:
    """Yield cross-entropy and z-loss on one softmax in float32, which is kept."""
    wide, index = max(case.size, 4), _INDEX * case.tokens
    forward = Work(5 * n, 5 * n, case.size * n + index, wide * n)
    backward = Work(n, n, wide * n + index, case.size * n)
    saved = wide * n + index
    yield Operation("loss.cross_entropy", "normalisation", forward, backward, saved=saved)
    if case.config.head.z_loss:
        rows = case.tokens
        # The square of each row's log Z and the sum; in backward a factor on each row's share.
        yield Operation(
            "loss.z_loss",
            "element-wise",
            Work(2 * rows, 2 * rows, wide * rows, 0),
            Work(2 * rows, 2 * rows, wide * rows, wide * rows),
            saved=wide * rows,
        )
