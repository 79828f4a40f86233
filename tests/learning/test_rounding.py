"""Several targets of which some are on grids: what is learned of these."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats

from skmdn.learning.atoms import atoms_beside, find_grids
from skmdn.learning.initialization import starting_mixture
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.noise import NOISE_MODELS
from skmdn.learning.rounding import Rounding

GRIDS = [np.array([-1.0, 0.0, 0.5, 1.0]), np.zeros(0), np.array([-0.4, 0.6])]
COUNTS = [np.array([3.0, 5.0, 0.0, 2.0]), np.zeros(0), np.array([5.0, 5.0])]
FLOOR = np.array([[1e-4], [2e-4], [3e-4]])


def rounding():
    return Rounding.to(GRIDS, COUNTS)


def loss_of(noise_type="full", **parameters):
    noise = NOISE_MODELS[noise_type]
    parameters["coupling_units"] = np.zeros((3 * noise.coupled, 1))
    return MixtureLoss(4, 3, noise, FLOOR, rounding=rounding(), **parameters)


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape)


def found_grids(*columns, weights=None, n_features=0):
    y = np.column_stack(columns)
    grids = find_grids(y, np.ones(len(y)) if weights is None else weights, n_features)
    return [grid.tolist() for grid in grids]


# --- which targets are on one -----------------------------------------------------------------


def test_each_target_has_its_own_whatever_the_others_are():
    rng = np.random.default_rng(0)
    grades, flags = rng.integers(1, 6, size=300), rng.integers(0, 2, size=300)
    years = rng.integers(1950, 2000, size=300)
    grids = found_grids(grades, rng.normal(size=300), flags, years, np.full(300, 7.0))
    assert grids[:3] == [[1, 2, 3, 4, 5], [], [0, 1]]
    assert grids[3] == []  # six rows a year, and few are common
    assert grids[4] == []  # one value alone says nothing
    assert found_grids(years.repeat(10))[0] == [*range(1950, 2000)]


def test_values_that_are_no_lattice_are_a_grid_if_hardly_any_is_another():
    rng = np.random.default_rng(0)
    prices = np.sort(rng.choice([0.99, 1.49, 4.25, 19.0, 1234.5], size=400))
    assert found_grids(prices)[0] == [0.99, 1.49, 4.25, 19.0, 1234.5]
    mixed = np.where(np.arange(400) % 20 == 0, rng.normal(size=400), prices)
    assert found_grids(mixed)[0] == []  # a twentieth of the rows is on none


def test_weights_count_as_rows():
    values, weights = np.arange(60) % 3.0, np.full(60, 5.0)
    weights[values == 2.0] = 1e-9
    assert found_grids(values, weights=weights)[0] == [0, 1, 2]


def test_atoms_of_the_others_leave_grids_open():
    rng = np.random.default_rng(0)
    rain = np.where(rng.random(500) < 0.4, 0.0, rng.lognormal(size=500))
    y = np.column_stack([rng.integers(0, 3, size=500), rain, rng.normal(size=500)])
    others = np.array([True, False, False])
    assert_array_equal(atoms_beside(others, y, np.ones(500)), [[np.nan, 0.0, np.nan]])
    assert atoms_beside(others | True, y, np.ones(500)).shape == (0, 3)


# --- what is learned --------------------------------------------------------------------------


def cells_by_scipy(raw, loss, d, values):
    """Return shares (E, K, A, B) of values of one target."""
    _, locations, variances, *_ = loss.split(raw)
    own, grid = rounding(), rounding().grids[rounding().columns.index(d)]
    ends = np.concatenate([[-np.inf], own.upper[grid][:-1], [np.inf]])[:, None]
    scale = np.sqrt(np.exp(variances[:, :, d]) + FLOOR[d])[:, :, None]
    return np.diff(stats.logistic.cdf(ends, locations[:, :, d][:, :, None], scale), axis=2)


@pytest.mark.parametrize("noise_type", ["full", "diagonal"])
def test_the_density_is_that_of_cells_and_of_narrow_normal_distributions(noise_type):
    """Of the target on no grid it is normal: neither of the others tells of it."""
    loss = loss_of(noise_type)
    raw, y = draw(2, loss.n_outputs, 5), np.zeros((2, 3, 5))
    at = np.array([0, 1, 2, 3, 0])
    y[:, 0], y[:, 1], y[:, 2] = GRIDS[0][at] + 0.003, draw(5), GRIDS[2][at % 2] - 0.002
    logits, locations, variances, *_ = loss.split(raw)
    expected = special.log_softmax(logits, axis=1)
    sd = np.sqrt(np.exp(variances[:, :, 1]) + FLOOR[1])
    expected = expected + stats.norm.logpdf(y[:, None, 1], locations[:, :, 1], sd)
    for d, own, off in ((0, at, 0.003), (2, at % 2, -0.002)):
        shares = cells_by_scipy(raw, loss, d, GRIDS[d])
        expected = expected + np.log(shares[:, :, own, np.arange(5)])
        expected = expected + stats.norm.logpdf(off, scale=np.sqrt(FLOOR[d, 0]))
    found = loss.log_density(raw, y)[0]
    assert_allclose(found, special.logsumexp(expected, axis=1), rtol=1e-10)


@pytest.mark.parametrize("noise_type", ["full", "diagonal"])
def test_moments_are_those_of_the_values(noise_type):
    loss = loss_of(noise_type)
    raw = draw(2, loss.n_outputs, 5)
    mean, variance = loss.moments(raw, 1.0)
    weights = special.softmax(loss.split(raw)[0], axis=1)
    for d in (0, 2):
        shares = np.einsum("ekb,ekab->eab", weights, cells_by_scipy(raw, loss, d, GRIDS[d]))
        expected = np.einsum("eab,a->eb", shares, GRIDS[d])
        away = (GRIDS[d][:, None] - expected[:, None]) ** 2
        assert_allclose(mean[:, d], expected, rtol=1e-10, atol=1e-12)
        assert_allclose(variance[:, d], (shares * away).sum(axis=1) + FLOOR[d], rtol=1e-9)
    assert_allclose(loss.means(raw), mean, rtol=1e-12)


def test_factors_make_cells_wider():
    loss, factor = loss_of(), 4.0
    raw = draw(1, loss.n_outputs, 6)
    y = np.stack([GRIDS[0][[0, 1, 2, 3, 0, 1]], draw(6), GRIDS[2][[0, 1, 0, 1, 0, 1]]])[None]
    once, wider = loss.log_density(raw, y, [1.0, factor])
    loss.split(raw)[2][:] += np.log(factor)
    assert_allclose(wider, loss.log_density(raw, y)[0], rtol=1e-10)
    assert (once != wider).all()


def test_arrays_of_torch_are_answered_alike():
    loss = loss_of()
    raw, y = draw(2, loss.n_outputs, 5), draw(2, 3, 5)
    of_torch = loss.like(torch.from_numpy(raw))
    found = of_torch.log_density(torch.from_numpy(raw), torch.from_numpy(y))
    assert_allclose(found, loss.log_density(raw, y), rtol=1e-10)
    mean, variance = of_torch.moments(torch.from_numpy(raw), 1.0)
    assert_allclose(loss.moments(raw, 1.0), np.stack([mean, variance]), rtol=1e-10)


def test_values_are_scores_where_components_start():
    """Between the ends of their cells; the others are what they are."""
    own, y = rounding(), np.array([[-1.0, 7.0, 0.6], [0.45, -3.0, -9.0]])
    scores = own.scores(y)
    assert_array_equal(scores[:, 1], y[:, 1])
    for row, d, k in ((0, 0, 0), (0, 2, 1), (1, 0, 2), (1, 2, 0)):
        grid = own.grids[own.columns.index(d)]
        assert own.lower[grid][k] < scores[row, d] < own.upper[grid][k]


def test_components_start_about_as_the_values_are_distributed():
    rng = np.random.default_rng(0)
    first = rng.choice([0.0, 1.0, 2.0, 5.0], p=[0.1, 0.5, 0.3, 0.1], size=2000)
    y = np.column_stack([first, rng.normal(size=2000)])
    grids = [np.array([0.0, 1.0, 2.0, 5.0]), np.zeros(0)]
    counts = [np.array([(first == value).sum() for value in grids[0]]), np.zeros(0)]
    noise = NOISE_MODELS["full"]
    loss = MixtureLoss(5, 2, noise, 1e-6, rounding=Rounding.to(grids, counts))
    bias = starting_mixture(loss, torch.from_numpy(y).float(), torch.ones(2000))
    mean = loss.means(bias[None, :, None].astype(float))[0, :, 0]
    assert_allclose(mean, y.mean(axis=0), atol=0.15)


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_single_precision_has_finite_densities_and_gradients(size):
    loss = loss_of()
    raw = (size * draw(2, loss.n_outputs, 40)).astype(np.float32)
    y = np.zeros((2, 3, 40), dtype=np.float32)
    y[:, 0], y[:, 2] = GRIDS[0][np.arange(40) % 4], GRIDS[2][np.arange(40) % 2]
    loss, out = loss.like(raw), np.empty_like(raw)
    with np.errstate(over="ignore", divide="ignore"):
        nll = loss.gradient(loss.split(raw), y, out=loss.split(out))
    assert nll.dtype == np.float32
    assert np.isfinite(nll).all()
    assert np.isfinite(out).all()
