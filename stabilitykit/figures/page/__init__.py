"""Runs as one page that needs no network: curves to look into, and every incident in a table."""

from stabilitykit.figures.page.assembly import run_page

__all__ = ["run_page"]
