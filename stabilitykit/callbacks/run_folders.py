"""Where a run that nobody gave a folder is kept."""

from pathlib import Path


def free_folder(base: Path) -> Path:
    """Return a folder's name, numbered when an earlier run is kept there.

    Args:
        base: The name that is wanted.
    """
    candidate, n = base, 1
    while candidate.exists() and any(candidate.iterdir()):
        n += 1
        candidate = base.with_name(f"{base.name}-{n}")
    return candidate
