"""What people call a step, a loss and the rest in their logs."""

import re
from collections.abc import Mapping

STEP = "step"
"""What the column of steps is filed under, beside tags."""
EPOCH = "epoch"
"""What the column of epochs is filed under: steps may begin anew with each."""
LOSS = "train/loss"

NAMES: Mapping[str, tuple[str, ...]] = {
    STEP: (
        *("step", "global_step", "trainer/global_step", "train/global_step", "_step", "iteration", "iter"),
        *("iterations", "steps", "num_updates", "update", "updates", "train_step", "training_step", "it"),
        *("iter_num", "current_step", "current_steps", "train/step", "global_step/max_steps", "up"),
        *("num_update", "batch", "s"),
    ),
    LOSS: (
        *("train/loss", "loss", "train_loss", "training_loss", "train/loss_step", "train_loss_step"),
        *("loss_step", "loss/train", "training/loss", "lm_loss", "train/ce_loss", "loss_train"),
        *("reduced_train_loss", "total_loss", "train/total_loss", "train_inner/loss", "train_loss_epoch"),
        *("loss/train/total", "train_loss/train/total", "train/crossentropyloss", "lm_loss_value"),
        *("losses/total_loss", "loss/total", "losses/total", "cost", "train/cost"),
        # llm.c's and build-nanogpt's; then TensorBoard's own export of one scalar.
        *("trl", "train", "value"),
    ),
    "optim/grad_norm": (
        *("optim/grad_norm", "grad_norm", "train/grad_norm", "gradient_norm", "global_grad_norm"),
        *("gradnorm", "gnorm", "train_grad_norm", "optim/total_grad_norm", "total_grad_norm"),
        *("train/grad_norm_step", "grad_norm_step", "train_inner/gnorm", "grad/norm", "norm"),
    ),
    "optim/lr": (
        *("optim/lr", "lr", "learning_rate", "train/lr", "train/learning_rate", "train_lr"),
        *("lr_adamw", "lr_adam", "lr_sgd", "lr_adamw/pg1", "lr_adam/pg1", "lr_sgd/pg1"),
        *("optim/learning_rate", "lr_abs", "optim/learning_rate_group0", "train_inner/lr", "lr/group_0"),
    ),
    "train/unigram_cross_entropy": (
        *("train/unigram_cross_entropy", "unigram_cross_entropy", "train_unigram_cross_entropy"),
        "unigram_ce",
    ),
    EPOCH: (
        "epoch",
        "ep",
        "train_epoch",
        "train/epoch",
        "trainer/epoch",
        "epochs",
        "current_epoch",
        "_epoch",
    ),
}
"""Names as ``plain`` writes them, the surest first."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


VALIDATION = _set(
    "val valid validate validating validation validations eval evaluate evaluating evaluation test testing"
    " dev holdout heldout vl vloss"
)
"""Words that say that a number is not of training."""
_TEST = _set("test testing dev")
_NO_LOSS = VALIDATION | _set(
    "scale scaler scaling aux auxiliary balance balancing z min max std var grad weight weights coef coeff"
    " lambda target best delta change diff difference ratio ema smooth smoothed threshold count"
)
"""Words that a column called some sort of loss must not bear."""
_OTHER = _set(
    "acc accuracy time timestamp runtime wall walltime date datetime epoch step steps iter iteration lr rate"
    " learning mfu tok toks token tokens sample samples throughput speed memory mem gpu cpu norm ppl"
    " perplexity bleu rouge f1 score reward return id seed rank size batch temperature wd decay momentum beta"
    " eta precision recall auc index entropy confidence duration elapsed seconds sec ms flops power util"
    " utilization kl length len version bytes count num number"
)
"""Words of columns that are no loss even where nothing else is left."""
_NO_STEP = _set(
    "time timestamp runtime wall walltime date datetime epoch tokens token samples sample seen flops bytes"
    " memory mem seconds sec ms elapsed duration seed id total max"
)
_SPLITS = _set("split phase mode stage subset partition dataset type event")
_LOSSES = _set("losses nll ce xent crossentropy")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_CALLED_LOSS = frozenset(NAMES[LOSS])
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BLANKS = re.compile(r"[\s\-]+")


def plain(name: str) -> str:
    """Return a name for comparing: lower case, one sort of blank; of W&B's ``run - loss`` what follows."""
    return _BLANKS.sub("_", name.rpartition(" - ")[2].strip().lower()).rstrip(".:")


def spellings(name: str) -> tuple[str, str]:
    """Return a name for comparing as it stands there, and with the words of ``TotalLoss`` parted."""
    return plain(name), plain(_HUMPS.sub("_", name))


def words(name: str) -> list[str]:
    """Return the words of a name: ``trainLoss`` has two, as has ``train/loss``."""
    return [word.lower() for word in _WORDS.findall(name)]


def is_validation(text: str) -> bool:
    """Return whether a name, or what a column of splits holds, speaks of validation."""
    return not VALIDATION.isdisjoint(words(text))


def is_named_validation(name: str) -> bool:
    """Return whether a file's or folder's name says that it is of validation; ``test.log`` leaves it open."""
    return not (VALIDATION - _TEST).isdisjoint(words(name))


def splits_rows(name: str) -> bool:
    """Return whether a column says of each row whether it is of training or of validation."""
    return plain(name) in _SPLITS


def is_called_loss(name: str) -> bool:
    """Return whether a name is one of those by which people call a training loss, as it is or in parts."""
    return not _CALLED_LOSS.isdisjoint(spellings(name))


def may_be_loss(name: str) -> bool:
    """Return whether a name speaks of a training loss, however it is written."""
    found = words(name)
    speaks = any(word.endswith("loss") or word in _LOSSES for word in found)
    speaks = speaks or {"cross", "entropy"} <= set(found)
    return speaks and _NO_LOSS.isdisjoint(found)


def may_be_anything(name: str) -> bool:
    """Return whether a name leaves open that the column is a loss."""
    return (_NO_LOSS | _OTHER).isdisjoint(words(name))


def may_be_step(name: str) -> bool:
    """Return whether a name leaves open that the column counts steps."""
    return _NO_STEP.isdisjoint(words(name))
