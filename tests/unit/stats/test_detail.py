"""Statistics of one sequence, against NumPy and SciPy in float64 and against their null values."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stabilitykit.stats import LineDetail, line_detail, silent_share


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def detail(x: Tensor) -> LineDetail:
    return LineDetail.of(line_detail(x).tolist(), *x.shape)


def massive(x: np.ndarray) -> float:
    return float(np.abs(x).max() / np.median(np.abs(x)))


def kurtosis(x: np.ndarray) -> float:
    channel = np.square(x).mean(0)
    return float(np.square(channel).mean() / channel.mean() ** 2)


def similarity(x: np.ndarray) -> float:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = unit @ unit.T
    return float(cosines[~np.eye(len(x), dtype=bool)].mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_all_three_are_numpys(dtype: torch.dtype, shift: float) -> None:
    x = ((gaussian(51, 37) + shift) * torch.linspace(0.5, 3, 37)).to(dtype)
    exact = x.double().numpy()
    found = detail(x)
    assert found.massive == pytest.approx(massive(exact), rel=1e-5)
    assert found.kurtosis == pytest.approx(kurtosis(exact), rel=1e-5)
    assert found.token_spread == pytest.approx(1 - similarity(exact), abs=1e-5)


def test_of_gaussian_elements_they_have_their_null_values() -> None:
    found = [detail(gaussian(512, 256, seed=seed)) for seed in range(5)]
    assert 6 < np.mean([each.massive for each in found]) < 8
    # s_j² has the relative variance 2/tokens.
    assert [each.kurtosis for each in found] == pytest.approx([1 + 2 / 512] * 5, abs=2e-3)
    sd = math.sqrt(2 / (512**2 * 256))
    assert all(abs(each.token_spread - 1) < 4 * sd for each in found)


@pytest.mark.parametrize(("width", "expected"), [(64, 55), (256, 157), (1024, 236)])
def test_one_channel_thirtyfold_gives_the_published_scale_of_kurtosis(width: int, expected: float) -> None:
    x = gaussian(4096, width)
    x[:, 0] *= 30
    assert detail(x).kurtosis == pytest.approx(expected, rel=0.1)


def test_equal_tokens_are_alike_and_opposite_ones_are_not() -> None:
    assert detail(torch.ones(1, 8).expand(5, 8)).token_spread == pytest.approx(0.0, abs=1e-6)
    pair = torch.stack([torch.ones(8), -torch.ones(8)])
    assert detail(pair).token_spread == pytest.approx(2.0)


def test_zeros_give_numbers_and_one_large_element_is_massive() -> None:
    zero = detail(torch.zeros(4, 8))
    assert (zero.massive, zero.kurtosis) == (0.0, 1.0)
    x = gaussian(64, 64)
    x[3, 5] = 2000.0
    assert detail(x).massive > 2000


def test_the_median_of_a_large_activation_is_that_of_a_sample() -> None:
    x = gaussian(700, 1024)
    assert line_detail(x)[1].item() == pytest.approx(np.median(np.abs(x.double().numpy())), rel=0.02)
    assert line_detail(x)[0].item() == x.abs().max().item()


def test_nan_passes_through() -> None:
    x = gaussian(8, 8)
    x[2, 2] = math.nan
    assert math.isnan(detail(x).massive)
    assert math.isnan(detail(x).token_spread)


def test_silent_units_of_a_relu_are_those_that_are_zero_on_every_token() -> None:
    before = gaussian(40, 100)
    before[:, :30] = -before[:, :30].abs()
    hidden = before.relu()
    assert (hidden.numpy().max(0) <= 0).mean() == pytest.approx(0.3)
    assert silent_share(hidden).item() == pytest.approx(0.3)
    # Null: (1/2)ⁿ of the units of a Gaussian layer look silent on n tokens.
    few = [silent_share(gaussian(3, 4000, seed=seed).relu()).item() for seed in range(4)]
    assert np.mean(few) == pytest.approx(1 / 8, rel=0.1)


def test_silent_units_of_a_smooth_activation_are_those_far_below_the_layer() -> None:
    hidden = gaussian(40, 100)
    hidden[:, 10:15] *= 1e-5
    assert silent_share(hidden).item() == pytest.approx(0.05)
    assert silent_share(hidden.bfloat16()).item() == pytest.approx(0.05)
    assert silent_share(torch.zeros(4, 8)).item() == 1.0
