"""What a preset consists of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a published model."""

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    seq_len: int
    """Tokens of context."""
    n_kv_heads: int | None = None
    """When left out, n_heads."""
    head_dim: int | None = None
    """When left out, d_model / n_heads."""


@dataclass(frozen=True, slots=True)
class Preset:
    """An architecture: fields without sizes, the sizes it was published in, and where both come from."""

    name: str
    about: str
    """One line: whose it is, and what of it is left out."""
    fields: Mapping[str, Any]
    """Nested fields of ``TransformerConfig`` that differ from its defaults, without sizes."""
    release: Sizes
    sources: tuple[str, ...]
    """Class and fields in transformers, paper, or repository."""
    windows: tuple[int | None, ...] = (None,)
    """Window of each layer of the pattern in the release, in tokens; None for full attention."""
    unit_embedding: bool = False
    """Whether embeddings are drawn with d_model^-½."""
    first_quarter: str | None = None
    """The wiring of the first quarter of all layers, where it differs."""
