"""Tags are well formed, and sites come out of them again."""

import re
from pathlib import Path

import pytest

from stabilitykit import tags


def test_every_family_is_in_the_alphabet_and_has_a_meaning() -> None:
    for name, family in tags.REGISTRY.items():
        assert re.fullmatch(r"[a-z0-9_.]+/[a-z0-9_.]+", name)
        assert family.name == name
        assert len(family.meaning) > 10


def test_a_tag_gives_back_its_family_and_site() -> None:
    tag = tags.tag("act/rms", "blocks.03.resid_post")
    assert tag == "act/rms/blocks.03.resid_post"
    assert tags.split(tag) == ("act/rms", "blocks.03.resid_post")
    assert tags.site_of(tag) == "blocks.03.resid_post"
    assert tags.site_of("train/loss") == "train/loss"


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(KeyError, match="act/loudness"):
        tags.tag("act/loudness")


@pytest.mark.parametrize(
    ("index", "n", "site"), [(3, 6, "blocks.03"), (3, 100, "blocks.03"), (3, 101, "blocks.003")]
)
def test_depth_is_padded_so_that_sorting_is_depth(index: int, n: int, site: str) -> None:
    assert tags.block_site(index, n) == site


def test_select_does_not_take_a_family_that_merely_begins_alike() -> None:
    found = tags.select(
        ["attn/entropy/blocks.00", "attn/entropy_min/blocks.00", "attn/entropy"], "attn/entropy"
    )
    assert found == ("attn/entropy/blocks.00", "attn/entropy")


def test_the_documents_table_is_the_registry() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tags.md").read_text()
    assert tags.markdown_table() in page, "paste tags.markdown_table() into docs/tags.md"
