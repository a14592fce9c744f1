"""What can go wrong, by who has to act: the one who typed, or the one who owns the data and the disk."""

import difflib
from collections.abc import Iterable


class StabilityKitError(Exception):
    """Base of every error that stabilitykit raises on purpose; its text is one line a user can act on."""


class ConfigError(StabilityKitError, ValueError):
    """What was typed, or stands in a recipe, is wrong. The command line exits with status 2."""


class DataError(StabilityKitError, ValueError):
    """A corpus or a log cannot be used as it is. The command line exits with status 1."""


class RunFolderError(StabilityKitError, OSError):
    """A run's folder cannot be read or written. The command line exits with status 1."""


class FolderTakenError(RunFolderError):
    """A folder for a run holds something else, or another process writes its run there."""


class MissingExtraError(StabilityKitError, ImportError):
    """A package that only an extra installs is needed and not there. The command line exits with status 1."""


class IncidentError(StabilityKitError, RuntimeError):
    """Raised by ``on_incident="raise"`` when a warning or critical incident opens."""


def closest(name: str, known: Iterable[str], n: int = 3) -> str:
    """Return a phrase that names the known words closest to ``name``, or all of them when none is close.

    Args:
        name: The word that was not recognised.
        known: The words that would have been accepted.
        n: How many close words to offer.

    Returns:
        For example ``"did you mean 'pre_norm'?"``.
    """
    known = list(known)
    found = difflib.get_close_matches(name, known, n=n, cutoff=0.5)
    if found:
        return "did you mean " + " or ".join(repr(word) for word in found) + "?"
    return "accepted: " + ", ".join(known)
