"""From tensors to step records: sites, taps and the one host read a step."""

from stabilitykit.observe.collector import Collector
from stabilitykit.observe.rules import SiteRules
from stabilitykit.observe.site import Coverage, Layout, Role, Site
from stabilitykit.observe.statistic import Statistic

__all__ = ["Collector", "Coverage", "Layout", "Role", "Site", "SiteRules", "Statistic"]
