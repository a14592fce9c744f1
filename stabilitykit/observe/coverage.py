"""The coverage report: what is watched and how, what is not and why."""

from collections import Counter
from collections.abc import Mapping, Sequence

from torch import nn

from stabilitykit.observe.site import Coverage, Layout, Role

_STATISTICS = {
    Role.ACTIVATION: ("act/rms", "act/max_abs", "act/nonfinite"),
    Role.ATTENTION: ("attn/logit_max", "attn/logit_max_bound", "attn/entropy", "attn/entropy_min"),
    Role.LOGITS: ("output/log_z",),
}


def site_rows(
    layout: Layout,
    modules: Mapping[str, nn.Module],
    attention_kinds: Mapping[str, str],
    fired: Sequence[int],
    dark: Mapping[str, str],
) -> list[Coverage]:
    """Return a row for every site.

    Args:
        layout: What was found.
        modules: The model's modules by path.
        attention_kinds: How each attention site is read.
        fired: Steps at which each site was written.
        dark: Why sites are no longer watched.
    """
    return [
        Coverage(
            site=site.key,
            kind={Role.LOGITS: "sampled"}.get(site.role, attention_kinds.get(site.name, "exact")),
            module=f"{type(modules[site.module]).__name__} {site.module} ({site.side})",
            statistics=(site.statistic.name,) if site.statistic else _STATISTICS[site.role],
            fired=count,
            dark=dark.get(site.key, ""),
        )
        for site, count in zip(layout.sites, fired, strict=True)
    ]


def summary(rows: Sequence[Coverage]) -> str:
    """Return one line on what is watched."""
    seen = [row for row in rows if row.site and row.kind != "missing"]
    kinds = Counter(row.kind for row in seen)
    blocks = {row.site for row in seen if "grad/norm" in row.statistics and "blocks." in row.site}
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"watching {len(blocks)} blocks, {len(seen)} rows of coverage: {told}"


def silences(rows: Sequence[Coverage]) -> list[str]:
    """Return a line for everything that is not seen: sites that never fired, and what was not found."""
    lines = [row.dark for row in rows if row.kind == "missing"]
    quiet = [row for row in rows if row.is_silent]
    if quiet:
        names = ", ".join(row.site for row in quiet[:3]) + (", …" if len(quiet) > 3 else "")
        lines.append(f"{len(quiet)} sites saw no forward pass: {names} ({quiet[0].module}); see coverage()")
    return lines


def gradient_rows(layout: Layout, dark: str = "") -> list[Coverage]:
    """Return a row for every group of parameters.

    Args:
        layout: What was found.
        dark: Why gradients are no longer read; empty while they are.
    """
    read = ("grad/norm", "grad/share")
    return [
        Coverage(group, "exact", f"{len(names)} parameters", read, dark=dark)
        for group, names in layout.groups.items()
    ]


def gain_rows(layout: Layout) -> list[Coverage]:
    """Return a row for every norm's gain."""
    return [Coverage(norm, "exact", name, ("norm/gain_rms",)) for norm, name in layout.gains.items()]


def missing_rows(notes: Sequence[str]) -> list[Coverage]:
    """Return a row for each thing that was not found."""
    return [missing(note) for note in notes]


def missing(what: str) -> Coverage:
    """Return the row of something that is not read.

    Args:
        what: What it is, and why.
    """
    return Coverage("", "missing", "", (), dark=what)
