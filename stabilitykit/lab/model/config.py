"""The configuration of a transformer, checked as a whole. No torch."""

from pydantic import model_validator

from stabilitykit.lab.model.architecture import Architecture
from stabilitykit.lab.model.contradictions import check


class TransformerConfig(Architecture):
    """A decoder-only transformer."""

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> "TransformerConfig":
        check(self)
        return self

    def resolved(self) -> "TransformerConfig":
        """Return the same configuration with every size that was left to a rule written out."""
        heads = {"n_kv_heads": self.n_kv_heads, "head_dim": self.head_dim}
        return self.model_copy(
            update={
                "final_norm": self.has_final_norm,
                "attention": self.attention.model_copy(update=heads),
                "feedforward": self.feedforward.model_copy(update={"d_ff": self.d_ff, "ratio": None}),
                "initialization": self.initialization.model_copy(update={"embed_std": self.embed_std}),
            }
        )
