"""Reports: sweeps, costs, runs, two runs beside each other, as one page, figures and tables. No torch."""

from stabilitykit.lab.report.build import Report, build_report
from stabilitykit.lab.report.cost_document import is_cost_document
from stabilitykit.lab.report.cost_view import CostView
from stabilitykit.lab.report.figure_files import write_figures
from stabilitykit.lab.report.parting import Parting, parting
from stabilitykit.lab.report.sweep_views import SweepView
from stabilitykit.lab.report.two_runs import where_they_part

__all__ = [
    "CostView",
    "Parting",
    "Report",
    "SweepView",
    "build_report",
    "is_cost_document",
    "parting",
    "where_they_part",
    "write_figures",
]
