"""Tiny healthy trainings of many kinds, whose losses are noisy for reasons of their own."""
