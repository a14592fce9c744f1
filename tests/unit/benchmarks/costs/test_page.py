"""The page on costs is what its command writes."""

import pytest

from benchmarks.costs.page import PAGE, page


@pytest.mark.slow
def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page()
