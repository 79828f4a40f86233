"""Standardised targets: there and back, densities, and which targets are tied to others."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special, stats

from skmdn import MDNRegressor
from skmdn._scaling import TargetScaling, floors, target_scaling
from skmdn._targets import TargetModel
from skmdn.learning.noise import NOISE_MODELS


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


def test_what_varies_little_about_a_large_mean_is_no_constant():
    rng = np.random.default_rng(0)
    u, weights = rng.normal(size=(2000, 2)), rng.uniform(0.5, 2.0, 2000)
    near = target_scaling(u, weights, False)
    y = u * 1e-10 + [1e3, -1e3]
    far = target_scaling(y, weights, False)
    assert_allclose(far.unit, near.unit * 1e-10, rtol=1e-3)
    assert_allclose(far.standardised(y), near.standardised(u), atol=2e-3)
    constant = target_scaling(np.full((7, 1), 0.1), np.arange(1.0, 8.0), False)
    assert (constant.mean, constant.unit) == (0.1, 1.0)


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
    assert scaling.log_volume == pytest.approx(np.log(scaling.unit).sum())
    of_u, of_y = map(stats.Covariance.from_cholesky, (factor, scaling.restored_factor(factor)))
    found = stats.multivariate_normal(scaling.restored(mean), of_y).logpdf(y)
    inside = stats.multivariate_normal(mean, of_u).logpdf(u)
    assert_allclose(found, inside - scaling.log_volume, rtol=1e-8)


def test_what_others_leave_of_a_target_is_learned_in_its_place():
    y = tied()
    spread = np.cov(untied(y).standardised(y).T)
    assert_allclose(spread[2, :2], 0, atol=1e-12)
    assert_allclose(spread[2, 2], (1e-5 / y[:, 2].std()) ** 2, rtol=0.1)
    # The first two are not of the kind.
    assert_allclose(untied(y).standardised(y)[:, :2], stats.zscore(y[:, :2]))


def test_sums_of_sums_are_tied_to_what_they_are_sums_of():
    rng = np.random.default_rng(0)
    z, small = rng.normal(size=(100, 1)), 1e-3 * rng.normal(size=(100, 2))
    y = np.hstack([z, z + small[:, :1], 2 * z + 3 * small[:, :1] + small[:, 1:]])
    found = untied(y).standardised(y)
    assert_allclose(np.corrcoef(found.T), np.eye(3), atol=1e-9)
    assert_allclose(untied(y).restored(found), y)


def test_only_targets_that_may_be_are_tied():
    assert untied(tied(rest=0.1)).root is None
    assert untied(tied(), which=(True, True, False)).root is None


@pytest.mark.parametrize("n_targets", [2, 3, 9, 20])
def test_a_few_rows_show_no_ties(n_targets):
    for n in (2, n_targets, n_targets + 1, n_targets + 11, 100):
        y = np.random.default_rng(n).normal(size=(n, n_targets))
        assert untied(y, which=[True] * n_targets).root is None
    weights = np.full(100, 1e-9)
    weights[:n_targets] = 1.0
    assert untied(y, weights, [True] * n_targets).root is None


def test_equal_and_constant_targets():
    y = np.random.default_rng(0).normal(size=(100, 1))
    scaling = untied(np.hstack([y, y, np.ones((100, 1))]))
    assert_allclose(scaling.root, [[1, 0, 0], [1, 1, 0], [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("sums", [[[1.0], [1.0]], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
def test_what_is_left_of_exact_sums_is_the_same_in_all_units(sums):
    """It is rounding alone, of which units make another."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(144, 3))
    y = (X[:, : len(sums[0])] + rng.normal(size=(144, len(sums[0])))) @ np.transpose(sums)
    units = np.array([1e3, 1e-3, 7.0])[: len(sums)]
    model = MDNRegressor(n_estimators=2, max_iter=60, random_state=0)
    score = model.fit(X, y).score(X, y)
    assert model._targets.scaling.root is not None
    assert_allclose(model.fit(X, y * units).score(X, y * units), score - np.log(units).sum())


def test_weights_are_repetitions():
    y, weights = tied(), np.arange(200) % 3
    repeated = untied(np.repeat(y, weights, axis=0))
    weighted = untied(y, weights.astype(float))
    assert_allclose(weighted.root, repeated.root)
    assert_allclose(weighted.mean, repeated.mean)


def test_blocks_show_no_ties():
    """In later ones, targets may differ that were equal in the first."""
    X = np.random.default_rng(0).normal(size=(100, 2))
    twice = X[:, [0, 0]] ** 2
    model = MDNRegressor(n_estimators=1, random_state=0).partial_fit(X, twice)
    assert model._targets.scaling.root is None
    assert model.fit(X, twice)._targets.scaling.root is not None
    model.set_params(noise_type="diagonal").fit(X, X[:, [0, 0]])
    assert model._targets.scaling.root is None


def test_values_that_many_rows_share_stay_so():
    """The third is the sum of the others, but has zeros of its own."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    y = np.where(rng.random((200, 1)) < 0.5, 0.0, X)
    y = np.column_stack([y, y.sum(axis=1)])
    model = MDNRegressor(n_estimators=1, max_iter=5, random_state=0).fit(X, y)
    assert model._targets.scaling.root is None
    assert 0.0 in model.atoms_[:, 2]


def test_targets_all_but_equal_are_learned_as_closely():
    """Left as they are, they were learned 1.7 nats worse."""
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(1300, 3)), rng.normal(size=(1300, 2))
    first = np.sin(2 * X[:, 0]) + 0.3 * noise[:, 0]
    y = np.column_stack([first, 2 * first + 0.01 * X[:, 1] + 0.003 * noise[:, 1]])
    truth = stats.norm.logpdf(noise).sum(axis=1).mean() - np.log(0.3 * 0.003)
    model = MDNRegressor(random_state=0).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > truth - 0.5
    given = model.predict_mixture(X[300:]).condition([0], y[300:, :1])
    assert_allclose(np.median(given.std()), 0.003, rtol=0.5)


# --- floors --------------------------------------------------------------------------------------


def test_the_floor_is_a_share_of_the_spread_of_the_densest_values():
    """Of quantiles, whose densest tenth is where the density is highest."""
    ranks = (np.arange(5000) + 0.5) / 5000
    normal, skewed, heavy = stats.norm.ppf(ranks), stats.lognorm(3).ppf(ranks), 1e6 * (ranks > 0.9)
    assert_allclose(
        floors(np.column_stack([1e-3 * normal, 0.05 * normal])), [1e-3, 1.0], rtol=1e-3
    )
    low, high = skewed[:501][[0, -1]]  # the density falls from near zero on
    spread = (high - low) / np.diff(stats.norm.ppf([0.45, 0.55]))
    assert_allclose(floors(skewed[:, None] / 100), 1000 * (spread / 100) ** 2, rtol=0.02)
    far = normal + heavy
    assert_allclose(floors(((far - far.mean()) / far.std())[:, None]), 1000 / far.var(), rtol=0.02)


def test_values_that_rows_share_count_once_and_few_tell_nothing():
    rng = np.random.default_rng(0)
    y = 1e-3 * rng.normal(size=1000)
    once = floors(y[:, None])
    assert_allclose(floors(np.concatenate([y, np.zeros(3000)])[:, None]), once, rtol=1e-2)
    for values in (y[:49], np.repeat(y[:40], 30), np.zeros(1000)):
        assert_allclose(floors(values[:, None]), 1.0)
    assert_allclose(floors(1e-9 * y[:, None]), 1e-8)


@pytest.mark.parametrize("spoiled", ["one value", "some", "skewed"])
def test_neither_outliers_nor_tails_blur_the_rest(spoiled):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 2))
    z = X[:, 0] + 0.3 * rng.normal(size=900)
    y, log_slope = z.copy(), np.zeros(300)
    if spoiled == "skewed":
        y, log_slope = np.exp(4 * z), np.log(4) + 4 * z[600:]
    y[: {"one value": 1, "some": 8, "skewed": 0}[spoiled]] = 1e5
    model = MDNRegressor(random_state=0).fit(X[:600], y[:600])
    truth = stats.norm.logpdf(z[600:], X[600:, 0], 0.3) - log_slope
    assert model.score(X[600:], y[600:]) > truth.mean() - 0.3


OWN_FLOORS = {"full": True, "diagonal": True, "isotropic": False}


@pytest.mark.parametrize(("noise_type", "own_floors"), OWN_FLOORS.items())
def test_which_targets_have_a_floor_of_their_own(noise_type, own_floors):
    rng = np.random.default_rng(0)
    X, z = rng.normal(size=(300, 1)), rng.normal(size=(300, 2))
    how = {"n_estimators": 1, "max_iter": 1, "noise_type": noise_type}
    y = np.column_stack([z[:, 0], np.exp(4 * z[:, 1])])
    model = MDNRegressor(**how).fit(X, y)
    lower = floors(model._targets.scaling.in_units(y))
    assert lower[1] < 1e-3
    assert lower[0] == 1.0 or not own_floors  # in its own unit
    assert_allclose(model._targets.floor, lower if own_floors else 1.0)
    reg_covar = model._loss.reg_covar
    assert_allclose(reg_covar, 1e-6 * lower[:, None] if own_floors else 1e-6, rtol=1e-6)
    # A value that many rows share is as narrow: it must not hide what is near it.
    y[:90, 1] = 0.0
    with_open = MDNRegressor(**how).fit(X, y)
    assert len(with_open.atoms_) == own_floors  # (NaN, 0)
    assert (with_open._targets.floor[1] < 1e-3) == own_floors
    alone = MDNRegressor(**how).fit(X, y[:, 1])
    assert_allclose(alone.atoms_, [0.0])
    (floor,) = alone._targets.floor
    assert (floor < 1e-3) == own_floors
    assert_allclose(alone._loss.still.variances[0, 0], 1e-6 * floor, rtol=1e-6)


def hurdle_of_long_tail(n_rows, seed, sd=2.5):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 1))
    is_zero = rng.random(n_rows) < special.expit(X[:, 0])
    return X, np.where(is_zero, 0.0, np.exp(sd * rng.normal(size=n_rows)))


def test_zeros_of_a_long_tail_are_told_from_small_values():
    """With a floor of the variance, an atom hid half of the others, and lost its rows to them."""
    X, y = hurdle_of_long_tail(1000, 0)
    model = MDNRegressor(random_state=0).fit(X, y)
    X, y = hurdle_of_long_tail(2000, 1)
    likely = model.predict_atoms(X)[:, 0]
    assert_allclose(likely, special.expit(X[:, 0]), atol=0.25)
    assert_allclose(likely.mean(), special.expit(X[:, 0]).mean(), atol=0.03)
    away = y > 0
    truth = stats.lognorm(2.5).logpdf(y[away]) + np.log(special.expit(-X[away, 0]))
    behind = truth - model.score_samples(X[away], y[away])
    assert np.quantile(behind, 0.99) < 5.0
    assert np.minimum(behind, 10.0).mean() < 0.2


def test_what_a_line_leaves_has_the_floor_of_the_target():
    rng = np.random.default_rng(0)
    weights, rest = np.ones(200), 0.3 * rng.normal(size=(200, 2))
    noise = NOISE_MODELS["diagonal"]
    y = np.column_stack([3.0 * rng.normal(size=200), np.exp(4.0 * rng.normal(size=200))])
    whole = TargetModel.of(y, weights, noise, 3, 1, 1e-6, are_all=True)
    assert whole.floor[1] < 1e-3
    left = TargetModel.of_residuals(rest, weights, noise, 3, whole, np.array([True, True]), 1e-6)
    found = left.loss(noise, 3, 1e-6, 1.0).reg_covar
    assert_allclose(found[:, 0] * left.scaling.unit**2, 1e-6 * whole.finest_unit**2)
    assert_allclose(left.unit_ratio * left.scaling.unit, y.std(axis=0), rtol=1e-6)
