"""Closed forms of one-dimensional mixtures against mpmath, scipy and scoringrules."""

import mpmath as mp
import numpy as np
import pytest
import scoringrules
from scipy import stats

from skmdn.distribution import univariate

mp.mp.dps = 50

# How to make a batch hard: each takes standard weights, means and scales and returns its own.
KINDS = {
    "plain": lambda rng, w, m, s: (w, m, s),
    "tiny weights": lambda rng, w, m, s: (w * 10.0 ** rng.uniform(-12, 0, w.shape), m, s),
    "no weight": lambda rng, w, m, s: (w * (np.arange(w.shape[1]) % 2 == 0), m, s),
    "scales over 8 orders": lambda rng, w, m, s: (w, m, 10.0 ** rng.uniform(-8, 0, s.shape)),
    "coincident": lambda rng, w, m, s: (w, np.round(m), np.where(s > 0.7, 1.0, s)),
    "one component K times": lambda rng, w, m, s: (w, m[:, :1] + 0 * m, s[:, :1] + 0 * s),
    "concentric": lambda rng, w, m, s: (w, m[:, :1] + 0 * m, 10.0 ** rng.uniform(-8, 0, s.shape)),
    "atoms of two members": lambda rng, w, m, s: (
        w,
        np.where(np.arange(m.shape[1]) % 2, 0.25, m),
        np.where(np.arange(m.shape[1]) % 2, 1e-3, s),
    ),
    "alike in the first row alone": lambda rng, w, m, s: (
        w,
        np.where(np.arange(len(m))[:, None] == 0, 0.25, m),
        np.where(np.arange(len(m))[:, None] == 0, 1.0, s),
    ),
    "gaps": lambda rng, w, m, s: (w, np.round(3 * m), 0.01 * s),
    "narrow and far apart": lambda rng, w, m, s: (w, 1e8 * m, 1e-3 * s),
    "far from 0": lambda rng, w, m, s: (w, 1e8 + m, s),
    "large": lambda rng, w, m, s: (w, 1e12 * m, 1e12 * s),
    "small": lambda rng, w, m, s: (w, 1e-12 * m, 1e-12 * s),
}


def batch(kind, n=4, n_components=5, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(n_components, 0.5), n) + 1e-3
    means = rng.normal(size=(n, n_components))
    scales = np.exp(0.5 * rng.normal(size=(n, n_components)))
    weights, means, scales = KINDS[kind](rng, weights, means, scales)
    return weights / weights.sum(axis=1, keepdims=True), means, scales


def total(function, weights, means, scales):
    """Sum of weight * function(mean, scale) over one row's components, to 50 digits."""
    return mp.fsum(
        mp.mpf(float(w)) * function(mp.mpf(float(m)), mp.mpf(float(s)))
        for w, m, s in zip(weights, means, scales, strict=True)
        if w > 0
    )


def exactly(function, points, mixture):
    """``function(point, mean, scale)`` averaged over components for points (..., n), as floats."""
    points = np.broadcast_to(points, np.broadcast_shapes(np.shape(points), (len(mixture[0]),)))
    result = np.empty(points.shape)
    for index in np.ndindex(points.shape):
        y, row = mp.mpf(float(points[index])), (part[index[-1]] for part in mixture)
        result[index] = float(total(lambda m, s, y=y: function(y, m, s), *row))
    return result


def points_of(mixture):
    """Points near a component's mean, between components and far out in both tails."""
    _, means, scales = mixture
    near = means[:, 0] + np.array([-1.3, 0.0, 0.7])[:, None] * scales[:, 0]
    far = np.array([-30.0, 30.0])[:, None] * scales.max(axis=1) + means.mean(axis=1)
    return np.concatenate([near, far, [means.mean(axis=1)]])


def excess(mean, scale):
    """E[max(Y, 0)] of Y ~ N(mean, scale^2)."""
    z = mean / scale
    return scale * (mp.npdf(z) + z * mp.ncdf(z))


def distance(mean, scale):
    """E|Y| of Y ~ N(mean, scale^2)."""
    return excess(mean, scale) + excess(-mean, scale)


@pytest.mark.parametrize("kind", KINDS)
def test_density_and_distribution_function_are_exact(kind):
    mixture = batch(kind)
    y = points_of(mixture)
    tiny = 1e-250  # below, floats of mpmath's sums lose digits; the logarithms go on below
    pdf = exactly(lambda y, m, s: mp.npdf(y, m, s), y, mixture)
    cdf = exactly(lambda y, m, s: mp.ncdf((y - m) / s), y, mixture)
    sf = exactly(lambda y, m, s: mp.ncdf((m - y) / s), y, mixture)
    np.testing.assert_allclose(univariate.cdf(y, *mixture), cdf, rtol=1e-12, atol=tiny)
    np.testing.assert_allclose(univariate.sf(y, *mixture), sf, rtol=1e-12, atol=tiny)
    seen = pdf > tiny
    np.testing.assert_allclose(
        univariate.logpdf(y, *mixture)[seen], np.log(pdf[seen]), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("kind", KINDS)
def test_log_tails_keep_their_relative_accuracy(kind):
    mixture = batch(kind, n=2)
    _, means, scales = mixture
    far = np.array([-1e3, -40.0, -8.0, 0.0, 8.0, 40.0, 1e3])[:, None]
    y = means.mean(axis=1) + far * scales.max(axis=1)
    for function, side in ((univariate.logcdf, 1), (univariate.logsf, -1)):
        values = function(y, *mixture)
        assert (values <= 0).all()
        for index in np.ndindex(y.shape):
            row = [part[index[-1]] for part in mixture]
            point = mp.mpf(float(y[index]))
            above = total(lambda m, s, y=point, d=side: mp.ncdf(d * (m - y) / s), *row)
            below = total(lambda m, s, y=point, d=side: mp.ncdf(d * (y - m) / s), *row)
            expected = mp.log(below) if below < 0.5 else mp.log1p(-above)
            assert float(abs(values[index] - expected)) <= 1e-11 * float(abs(expected))


def test_logpdf_is_scipys_logsumexp_of_normals():
    weights, means, scales = mixture = batch("plain", n=50, n_components=8)
    y = np.linspace(-40, 40, 50)
    terms = np.log(weights) + stats.norm.logpdf(y[:, None], means, scales)
    expected = np.logaddexp.reduce(terms, axis=1)
    np.testing.assert_allclose(univariate.logpdf(y, *mixture), expected, rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_probability_between_keeps_its_relative_accuracy(kind):
    mixture = batch(kind)
    widest = mixture[2].max(axis=1)
    low = points_of(mixture)
    for high in (low + 1e-9 * widest, low + 0.3 * widest, low + 20 * widest, np.inf + low):
        high = np.maximum(low, high)
        exact = exactly_between(low, high, mixture)
        probability = univariate.probability_between(low, high, *mixture)
        np.testing.assert_allclose(probability, exact, rtol=2e-12, atol=1e-250)
    np.testing.assert_allclose(univariate.probability_between(-np.inf, np.inf, *mixture), 1)
    lower = univariate.probability_between(-np.inf, low, *mixture)
    np.testing.assert_allclose(lower, univariate.cdf(low, *mixture), rtol=1e-14, atol=1e-300)


def exactly_between(low, high, mixture):
    """To 50 digits, of which differences of two lower tails lose at most the few that are lost."""

    def mass(low, high, mean, scale):
        a, b = (low - mean) / scale, (high - mean) / scale
        a, b = (a, b) if b <= 0 else (-b, -a)
        return mp.ncdf(b) - mp.ncdf(a)

    result = np.empty(low.shape)
    for index in np.ndindex(low.shape):
        ends = mp.mpf(float(low[index])), mp.mpf(float(high[index]))
        row = (part[index[-1]] for part in mixture)
        result[index] = float(total(lambda m, s, ends=ends: mass(*ends, m, s), *row))
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_partial_moments_are_exact(kind):
    mixture = batch(kind)
    weights, means, _ = mixture
    y = points_of(mixture)
    gain = exactly(lambda y, m, s: excess(m - y, s), y, mixture)
    shortage = exactly(lambda y, m, s: excess(y - m, s), y, mixture)
    improvement = univariate.expected_improvement(y, *mixture)
    np.testing.assert_allclose(improvement, gain, rtol=1e-11, atol=1e-250)
    found = univariate.lower_partial_moment(y, *mixture)
    np.testing.assert_allclose(found, shortage, rtol=1e-11, atol=1e-250)
    # E[(Y - y)+] - E[(y - Y)+] = E[Y] - y
    slack = 1e-14 * np.abs(means).max()
    difference = (weights * (means - y[..., None])).sum(axis=-1)
    np.testing.assert_allclose(improvement - found, difference, rtol=1e-12, atol=slack)


def test_expected_improvement_far_in_the_tail():
    z = np.array([-5.0, -20.0, -37.0])
    exact = [float(excess(mp.mpf(x), mp.mpf(1))) for x in z]
    one = np.ones((3, 1))
    np.testing.assert_allclose(
        univariate.expected_improvement(-z, one, 0 * one, one), exact, 1e-11
    )
    found = univariate.expected_improvement([np.inf, -np.inf, 1e300], one, 0 * one, one)
    np.testing.assert_array_equal(found, [0, np.inf, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_expected_shortfall_is_the_mean_below_the_quantile(kind):
    mixture = batch(kind)
    level = np.array([1e-6, 0.05, 0.5, 0.99])[:, None]
    quantile = univariate.ppf(level, *mixture)
    found = univariate.expected_shortfall(level, *mixture)
    for index in np.ndindex(quantile.shape):
        # the mass up to the rounded quantile is not level: what is missing sits at the quantile
        row = [part[index[-1]] for part in mixture]
        q, p = mp.mpf(float(quantile[index])), mp.mpf(float(level[index[0], 0]))
        mass = total(lambda m, s, q=q: mp.ncdf((q - m) / s), *row)
        below = total(lambda m, s, q=q: m * mp.ncdf((q - m) / s) - s * mp.npdf((q - m) / s), *row)
        expected = float((below + q * (p - mass)) / p)
        assert found[index] == pytest.approx(expected, rel=1e-11, abs=1e-11 * mixture[2].min())
    assert (found <= quantile).all()


def test_expected_shortfall_of_a_normal():
    one, level = np.ones((1, 1)), 0.05
    expected = 3 - 2 * stats.norm.pdf(stats.norm.ppf(level)) / level
    np.testing.assert_allclose(
        univariate.expected_shortfall(level, one, 3 * one, 2 * one), expected
    )


@pytest.mark.parametrize("kind", KINDS)
def test_crps_is_exact(kind):
    mixture = batch(kind)
    y = points_of(mixture)
    found = univariate.crps(y, *mixture)
    for index in np.ndindex(y.shape):
        row = [part[index[-1]] for part in mixture]
        point = mp.mpf(float(y[index]))
        first = total(lambda m, s, y=point: distance(y - m, s), *row)
        pairs = total(
            lambda m, s, row=row: total(
                lambda m2, s2: distance(m - m2, mp.sqrt(s**2 + s2**2)), *row
            ),
            *row,
        )
        assert found[index] == pytest.approx(float(first - pairs / 2), rel=1e-11, abs=0)


def test_crps_does_not_cancel_between_far_components():
    # a weight w at distance 1 / w: E|Y - y| and E|Y - Y'| / 2 are near 1, their difference is w
    small = 2.0**-27  # and 1 - w is a float
    weights, means = np.array([[1 - small, small]]), np.array([[0, 1 / small]])
    scales = np.full((1, 2), 1e-9)
    row = [part[0] for part in (weights, means, scales)]
    first = total(lambda m, s: distance(-m, s), *row)
    pairs = total(
        lambda m, s: total(lambda a, b: distance(m - a, mp.sqrt(s**2 + b**2)), *row), *row
    )
    exact = float(first - pairs / 2)
    assert univariate.crps(0.0, weights, means, scales) == pytest.approx(exact, rel=1e-10, abs=0)
    naive = scoringrules.crps_mixnorm(np.zeros(1), means, scales, weights)
    assert naive != pytest.approx(exact, rel=1e-10, abs=0)


@pytest.mark.parametrize("n_components", [1, 2, 7])
def test_crps_is_scoringrules(n_components):
    weights, means, scales = mixture = batch("plain", n=200, n_components=n_components)
    y = np.linspace(-5, 5, 200)
    expected = scoringrules.crps_mixnorm(y, means, scales, weights)
    np.testing.assert_allclose(univariate.crps(y, *mixture), expected, rtol=1e-12)


FUNCTIONS = [
    univariate.logpdf,
    univariate.cdf,
    univariate.sf,
    univariate.logcdf,
    univariate.logsf,
    univariate.ppf,
    univariate.isf,
    univariate.expected_improvement,
    univariate.lower_partial_moment,
    univariate.expected_shortfall,
    univariate.crps,
    lambda a, *mixture: univariate.probability_between(a, a + 0.5, *mixture),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("shape", [(), (6,), (1,), (3, 6), (3, 1), (2, 3, 6)])
def test_points_broadcast_against_rows(function, shape):
    mixture = batch("plain", n=6)
    points = np.random.default_rng(0).uniform(0.01, 0.99, shape)
    found = function(points, *mixture)
    full = np.broadcast_to(points, found.shape)
    assert found.shape == np.broadcast_shapes(shape, (6,))
    for row in range(6):
        alone = tuple(part[row : row + 1] for part in mixture)
        for index in np.ndindex(found.shape[:-1]):
            np.testing.assert_allclose(
                found[(*index, row)], function(full[(*index, row)], *alone)[0], rtol=1e-11
            )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_rows_do_not_depend_on_their_block(function):
    mixture = batch("plain", n=30_000, n_components=3)
    points = np.linspace(0.01, 0.99, 30_000)
    some = slice(10_000, 11_000)
    alone = function(points[some], *(part[some] for part in mixture))
    np.testing.assert_allclose(function(points, *mixture)[some], alone, rtol=1e-12)
    one = tuple(part[:1] for part in mixture)
    many = function(points[:, None], *one)[:, 0]
    repeated = function(points, *(np.repeat(part, 30_000, axis=0) for part in one))
    np.testing.assert_allclose(many, repeated, rtol=1e-11)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_rows_no_answers(function):
    empty = np.empty((0, 3))
    assert function(np.empty(0), empty, empty, empty).shape == (0,)
    assert function(np.full((2, 1), 0.5), empty, empty, empty).shape == (2, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_warns_whatever_the_callers_settings(kind, function):
    mixture = batch(kind)
    with np.errstate(all="raise"):
        function(np.array([[0.3], [1e-9], [0.999]]), *mixture)
        assert np.geterr()["divide"] == "raise"
