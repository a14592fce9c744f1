"""Alarms measured: labelled runs, what warns of their failures, how early, and how often falsely."""
