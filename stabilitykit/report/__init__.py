"""Reports: sweeps, runs and two runs beside each other as one page, as figures and as tables. No torch."""

from stabilitykit.report.build import Report, build_report
from stabilitykit.report.figure_files import write_figures
from stabilitykit.report.parting import Parting, parting
from stabilitykit.report.sweep_views import SweepView
from stabilitykit.report.two_runs import where_they_part

__all__ = ["Parting", "Report", "SweepView", "build_report", "parting", "where_they_part", "write_figures"]
