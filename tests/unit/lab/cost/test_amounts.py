"""Amounts in words, with three digits at most and never an exponent."""

import pytest

from stabilitykit.lab.cost.amounts import amount, seconds_text


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (0, "", "0"),
        (0, "B", "0 B"),
        (512, "", "512"),
        (999.4, "", "999"),
        (999.6, "", "1 k"),
        (999_600, "B", "1 MB"),
        (25_160_000, "", "25.2 M"),
        (9.3e10, "FLOP/s", "93 GFLOP/s"),
    ],
)
def test_counts_have_prefixes(value, unit, told):
    assert amount(value, unit) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "–"),
        (0, "0 s"),
        (4.2e-9, "4.20 ns"),
        (9.996e-7, "1.00 µs"),
        (16e-6, "16.0 µs"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (12_345, "12,345 s"),
    ],
)
def test_times_have_units(value, told):
    assert seconds_text(value) == told
