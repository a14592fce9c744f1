"""What people call a step, a loss and the rest in their logs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from stabilitykit.errors import DataError, closest
from stabilitykit.tags import REGISTRY, split

STEP = "step"
"""What the column of steps is filed under, beside tags."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "step": (
        *("step", "global_step", "trainer/global_step", "train/global_step", "_step", "iteration", "iter"),
        *("iterations", "steps", "num_updates", "update"),
    ),
    "train/loss": (
        *("train/loss", "loss", "train_loss", "training_loss", "train/loss_step", "train_loss_step"),
        *("loss_step", "loss/train", "training/loss", "lm_loss", "train/ce_loss", "train_loss_epoch"),
        # TensorBoard's own export of one scalar.
        "value",
    ),
    "optim/grad_norm": (
        *("optim/grad_norm", "grad_norm", "train/grad_norm", "gradient_norm", "global_grad_norm"),
        *("gradnorm", "grad-norm", "gnorm", "train_grad_norm", "optim/total_grad_norm"),
    ),
    "optim/lr": (
        *("optim/lr", "lr", "learning_rate", "train/lr", "train/learning_rate", "learning-rate", "train_lr"),
        *("lr-adamw", "lr-adam", "lr-sgd", "lr-adamw/pg1", "lr-adam/pg1", "lr-sgd/pg1"),
    ),
    "train/unigram_cross_entropy": (
        *("train/unigram_cross_entropy", "unigram_cross_entropy", "train_unigram_cross_entropy"),
        "unigram_ce",
    ),
}
"""Names in lower case, the surest first. Of W&B's ``run - train/loss`` what follows the dash counts."""


def find_columns(path: Path, names: Sequence[str], given: Mapping[str, str | None]) -> dict[str, int]:
    """Return what is in a log, and in which column: tag, or ``step``, to the column's number.

    A column that bears a registered tag's name is that tag.

    Args:
        path: The log, for messages.
        names: The columns' names, in order.
        given: Tag, or ``step``, to the name that was asked for, or None to find it by name.

    Raises:
        DataError: A column that was asked for is not there; no column, or more than one, may be the loss.
    """
    columns = {name: at for at, name in enumerate(names) if split(name)[0] in REGISTRY}
    plain = [name.lower().rpartition(" - ")[2] for name in names]
    for what, asked in given.items():
        if asked is not None and asked not in names:
            raise DataError(f"{path}: no column {asked!r}; {closest(asked, names)}")
        wanted = next((name for name in NAMES[what] if name in plain), None)
        found = [at for at, name in enumerate(plain) if name == wanted]
        if asked is not None:
            found = [names.index(asked)]
        if len(found) > 1 and what == "train/loss":
            several = ", ".join(repr(names[at]) for at in found)
            raise DataError(f"{path}: several columns may be the loss: {several}; name one")
        if len(found) == 1:
            columns[what] = found[0]
    if "train/loss" not in columns:
        raise DataError(f"{path}: no loss column (as 'loss' or 'train/loss'); found: {', '.join(names)}")
    # The loss first, as in a live record.
    return {"train/loss": columns.pop("train/loss"), **columns}
