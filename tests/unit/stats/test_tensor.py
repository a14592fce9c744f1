"""Partials of a tensor, against NumPy in float64."""

import math

import numpy as np
import pytest
import torch

from stabilitykit.stats import fp16_headroom, max_abs, nonfinite, rms, write_norm_and_range


def measured(x: torch.Tensor) -> tuple[float, float, float]:
    row = torch.zeros(3)
    write_norm_and_range(x, row[0], row[1], row[2])
    norm, low, high = (np.array([v]) for v in row.double().tolist())
    count = np.array([float(x.numel())])
    return float(rms(norm, count)[0]), float(max_abs(low, high)[0]), float(nonfinite(low, high)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided"])
def test_rms_and_max_abs_are_numpys(dtype: torch.dtype, layout: str) -> None:
    x = torch.randn(6, 10, 8, generator=torch.Generator().manual_seed(0)).mul(300).to(dtype)
    x = {"contiguous": x, "transposed": x.transpose(0, 2), "strided": x[:, ::3]}[layout]
    exact = x.double().numpy()
    found_rms, found_max, found_nonfinite = measured(x)
    assert found_rms == pytest.approx(math.sqrt(np.square(exact).mean()), rel=1e-5)
    assert found_max == pytest.approx(np.abs(exact).max(), rel=1e-6)
    assert found_nonfinite == 0.0


def test_float16_does_not_overflow_in_its_norm() -> None:
    found_rms, _, found_nonfinite = measured(torch.full((100, 100), 60000.0, dtype=torch.float16))
    assert found_rms == pytest.approx(60000.0, rel=1e-3)
    assert found_nonfinite == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 17, 63])
def test_one_bad_element_is_seen(bad: float, place: int) -> None:
    x = torch.randn(64)
    x[place] = bad
    found_rms, found_max, found_nonfinite = measured(x)
    assert found_nonfinite == 1.0
    assert not math.isfinite(found_rms)
    assert math.isnan(found_max) == math.isnan(bad)


def test_a_norm_that_overflows_float32_is_no_non_finite_element() -> None:
    found_rms, found_max, found_nonfinite = measured(torch.full((64,), 1e30))
    assert math.isinf(found_rms)
    assert found_max == pytest.approx(1e30, rel=1e-6)
    assert found_nonfinite == 0.0


def test_headroom_is_how_often_the_largest_value_fits_into_float16() -> None:
    largest = np.array([1.0, 655.04, 3.0])
    assert fp16_headroom(largest) == pytest.approx([100.0])
    assert fp16_headroom(np.array([float(np.finfo(np.float16).max)])) == [1.0]
    assert np.isnan(fp16_headroom(np.array([1.0, np.nan]))).all()
    assert fp16_headroom(np.empty(0)).size == 0
