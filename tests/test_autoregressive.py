"""The chain of networks, against densities that are known and against its own draws."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, sparse, stats
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from skmdn import AutoregressiveMDNRegressor, MDNRegressor

SMALL = MDNRegressor(n_components=2, n_estimators=1, max_iter=5, hidden_layer_sizes=(8,))
NETWORK = MDNRegressor(n_components=2, n_estimators=2, max_iter=60, hidden_layer_sizes=(16, 16))
COVARIANCE = np.array([[1.0, 0.8, -0.3], [0.8, 1.0, 0.1], [-0.3, 0.1, 0.5]])


def banana(n, seed):
    """y1 = x + e/2 and y2 = y1² + e'/5, in units that differ by 1,000; their log-density."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 1))
    first = X[:, 0] + 0.5 * rng.normal(size=n)
    second = first**2 + 0.2 * rng.normal(size=n)
    truth = stats.norm.logpdf(first, X[:, 0], 0.5) + stats.norm.logpdf(second, first**2, 0.2)
    return X, np.column_stack([first, 1000 * second]), truth - np.log(1000)


def linear(n, seed):
    """Three targets whose means are linear and whose noise is Gaussian, and their log-density."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 1))
    noise = rng.multivariate_normal(np.zeros(3), COVARIANCE, n)
    truth = stats.multivariate_normal.logpdf(noise, cov=COVARIANCE)
    return X, X * [1.0, -1.0, 0.5] + noise, truth


@pytest.fixture(scope="module")
def bent():
    return AutoregressiveMDNRegressor(NETWORK, random_state=0).fit(*banana(1500, 0)[:2])


@pytest.fixture(scope="module")
def straight():
    return AutoregressiveMDNRegressor(NETWORK, random_state=0).fit(*linear(1500, 0)[:2])


@parametrize_with_checks([AutoregressiveMDNRegressor(SMALL)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


# --- the joint density ---------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "simulate"), [("bent", banana), ("straight", linear)])
def test_density_is_close_to_the_truth_and_above_the_factored(model, simulate, request):
    model = request.getfixturevalue(model)
    X, y, truth = simulate(2000, 1)
    factored = clone(model).set_params(chain=False).fit(*simulate(1500, 0)[:2])
    assert model.score(X, y) > truth.mean() - 0.25
    assert model.score(X, y) > factored.score(X, y) + 0.4


def test_density_integrates_to_one(bent):
    first, second = np.linspace(-6, 7, 301), np.linspace(-8000, 12000, 401)
    grid = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(bent.score_samples(np.full((len(grid), 1), 0.3), grid)).reshape(301, 401)
    total = integrate.simpson(integrate.simpson(density, second), first)
    assert total == pytest.approx(1, abs=1e-3)


def test_density_is_the_sum_of_conditionals_in_the_order_asked_for():
    X, y, _ = linear(60, 0)
    model = AutoregressiveMDNRegressor(SMALL, order=[2, 0, 1], random_state=0).fit(X, y)
    a, b, c = model.estimators_
    assert [e.n_features_in_ for e in (a, b, c)] == [1, 2, 3]
    by_hand = (
        a.score_samples(X, y[:, 2])
        + b.score_samples(np.column_stack([X, y[:, 2]]), y[:, 0])
        + c.score_samples(np.column_stack([X, y[:, 2], y[:, 0]]), y[:, 1])
    )
    np.testing.assert_allclose(model.score_samples(X, y), by_hand, rtol=1e-12)
    assert model.score(X, y) == pytest.approx(by_hand.mean())
    weights = np.arange(60.0)
    weighted = np.average(by_hand, weights=weights)
    assert model.score(X, y, sample_weight=weights) == pytest.approx(weighted)


def test_an_order_says_the_same_as_reordered_targets():
    X, y, _ = linear(60, 0)
    order = [2, 0, 1]
    asked = AutoregressiveMDNRegressor(SMALL, order=order, random_state=0).fit(X, y)
    moved = AutoregressiveMDNRegressor(SMALL, random_state=0).fit(X, y[:, order])
    np.testing.assert_array_equal(asked.score_samples(X, y), moved.score_samples(X, y[:, order]))
    np.testing.assert_array_equal(asked.predict(X)[:, order], moved.predict(X))
    draws, moved_draws = asked.sample(X, 3, random_state=0), moved.sample(X, 3, random_state=0)
    np.testing.assert_array_equal(draws[..., order], moved_draws)


def test_random_orders_come_from_the_random_state():
    X, y, _ = linear(20, 0)
    orders = {
        tuple(
            AutoregressiveMDNRegressor(SMALL, order="random", random_state=seed).fit(X, y).order_
        )
        for seed in (0, 0, 1, 2, 3)
    }
    assert 1 < len(orders) < 5
    assert all(sorted(order) == [0, 1, 2] for order in orders)


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3], [0.0, 1.0, 2.0], [[0, 1, 2, 0]]])
def test_a_bad_order_says_what_it_may_be(order):
    X, y, _ = linear(20, 0)
    message = r"order must be a permutation of 0..2, 'random' or None; got \["
    with pytest.raises(ValueError, match=message):
        AutoregressiveMDNRegressor(SMALL, order=order).fit(X, y)


def test_a_failed_fit_leaves_the_old_model():
    X, y, _ = linear(20, 0)
    model = AutoregressiveMDNRegressor(SMALL).fit(X, y)
    before = model.score(X, y)
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit(X[:, :1], y[:, :2], sample_weight=-np.ones(20))
    assert model.score(X, y) == before


def test_other_bad_arguments():
    X, y, _ = linear(20, 0)
    with pytest.raises(ValueError, match="'order' parameter"):
        AutoregressiveMDNRegressor(SMALL, order="sorted").fit(X, y)
    with pytest.raises(
        ValueError, match="point_estimate='mean', which is what a chain predicts; g"
    ):
        AutoregressiveMDNRegressor(MDNRegressor(point_estimate="median")).fit(X, y)
    with pytest.raises(ValueError, match="'estimator' parameter"):
        AutoregressiveMDNRegressor("MDN").fit(X, y)
    model = AutoregressiveMDNRegressor(SMALL).fit(X, y)
    with pytest.raises(ValueError, match=r"y has 2 targets, but Auto.* was fitted with 3"):
        model.score(X, y[:, :2])
    with pytest.raises(ValueError, match="n_samples must be a positive integer; got 0"):
        model.sample(X, 0)
    with pytest.raises(ValueError, match="quantiles must lie strictly between 0 and 1"):
        model.predict_quantiles(X, 1.0)
    with pytest.raises(ValueError, match="quantiles must be one number or a list of them"):
        model.predict_quantiles(X, [[0.1, 0.9]])
    with pytest.raises(ValueError, match="coverage must be one number"):
        model.predict_interval(X, [0.5, 0.9])
    with pytest.raises(ValueError, match="coverage must lie strictly between 0 and 1"):
        model.predict_interval(X, 90)


# --- draws and what is averaged over them --------------------------------------------------------


def test_draws_follow_the_joint_distribution(straight):
    X = np.full((2, 1), 0.3)
    draws = straight.sample(X, 50_000, random_state=0)
    assert draws.shape == (50_000, 2, 3)
    expected = COVARIANCE / np.sqrt(np.outer(np.diag(COVARIANCE), np.diag(COVARIANCE)))
    for row in range(2):
        np.testing.assert_allclose(np.corrcoef(draws[:, row].T), expected, atol=0.12)


def test_draws_have_the_density_that_is_scored(bent):
    """Mean log-density of draws against a quadrature of p log p: one misplaced factor shows."""
    first, second = np.linspace(-6, 7, 301), np.linspace(-8000, 12000, 401)
    grid = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    logpdf = bent.score_samples(np.full((len(grid), 1), 0.3), grid).reshape(301, 401)
    information = np.exp(logpdf) * logpdf
    expected = integrate.simpson(integrate.simpson(information, second), first)
    X = np.full((20_000, 1), 0.3)
    scores = bent.score_samples(X, bent.sample(X, random_state=0))
    assert scores.mean() == pytest.approx(expected, abs=4 * scores.std() / 20_000**0.5 + 2e-3)
    assert bent.score_samples(X[:1])[0] == pytest.approx(expected, abs=0.02)


def test_draws_at_an_atom_are_at_it_for_the_targets_after_it():
    """Half of them would else lie beside it, where the next target is another."""
    rng = np.random.default_rng(0)
    X, is_zero = rng.normal(size=(1000, 1)), rng.random(1000) < 0.5
    amount = np.where(is_zero, 0.0, rng.exponential(size=1000))
    other = np.where(is_zero, 0.0, 5.0) + 0.1 * rng.normal(size=1000)
    network = MDNRegressor(n_estimators=3, max_iter=60)
    model = AutoregressiveMDNRegressor(network, random_state=0)
    model.fit(X, np.column_stack([amount, other]))
    draws = model.sample(X, 10, random_state=0)
    assert_allclose((draws[..., 1] > 2.5).mean(), (other > 2.5).mean(), atol=0.03)
    assert ((draws[..., 0] == 0.0) == (draws[..., 1] < 2.5)).mean() > 0.97
    assert_allclose(model.predict(X)[:, 1].mean(), other.mean(), atol=0.15)


def test_answers_on_single_targets_agree_with_many_draws(bent):
    X = np.linspace(-0.9, 0.9, 5)[:, None]
    m = 40_000
    draws = bent.sample(X, m, random_state=0)
    mean, std = bent.predict(X, return_std=True)
    np.testing.assert_allclose((draws.mean(axis=0) - mean) / std, 0, atol=4 / m**0.5 + 0.01)
    np.testing.assert_allclose(draws.std(axis=0) / std, 1, atol=0.05)
    levels = np.array([0.1, 0.5, 0.9])
    below = (draws[..., None] <= bent.predict_quantiles(X, levels)).mean(axis=0)
    np.testing.assert_allclose(below, np.broadcast_to(levels, below.shape), atol=0.012)
    interval = bent.predict_interval(X, coverage=0.8)
    np.testing.assert_allclose(interval, bent.predict_quantiles(X, [0.1, 0.9]), rtol=1e-9)


def test_the_first_target_and_the_factored_model_are_exact():
    X, y, _ = linear(60, 0)
    factored = AutoregressiveMDNRegressor(SMALL, chain=False, random_state=0).fit(X, y)
    mean, std = factored.predict(X, return_std=True)
    for d, own in enumerate(factored.estimators_):
        assert own.n_features_in_ == 1
        np.testing.assert_allclose(mean[:, d], own.predict(X), rtol=1e-11)
        np.testing.assert_allclose(std[:, d], own.predict(X, return_std=True)[1], rtol=1e-12)
        quantiles = factored.predict_quantiles(X, [0.01, 0.7])[:, d]
        np.testing.assert_allclose(quantiles, own.predict_quantiles(X, [0.01, 0.7]), rtol=1e-9)
    chained = AutoregressiveMDNRegressor(SMALL, random_state=0).fit(X, y)
    np.testing.assert_array_equal(chained.predict(X)[:, 0], mean[:, 0])


@pytest.mark.parametrize("chain", [True, False])
def test_one_target_is_a_plain_network(chain):
    X, y, _ = linear(60, 0)
    model = AutoregressiveMDNRegressor(SMALL, chain=chain, random_state=0).fit(X, y[:, 0])
    (plain,) = model.estimators_
    np.testing.assert_allclose(model.predict(X), plain.predict(X), rtol=1e-11)
    np.testing.assert_array_equal(model.score_samples(X, y[:, 0]), plain.score_samples(X, y[:, 0]))
    np.testing.assert_allclose(model.score_samples(X), plain.score_samples(X), rtol=1e-12)
    np.testing.assert_array_equal(
        model.sample(X, 2, random_state=0), plain.sample(X, 2, random_state=0)
    )
    assert model.sample(X).shape == (60,)
    np.testing.assert_allclose(model.predict_interval(X), plain.predict_interval(X), rtol=1e-12)
    column = AutoregressiveMDNRegressor(SMALL, chain=chain, random_state=0).fit(X, y[:, :1])
    assert column.predict(X).shape == (60, 1)
    assert column.sample(X, 2).shape == (2, 60, 1)


def test_a_row_is_answered_alike_in_blocks_and_alone(bent):
    X = np.linspace(-1, 1, 700)[:, None]
    whole = bent.predict(X)
    with config_context(working_memory=1):
        np.testing.assert_allclose(bent.predict(X), whole, rtol=1e-11)
        draws = bent.sample(X, 30, random_state=0)
    np.testing.assert_allclose(bent.predict(X[40:41]), whole[40:41], rtol=1e-11)
    together = bent.sample(X, 30, random_state=0)
    difference = (draws.mean(axis=0) - together.mean(axis=0)).mean(axis=0)
    assert (np.abs(difference) < 5 * draws.std(axis=(0, 1)) / np.sqrt(30 * 700)).all()


# --- as scikit-learn users expect ----------------------------------------------------------------


def test_sparse_rows_answer_as_dense_ones():
    X, y, _ = linear(60, 0)
    dense = AutoregressiveMDNRegressor(SMALL, random_state=0).fit(X, y)
    rows = sparse.csr_matrix(X)
    spare = AutoregressiveMDNRegressor(SMALL, random_state=0).fit(rows, y)
    np.testing.assert_allclose(spare.score_samples(rows, y), dense.score_samples(X, y))
    np.testing.assert_allclose(spare.predict(rows), dense.predict(X))
    np.testing.assert_allclose(
        spare.sample(rows, 2, random_state=0), dense.sample(X, 2, random_state=0)
    )


def test_a_weight_of_two_is_the_row_twice():
    X, y, _ = linear(40, 0)
    weights = np.tile([1.0, 2.0], 20)
    rows = np.repeat(np.arange(40), weights.astype(int))
    weighted = AutoregressiveMDNRegressor(SMALL, random_state=0).fit(X, y, weights)
    repeated = AutoregressiveMDNRegressor(SMALL, random_state=0).fit(X[rows], y[rows])
    np.testing.assert_allclose(
        weighted.score_samples(X, y), repeated.score_samples(X, y), rtol=1e-6
    )


def test_parameters_of_the_networks_can_be_set_and_seeds_differ():
    X, y, _ = linear(40, 0)
    model = AutoregressiveMDNRegressor(SMALL, random_state=0).set_params(estimator__max_iter=2)
    model.fit(X, y)
    assert {e.n_iter_ for e in model.estimators_} == {2}
    assert len({e.random_state for e in model.estimators_}) == 3
    assert SMALL.random_state is None
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(again.score_samples(X, y), model.score_samples(X, y))


def test_the_callers_chance_is_not_touched_and_coverage_may_be_all_but_one():
    X, y = np.random.default_rng(0).normal(size=(2, 60, 2))
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002
    model = AutoregressiveMDNRegressor(SMALL).fit(X, y)
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002
    lower, upper = np.moveaxis(model.predict_interval(X, 1.0 - 1e-16), -1, 0)
    assert (lower < upper).all()
    with pytest.raises(ValueError, match=r"^random_state"):
        model.sample(X, random_state=-1)
