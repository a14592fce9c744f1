"""Runs as one page that needs no network: curves to look into, and every incident in a table."""

from stabilitykit.figures.page.assembly import buckets_for, environment, run_page
from stabilitykit.figures.page.contents import contents

__all__ = ["buckets_for", "contents", "environment", "run_page"]
