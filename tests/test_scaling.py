"""Standardised targets: there and back, densities, and which targets are tied to others."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skmdn import MDNRegressor
from skmdn._scaling import TargetScaling, target_scaling


def tied(n=200, rest=0.01, seed=0):
    """Three targets of unequal scales; the last is a sum of the others but for ``rest``."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return np.column_stack([z[:, 0], z[:, 1], z[:, 0] - 2 * z[:, 1] + rest * z[:, 2]]) * [
        1e3,
        1.0,
        1e-3,
    ]


def untied(y, weights=None, which=(True, True, True)):
    weights = np.ones(len(y)) if weights is None else weights
    return target_scaling(y, weights, False).untied(y, weights, np.array(which))


SCALINGS = {
    "units": TargetScaling(np.array([1.0, -2.0, 3.0]), np.array([1e3, 1.0, 1e-3])),
    "tied": untied(tied() + [1.0, -2.0, 3.0]),
}


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_densities_of_targets_and_of_standardised_ones_agree(scaling):
    rng = np.random.default_rng(1)
    u, mean = rng.normal(size=(5, 3)), rng.normal(size=3)
    factor = np.linalg.cholesky(np.cov(rng.normal(size=(3, 9))))
    y = scaling.restored(u)
    assert_allclose(scaling.standardised(y), u, atol=1e-9)
    of_u, of_y = map(stats.Covariance.from_cholesky, (factor, scaling.restored_factor(factor)))
    found = stats.multivariate_normal(scaling.restored(mean), of_y).logpdf(y)
    inside = stats.multivariate_normal(mean, of_u).logpdf(u)
    assert_allclose(found, inside - scaling.log_volume, rtol=1e-8)


def test_what_others_leave_of_a_target_has_a_unit_of_its_own():
    y = tied()
    assert_allclose(np.cov(untied(y).standardised(y).T)[2], [0, 0, 1], atol=0.02)
    # The first two are not of the kind.
    assert_allclose(untied(y).standardised(y)[:, :2], stats.zscore(y[:, :2]))


@pytest.mark.parametrize(
    ("n", "rest", "found"),
    [(50, 0.3, True), (50, 0.8, False), (5000, 0.1, True), (5000, 0.3, False)],
)
def test_many_rows_need_less_help(n, rest, found):
    assert (untied(tied(n, rest)).root is not None) == found


def test_only_targets_that_may_be_are_tied():
    assert untied(tied(), which=(True, True, False)).root is None
    for n in (10, 100):
        assert untied(np.random.default_rng(n).normal(size=(n, 3))).root is None


def test_equal_and_constant_targets_are_within_the_floor():
    y = np.random.default_rng(0).normal(size=(100, 1))
    scaling = untied(np.hstack([y, y, np.ones((100, 1))]))
    assert_allclose(scaling.root, [[1, 0, 0], [1, 1e-3, 0], [0, 0, 1]], atol=1e-12)


def test_weights_are_repetitions():
    y, weights = tied(), np.arange(200) % 3
    repeated = untied(np.repeat(y, weights, axis=0))
    weighted = untied(y, weights.astype(float))
    assert_allclose(weighted.root, repeated.root, rtol=2e-3)
    assert_allclose(weighted.mean, repeated.mean)


def test_targets_all_but_equal_are_learned_as_closely():
    """Left as they are, networks were 1.5 nats behind a line here."""
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(1300, 3)), rng.normal(size=(1300, 2))
    first = np.sin(2 * X[:, 0]) + 0.3 * noise[:, 0]
    y = np.column_stack([first, 2 * first + 0.01 * X[:, 1] + 0.003 * noise[:, 1]])
    truth = stats.norm.logpdf(noise).sum(axis=1).mean() - np.log(0.3 * 0.003)
    model = MDNRegressor(random_state=0).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > truth - 0.5
    given = model.predict_mixture(X[300:]).condition([0], y[300:, :1])
    assert_allclose(np.median(given.std()), 0.003, rtol=0.5)
