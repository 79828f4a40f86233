"""The curve from what the network says to the targets, against scipy's Johnson distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from skmdn.learning import curve as curve_module
from skmdn.learning.curve import JohnsonCurve


def curve_of(*parameters):
    return JohnsonCurve(*np.array(parameters, dtype=float).reshape(4, 1, 1))


def fitted(y, weights=None):
    y = np.asarray(y, dtype=float).reshape(len(y), -1)
    return JohnsonCurve.fit(y, np.ones(len(y)) if weights is None else weights)


def column(values):
    return np.asarray(values, dtype=float)[None, :]


def slopes(found, y):
    return found.at(found.inverse(column(y)))[1][0]


PARAMETERS = st.tuples(
    st.floats(-3, 3), st.floats(0.05, 5.0), st.floats(-3, 3), st.floats(0.5, 8.0)
)


@given(PARAMETERS, st.lists(st.floats(-3, 3), min_size=1, max_size=5))
def test_normal_scores_become_johnsons_distribution(parameters, u):
    xi, lambda_, gamma, delta = parameters
    means = curve_of(*parameters).at(column(u))[0][0]
    theirs = stats.johnsonsu(gamma, delta, loc=xi, scale=lambda_).ppf(stats.norm.cdf(u))
    np.testing.assert_allclose(means, theirs, rtol=1e-6, atol=1e-6 * lambda_)


@given(PARAMETERS, st.lists(st.floats(-5, 5), min_size=1, max_size=5))
def test_slope_and_bend_are_derivatives_and_the_inverse_undoes_it(parameters, values):
    u = torch.from_numpy(column(values)).requires_grad_()
    curve = curve_of(*parameters).like(u)
    means, slope, bend = curve.at(u)
    torch.testing.assert_close(curve.means(u), means, rtol=0, atol=0)
    (first,) = torch.autograd.grad(means.sum(), u, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), u)
    torch.testing.assert_close(slope, first, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(bend * slope, second, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(curve.inverse(means.detach()), u.detach(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_skewed_targets_become_normal(sign):
    y = sign * np.exp(1.2 * np.random.default_rng(0).normal(size=2000))
    u = fitted(y).inverse(column(y))[0]
    assert abs(stats.skew(y)) > 3.0
    assert abs(stats.skew(u)) < 0.3
    assert u.mean() == pytest.approx(0.0, abs=0.1)
    assert u.std() == pytest.approx(1.0, abs=0.1)


def test_heavy_tails_become_light():
    y = stats.t(2).rvs(size=2000, random_state=0)
    assert stats.kurtosis(fitted(y).inverse(column(y))[0]) < 1.0 < stats.kurtosis(y)


def test_the_curve_of_normal_targets_is_nearly_straight():
    y = np.random.default_rng(0).normal(size=2000)
    found = slopes(fitted(y), np.linspace(-2, 2, 9))
    assert found.max() / found.min() < 1.3


NOT_ONE_NORMAL = {
    "two peaks": lambda rng: rng.choice([-1.0, 1.0], 500) + 0.03 * rng.normal(size=500),
    "two values": lambda rng: (rng.random(500) < 0.1).astype(float),
    "mostly zero": lambda rng: rng.exponential(size=500) * (rng.random(500) < 0.2),
    "constant": lambda rng: np.zeros(500),
}


@pytest.mark.parametrize("draw", NOT_ONE_NORMAL.values(), ids=NOT_ONE_NORMAL)
def test_targets_that_no_curve_makes_normal_get_a_straight_one(draw):
    y = draw(np.random.default_rng(0))
    found = slopes(fitted(y), np.linspace(-1, 1, 9))
    assert found.max() / found.min() < 1.01
    assert found.min() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("far", [0.01, 0.03, 0.1])
def test_a_few_values_far_out_do_not_hide_the_others(far):
    """A slip of the unit, say: no curve makes one normal distribution of both."""
    rng = np.random.default_rng(0)
    y = 10.0 + rng.normal(size=2000)
    y[: int(far * 2000)] *= 1000.0
    y = (y - y.mean()) / y.std()
    (near,) = slopes(fitted(y), [np.median(y)])
    assert near < 20.0 * y[int(far * 2000) :].std()
    tied = np.where(np.arange(2000) % 5 < 3, 0.0, y)  # most are one value
    np.testing.assert_allclose(slopes(fitted(tied), [0.0]), 1.0, atol=0.01)


@pytest.mark.parametrize("size", [0.0, 1e-16, 1e-12])
def test_rounding_gets_a_straight_curve_whatever_it_is(size):
    rounding = size * np.random.default_rng(0).normal(size=200)
    u = column([-2.0, 0.0, 1.0])
    np.testing.assert_allclose(fitted(rounding).means(u), u, atol=0.02)
    # What varies by more has a curve that is as steep as it is spread.
    spread = 1e-6 * np.random.default_rng(0).normal(size=200)
    np.testing.assert_allclose(fitted(spread).at(column([0.0]))[1], 1e-6, rtol=0.3)


def test_each_target_has_its_own_curve():
    rng = np.random.default_rng(0)
    columns = np.exp(rng.normal(size=300)), rng.normal(size=300)
    both, apart = fitted(np.column_stack(columns)), [fitted(column) for column in columns]
    for name in vars(both):
        expected = np.concatenate([getattr(one, name) for one in apart])
        np.testing.assert_array_equal(getattr(both, name), expected)


def test_weights_are_repetitions_as_far_as_quantiles_tell():
    rng = np.random.default_rng(0)
    y, weights = np.exp(rng.normal(size=400)), rng.integers(1, 4, size=400)
    left, right = fitted(y, weights.astype(float)), fitted(np.repeat(y, weights))
    at = np.quantile(y, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(slopes(left, at), slopes(right, at), rtol=0.02)


def test_weights_of_each_target_leave_rows_out():
    rng = np.random.default_rng(0)
    y = np.exp(rng.normal(size=(200, 2)))
    weights = np.ones((200, 2))
    weights[:80, 0], weights[150:, 1] = 0.0, 0.0
    both = JohnsonCurve.fit(y, weights)
    for d, rows in enumerate((slice(80, None), slice(150))):
        alone = JohnsonCurve.fit(y[rows, d : d + 1], np.ones(200)[rows])
        np.testing.assert_array_equal(both.gamma[d], alone.gamma[0])
        np.testing.assert_array_equal(both.xi[d], alone.xi[0])


def test_nothing_overflows_in_single_precision():
    y = stats.cauchy.rvs(size=500, random_state=0)
    u = np.array([[-1e30, -50.0, 0.0, 50.0, 1e30]], dtype=np.float32)
    for part in fitted((y - y.mean()) / y.std()).like(u).at(u):
        assert part.dtype == np.float32
        assert np.isfinite(part).all()


@pytest.mark.parametrize("sigma", [1.0, 2.0, 2.5])
def test_the_most_skewed_targets_need_the_curve_most(sigma):
    """Their standard deviation is that of the tail; the curve is fitted in units of the middle."""
    y = np.exp(sigma * np.random.default_rng(0).normal(size=2000))
    y = (y - y.mean()) / y.std()
    u = fitted(y).inverse(column(y))[0]
    assert stats.kstest(u, "norm").statistic < 0.06


def test_an_outlier_does_not_turn_the_curve_off():
    y = np.exp(np.random.default_rng(0).normal(size=300))
    spoiled = np.append(y, 1e6)
    u = fitted((spoiled - spoiled.mean()) / spoiled.std())
    scores = u.inverse(column((y - spoiled.mean()) / spoiled.std()))[0]
    assert stats.kstest(scores, "norm").statistic < 0.08


DRAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "skewed": lambda rng, n: np.exp(2.0 * rng.normal(size=n)),
    "bounded": lambda rng, n: rng.beta(0.5, 0.5, size=n),
    "two peaks": lambda rng, n: rng.normal(size=n) + rng.choice([-5.0, 5.0], n),
}


@pytest.mark.parametrize("n", [300, 30_000])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_outliers_are_what_the_curve_does_not_lead_to(draw, n):
    """One target of several; what lies on the curve is none, however far out."""
    y = np.column_stack([draw(np.random.default_rng(seed), n) for seed in range(3)])
    spoiled = y.copy()
    spoiled[7, 1] += 1e3 * np.ptp(y[:, 1])
    for targets, expected in ((y, False), (spoiled, True)):
        z = (targets - targets.mean(axis=0)) / targets.std(axis=0)
        assert fitted(z).has_outliers(z) is expected


@given(PARAMETERS, st.integers(2, 10**6), st.sampled_from([-1.0, 1.0]))
def test_one_of_so_many_normal_scores_is_an_outlier_with_a_small_chance(parameters, n, side):
    curve, border = curve_of(*parameters), side * stats.norm.isf(0.5 * 1e-3 / n)
    for u, expected in ((0.99 * border, False), (1.01 * border, True)):
        y = np.full((n, 1), curve.means(column([0.0])).item())
        y[-1] = curve.means(column([u]))
        assert curve.has_outliers(y) is expected


@given(PARAMETERS)
def test_the_gradient_of_the_fit_is_that_of_finite_differences(parameters):
    xi, lambda_, gamma, delta = parameters
    at, y = np.array([xi, np.log(lambda_), gamma, np.log(delta)]), np.linspace(-2, 5, 20)
    value, gradient = curve_module._misfit(at, y)
    numeric = optimize.approx_fprime(at, lambda p: curve_module._misfit(p, y)[0], 1e-6)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-3 * (1 + abs(value)))
