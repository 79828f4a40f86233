"""Quantiles, modes, regions and entropies of one-dimensional mixtures, against slow oracles."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, signal, stats
from test_univariate import KINDS, batch, total

from skmdn.distribution import univariate
from skmdn.distribution._roots import find_root

HARD_AND_SMALL = pytest.mark.parametrize("kind", KINDS)


# --- quantiles -------------------------------------------------------------------------------


@HARD_AND_SMALL
@pytest.mark.parametrize("n_components", [1, 2, 6, 40])
def test_quantiles_are_exact(kind, n_components):
    mixture = batch(kind, n=3, n_components=n_components)
    q = np.array([1e-12, 1e-5, 0.3, 0.7])[:, None]
    for function, side in ((univariate.ppf, 1), (univariate.isf, -1)):
        for (level, row), y in np.ndenumerate(function(q, *mixture)):
            here = [part[row] for part in mixture]
            p, point = mp.mpf(float(q[level, 0])), mp.mpf(float(y))
            tail = total(lambda m, s, y=point, d=side: mp.ncdf(d * (y - m) / s), *here)
            density = total(lambda m, s, y=point: mp.npdf(y, m, s), *here)
            # the nearest float, or one whose tail is p as nearly as float64 computes it
            error = abs(tail - p) / max(density * abs(point), p)
            assert error < 2e-14


def test_quantiles_of_one_component_are_scipys():
    mixture = batch("plain", n=50, n_components=1)
    normal = stats.norm(mixture[1][:, 0], mixture[2][:, 0])
    q = np.array([1e-300, 1e-12, 0.2, 0.5, 0.9, 1 - 1e-12])[:, None]
    np.testing.assert_allclose(univariate.ppf(q, *mixture), normal.ppf(q), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(univariate.isf(q, *mixture), normal.isf(q), rtol=1e-13, atol=1e-14)


def test_quantiles_at_the_ends_and_outside():
    mixture = batch("plain", n=2)
    q = np.array([0.0, 1.0, -0.1, 1.1, np.nan])[:, None] + np.zeros(2)
    infinite = np.array([-np.inf, np.inf, np.nan, np.nan, np.nan])[:, None] + np.zeros(2)
    np.testing.assert_array_equal(univariate.ppf(q, *mixture), infinite)
    np.testing.assert_array_equal(univariate.isf(q, *mixture), -infinite)


def test_a_quantile_inside_a_flat_stretch_has_the_probability_asked():
    weights, means = np.array([[0.25, 0.25, 0.5]]), np.array([[-1e6, 0.0, 1e6]])
    mixture = weights, means, np.array([[1.0, 1e-3, 10.0]])
    y = univariate.ppf(np.array([[0.25], [0.5]]), *mixture)
    np.testing.assert_allclose(univariate.cdf(y, *mixture), [[0.25], [0.5]], rtol=1e-15)
    assert -1e6 < y[0, 0] < 0 < y[1, 0] < 1e6


def test_quantiles_are_those_of_a_plain_root_finder():
    mixture = batch("plain", n=30, n_components=8)
    q = np.linspace(0.01, 0.99, 30)
    for row, (level, y) in enumerate(zip(q, univariate.ppf(q, *mixture), strict=True)):
        weights, means, scales = (part[row] for part in mixture)
        root = optimize.brentq(
            lambda y, w=weights, m=means, s=scales, q=level: w @ stats.norm.cdf(y, m, s) - q,
            -30,
            30,
            xtol=1e-14,
        )
        assert y == pytest.approx(root, abs=1e-12)


@pytest.mark.parametrize("offset", [-1e-4, -1e-5, -1e-7, 0.0, 1e-6, 1e-5, 1e-4])
def test_a_spike_beside_the_quantile_counts(offset):
    """A Taylor polynomial would pass over it: a spike of weight w moves the quantile by w / f."""
    place = stats.norm.ppf(0.3) + offset
    mixture = np.array([[1 - 1e-5, 1e-5]]), np.array([[0, place]]), np.array([[1, 1e-9]])
    row = [part[0] for part in mixture]
    for function, p, side in ((univariate.ppf, 0.3, 1), (univariate.isf, 0.7, -1)):
        y = mp.mpf(float(function(p, *mixture)[0]))
        tail = float(total(lambda m, s, y=y, d=side: mp.ncdf(d * (y - m) / s), *row))
        assert tail == pytest.approx(p, rel=1e-11)


def test_roots_are_found_where_newton_creeps():
    def creeping(x, root):
        return 1e-12 * np.sign(root - x), np.zeros(x.shape, bool)

    roots = np.linspace(-0.9, 0.9, 50)
    found = find_root(creeping, np.zeros(50), np.full(50, -1.0), np.full(50, 1.0), roots)
    np.testing.assert_allclose(found, roots, atol=1e-11)


# --- properties of every mixture -------------------------------------------------------------

COMPONENT = st.tuples(st.floats(1e-3, 1), st.floats(-10, 10), st.floats(-2, 1))


@st.composite
def mixtures(draw):
    """One row of up to six components, scales over three orders of magnitude."""
    weights, means, exponents = np.array(draw(st.lists(COMPONENT, min_size=1, max_size=6))).T
    return (weights / weights.sum())[None], means[None], 10.0 ** exponents[None]


def answers(mixture, shift=0.0, scale=1.0):
    """What is asked of a mixture: places and distances that should shift and scale with y."""
    _, _, log_level = univariate.region(0.8, *mixture)
    mode = univariate.mode(*mixture)
    y = np.array([[-3.0], [0.5], [4.0]]) * scale + shift
    return {
        "places": [
            univariate.ppf(np.array([[1e-9], [0.1], [0.6], [1 - 1e-9]]), *mixture),
            univariate.isf(1e-12, *mixture),
            univariate.expected_shortfall(0.1, *mixture),
        ],
        "distances": [
            univariate.crps(y, *mixture),
            univariate.expected_improvement(y, *mixture),
            univariate.lower_partial_moment(y, *mixture),
        ],
        "log densities": [
            univariate.logpdf(y, *mixture),
            -univariate.entropy(*mixture),
            univariate.logpdf(mode, *mixture),
            log_level,
        ],
        "probabilities": [
            univariate.cdf(y, *mixture),
            univariate.sf(y, *mixture),
            univariate.probability_between(y, y + scale, *mixture),
        ],
    }


def assert_same(found, expected, shift=0.0, scale=1.0):
    moved = {
        "places": lambda a: a * scale + shift,
        "distances": lambda a: a * scale,
        "log densities": lambda a: a - np.log(scale),
        "probabilities": lambda a: a,
    }
    for what, values in expected.items():
        for value, other in zip(values, found[what], strict=True):
            np.testing.assert_allclose(other, moved[what](value), rtol=1e-7, atol=1e-7 * scale)


@settings(max_examples=25)
@given(mixtures(), st.randoms(use_true_random=False))
def test_the_order_of_components_is_nothing(mixture, random):
    order = list(range(mixture[0].shape[1]))
    random.shuffle(order)
    assert_same(answers([part[:, order] for part in mixture]), answers(mixture))


@settings(max_examples=25)
@given(mixtures(), st.floats(0, 1), st.data())
def test_a_component_may_be_split(mixture, share, data):
    k = data.draw(st.integers(0, mixture[0].shape[1] - 1))
    weights, means, scales = (np.append(part, part[:, k : k + 1], axis=1) for part in mixture)
    weights[:, k], weights[:, -1] = share * weights[:, k], (1 - share) * weights[:, k]
    assert_same(answers((weights, means, scales)), answers(mixture))


@settings(max_examples=25)
@given(mixtures(), st.floats(-100, 100), st.sampled_from([0.1, 1.0, 7.0]))
def test_answers_shift_and_scale_with_y(mixture, shift, scale):
    weights, means, scales = mixture
    moved = answers((weights, means * scale + shift, scales * scale), shift, scale)
    assert_same(moved, answers(mixture), shift, scale)


@given(mixtures(), st.floats(-30, 30))
def test_ppf_undoes_cdf(mixture, y):
    lower, upper = univariate.cdf(y, *mixture), univariate.sf(y, *mixture)
    if min(lower, upper) < 1e-300:
        return
    back = univariate.ppf(lower, *mixture) if lower < 0.5 else univariate.isf(upper, *mixture)
    # what a rounding of the probability moves y by
    log_slack = np.log(1e-14 * min(lower, upper)) - univariate.logpdf(y, *mixture)
    log_slack = log_slack.clip(max=700.0)  # in a gap, any distance will do
    between = univariate.probability_between(min(back[0], y), max(back[0], y), *mixture)
    assert abs(back - y) <= np.exp(log_slack) + 1e-14 * abs(y) or between < 1e-13 * lower


# --- modes -----------------------------------------------------------------------------------


def slope(y, weights, means, scales):
    """The density's derivative, but for a positive factor, and the size of its rounding error."""
    z = (y[:, None] - means) / scales
    log_terms = np.log(weights / scales**2) - 0.5 * z**2
    terms = -z * np.exp(log_terms - log_terms.max(axis=1, keepdims=True))
    return terms.sum(axis=1), 1e-14 * np.abs(terms).sum(axis=1)


def brute_modes(weights, means, scales):
    """Where the slope's sign falls on a grid adapted to every component."""
    grid = np.concatenate(
        [np.linspace(-9, 9, 301), np.geomspace(9, 1e4, 50), -np.geomspace(9, 1e4, 50)]
    )
    y = np.unique(means[:, None] + scales[:, None] * grid)
    value, noise = slope(y, weights, means, scales)
    y, value = y[np.abs(value) > noise], value[np.abs(value) > noise]
    falls = np.flatnonzero((value[:-1] > 0) & (value[1:] < 0))
    return y[falls], y[falls + 1]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "no weight"])
@pytest.mark.parametrize("n_components", [1, 2, 3, 8])
def test_no_mode_of_a_dense_grid_is_missed(kind, n_components):
    mixture = batch(kind, n=40, n_components=n_components)
    locations, log_densities, counts = univariate.modes(*mixture)
    assert (np.isnan(locations) == (np.arange(n_components) >= counts[:, None])).all()
    assert (np.diff(locations, axis=1)[:, : counts.max() - 1] > 0).sum() == (counts - 1).sum()
    np.testing.assert_allclose(
        log_densities.T, univariate.logpdf(locations.T, *mixture), rtol=1e-12, atol=1e-12
    )
    for row in range(40):
        found = locations[row, : counts[row]]
        left, right = brute_modes(*(part[row] for part in mixture))
        held = (left[:, None] <= found) & (found <= right[:, None])
        assert held.any(axis=1).all()


@pytest.mark.parametrize("least", [0.02, 0.1, 0.5, 1.0])
def test_modes_that_stand_out_are_the_peaks_of_a_dense_grid(least):
    rng = np.random.default_rng(0)
    shape = 60, 8
    weights, means = rng.dirichlet(np.ones(8), 60), rng.uniform(-4, 4, shape)
    mixture = weights, means, rng.uniform(0.15, 0.6, shape)
    locations, _, counts = univariate.modes(*mixture, prominence=least)
    grid = np.linspace(-9, 9, 20_001)
    densities = np.exp(univariate.logpdf(grid[:, None], *mixture)).T
    for density, found, count in zip(densities, locations, counts, strict=True):
        peaks, about = signal.find_peaks(density / density.max(), prominence=0.9 * least)
        assert (np.abs(about["prominences"] - least)[about["prominences"] < 1] > 1e-4).all()
        peaks = grid[peaks[about["prominences"] >= least - 1e-5]]
        np.testing.assert_allclose(found[:count], peaks, atol=1e-3)
        assert np.isnan(found[count:]).all()
    assert 60 <= counts.sum() < univariate.modes(*mixture)[2].sum()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "no weight"])
def test_of_all_modes_the_highest_stands_out_most(kind):
    mixture = batch(kind, n=40, n_components=6)
    locations, log_densities, _ = univariate.modes(*mixture, prominence=1.0)
    _, of_all, counts = univariate.modes(*mixture)
    np.testing.assert_array_equal(np.nanmax(log_densities, 1), np.nanmax(of_all, 1))
    some = univariate.modes(*mixture, prominence=0.3)[2]
    assert ((~np.isnan(locations)).sum(1) <= some).all()
    assert (some <= counts).all()


@pytest.mark.parametrize("kind", ["plain", "tiny weights", "coincident", "gaps", "concentric"])
def test_every_mode_is_a_maximum(kind):
    mixture = batch(kind, n=40, n_components=6)
    locations, log_densities, counts = univariate.modes(*mixture)
    for row in range(40):
        weights, means, scales = (part[row] for part in mixture)
        for y, log_density in zip(locations[row, : counts[row]], log_densities[row], strict=False):
            nearest = scales[np.abs(means - y) <= 9 * scales].min()
            sides = y + np.array([-1e-3, 1e-3]) * nearest
            values, _ = slope(sides, weights, means, scales)
            assert values[0] > 0 > values[1]
            here = tuple(part[row : row + 1] for part in mixture)
            assert (univariate.logpdf(sides[:, None], *here) <= log_density).all()


@pytest.mark.parametrize("half", [0.3, 0.999, 1.0, 1.001, 1.5, 4.0, 30.0])
def test_two_equal_components_have_two_modes_when_over_two_scales_apart(half):
    """The modes solve y = d tanh(d y), d half the distance in scales."""
    mixture = np.full((1, 2), 0.5), np.array([[-half, half]]) + 7, np.ones((1, 2))
    locations, _, counts = univariate.modes(*mixture)
    assert counts == (2 if half > 1 else 1)
    if half > 1:
        root = optimize.brentq(lambda y: half * np.tanh(half * y) - y, 1e-3, half + 1, xtol=1e-15)
        np.testing.assert_allclose(locations[0], [7 - root, 7 + root], rtol=1e-11)
    else:
        assert locations[0, 0] == pytest.approx(7, abs=1e-4 if half == 1 else 1e-11)


def test_a_mode_that_no_ascent_from_a_mean_reaches():
    # two broad components merge between their means; spikes sit on both means
    mixture = (
        np.array([[0.499, 0.499, 1e-3, 1e-3]]),
        np.array([[-1.0, 1, -1, 1]]),
        np.array([[1.0, 1, 1e-3, 1e-3]]),
    )
    locations, _, counts = univariate.modes(*mixture)
    np.testing.assert_allclose(locations[0, : counts[0]], [-1, 0, 1], atol=1e-3)


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2], [2, 1, 0], [2, 0, 1]])
@pytest.mark.parametrize("mirror", [1, -1])
def test_a_spike_on_top_of_a_broad_component_is_a_mode(order, mirror):
    # the slope rises at 0 and at 0.5, and falls in between only because of the spike at 0
    mixture = np.array([[0.01, 0.2, 0.79]]), np.array([[0, 0, 1.0]]), np.array([[0.05, 1, 0.5]])
    weights, means, scales = (part[:, order] for part in mixture)
    locations, _, counts = univariate.modes(weights, mirror * means, scales)
    left, right = brute_modes(weights[0], mirror * means[0], scales[0])
    assert counts == len(left) == 2
    assert ((left < locations[0, :2]) & (locations[0, :2] < right)).all()


def test_a_narrow_bump_on_a_broad_flank_is_a_mode():
    mixture = np.array([[1 - 1e-9, 1e-9]]), np.array([[0.0, 1.5]]), np.array([[1.0, 1e-8]])
    locations, _, counts = univariate.modes(*mixture)
    assert counts == 2
    np.testing.assert_allclose(locations[0], [0.0, 1.5], atol=1e-7)


@pytest.mark.parametrize("gap", [0.0, 1e-15, 1e-9, 1e-5])
def test_near_duplicates_have_one_mode(gap):
    means = 1 + gap * np.arange(20.0)[None]
    _, _, counts = univariate.modes(np.full((1, 20), 0.05), means, np.ones((1, 20)))
    assert counts == 1


@pytest.mark.parametrize("span", [1e-7, 1e-6, 1e-5])
def test_rounding_makes_no_modes_on_a_flat_top(span):
    # two components exactly two scales apart: to third order the density is flat between them
    few = np.random.default_rng(0).uniform(-span, span, 38)  # cut the top where only noise is seen
    means = 3 + np.concatenate([[-1, 1], few])[None]
    weights = np.concatenate([[0.5, 0.5], np.full(38, 1e-20)])[None]
    locations, _, counts = univariate.modes(weights, means, np.ones((1, 40)))
    assert counts == 1
    assert locations[0, 0] == pytest.approx(3, abs=1e-4)


@HARD_AND_SMALL
@pytest.mark.parametrize("n_components", [1, 2, 9])
def test_the_mode_is_the_highest_of_all_modes(kind, n_components):
    mixture = batch(kind, n=100, n_components=n_components)
    locations, log_densities, _ = univariate.modes(*mixture)
    highest = np.nanmax(log_densities, axis=1)
    mode = univariate.mode(*mixture)
    np.testing.assert_allclose(univariate.logpdf(mode, *mixture), highest, rtol=1e-13, atol=1e-13)
    assert (mode[:, None] == locations).any(axis=1).all()


def test_of_tied_modes_the_lowest():
    mixture = np.full((1, 2), 0.5), np.array([[4.0, -4.0]]), np.ones((1, 2))
    assert univariate.mode(*mixture) == pytest.approx(-4, abs=1e-10)


# --- highest-density regions -----------------------------------------------------------------


@HARD_AND_SMALL
@pytest.mark.parametrize("coverage", [0.01, 0.5, 0.9, 0.999])
def test_regions_hold_their_coverage_above_one_level(kind, coverage):
    mixture = batch(kind, n=40, n_components=5)
    intervals, counts, log_level = univariate.region(coverage, *mixture)
    assert (np.isnan(intervals).any(axis=2) == (np.arange(5) >= counts[:, None])).all()
    low, high = intervals.transpose(2, 1, 0)
    assert (np.nan_to_num(high - low, nan=1) > 0).all()
    assert (np.nan_to_num(low[1:] - high[:-1], nan=1) > 0).all()
    probability = np.nansum(univariate.probability_between(low, high, *mixture), axis=0)
    # an end is a float: rounding it moves the probability by the level times the rounding
    rounding = np.exp(log_level) * np.nansum(np.spacing(np.abs(intervals)), axis=(1, 2))
    assert (np.abs(probability - coverage) <= 1e-9 + rounding).all()
    ends = univariate.logpdf(intervals.transpose(1, 2, 0), *mixture)
    tightest = mixture[2].min(axis=1) / 10  # log f moves by at most z / s per unit, z < 10
    slack = 1e-11 + np.spacing(np.abs(mixture[1]).max(axis=1)) / tightest
    assert (np.nan_to_num(np.abs(ends - log_level)) <= slack).all()
    share = np.linspace(0.02, 0.98, 25)[:, None, None]
    inside = univariate.logpdf(low + share * (high - low), *mixture) - log_level
    outside = univariate.logpdf(high[:-1] + share * (low[1:] - high[:-1]), *mixture) - log_level
    assert (np.nan_to_num(inside) >= -slack).all()
    assert (np.nan_to_num(outside) <= slack).all()


# Where scales are far below the means, rounding one end to a float moves the others' level.
@pytest.mark.parametrize("kind", ["plain", "tiny weights", "no weight", "coincident", "large"])
@pytest.mark.parametrize("coverage", [0.1, 0.9])
def test_the_coverage_of_a_regions_border_is_its_own(kind, coverage):
    mixture = batch(kind, n=20)
    intervals, _, _ = univariate.region(coverage, *mixture)
    found = univariate.region_probability(intervals[:, 0].T, *mixture)
    np.testing.assert_allclose(found, coverage, atol=1e-9)


def test_the_coverage_of_points_by_simulation():
    mixture = weights, means, scales = batch("plain", n=3, n_components=4)
    y = np.linspace(-2, 2, 5)[:, None] + np.zeros(3)
    found = univariate.region_probability(y, *mixture)
    rng, size = np.random.default_rng(0), 200_000
    for row in range(3):
        k = rng.choice(4, size, p=weights[row])
        draws = rng.normal(means[row, k], scales[row, k])[:, None]
        here = tuple(part[row : row + 1] for part in mixture)
        above = univariate.logpdf(draws, *here) >= univariate.logpdf(y[:, row, None], *here).T
        error = 4 * np.sqrt(found[:, row] * (1 - found[:, row]) / size) + 1e-12
        assert (np.abs(above.mean(axis=0) - found[:, row]) < error).all()


def test_regions_are_the_smallest_sets():
    """No other level set of a fine grid reaches the coverage with less length."""
    mixture = batch("plain", n=10, n_components=4, seed=3)
    intervals, _, _ = univariate.region(0.8, *mixture)
    length = np.nansum(intervals[..., 1] - intervals[..., 0], axis=1)
    y = np.linspace(-12, 12, 200_001)
    density = np.sort(np.exp(univariate.logpdf(y[:, None], *mixture)), axis=0)[::-1]
    step = y[1] - y[0]
    enough = (np.cumsum(density, axis=0) * step < 0.8).sum(axis=0) * step
    np.testing.assert_allclose(length, enough, rtol=1e-3)


def test_the_region_of_a_normal_is_its_central_interval():
    mixture = batch("plain", n=20, n_components=1)
    normal = stats.norm(mixture[1][:, 0], mixture[2][:, 0])
    coverage = np.linspace(0.05, 0.999, 20)
    intervals, counts, log_level = univariate.region(coverage, *mixture)
    assert (counts == 1).all()
    np.testing.assert_allclose(
        intervals[:, 0].T, normal.interval(coverage), rtol=1e-11, atol=1e-12
    )
    np.testing.assert_allclose(log_level, normal.logpdf(intervals[:, 0, 1]), rtol=1e-11)


def test_a_region_that_cannot_be_told_from_its_peak_is_that_point():
    weights, means, scales = (
        np.array([[0.3, 0.7]] * 2),
        np.array([[0.0, 40.0]] * 2),
        np.ones((2, 2)),
    )
    ends, counts, level = univariate.region([1e-12, 0.5], weights, means, scales)
    np.testing.assert_array_equal(counts, 1)
    np.testing.assert_allclose(ends[0, 0], 40.0, rtol=1e-12)
    np.testing.assert_allclose(
        level[0], univariate.logpdf(np.array([40.0]), weights, means, scales)[0]
    )
    flat = univariate.region(1e-4, np.full((1, 2), 0.5), np.array([[0.0, 2.0]]), np.ones((1, 2)))
    np.testing.assert_allclose(flat[0][0, 0], 1.0, atol=1e-2)  # a quartic top


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9, 1e12, 1e100])
def test_far_quantiles_in_any_unit(scale):
    """Derivatives of their densities, by powers of large units, would be zero in float64."""
    weights = np.array([[5e-20, 6e-28, 1.0]])
    means = np.array([[-7.5, -0.2, 11.6]]) * scale
    scales = np.array([[1.3, 2.5, 0.34]]) * scale
    for p in (1e-10, 1e-100, 1e-250, 1e-300):
        for quantile, tail in (
            (univariate.ppf, univariate.logcdf),
            (univariate.isf, univariate.logsf),
        ):
            found = quantile(np.array([p]), weights, means, scales)
            np.testing.assert_allclose(tail(found, weights, means, scales), np.log(p), rtol=1e-12)


@pytest.mark.parametrize("ratio", [1e60, 1e90])
def test_quantiles_of_scales_that_are_far_apart(ratio):
    mixture = np.array([[0.5, 0.5]]), np.array([[0.0, 10.0 * ratio]]), np.array([[1.0, ratio]])
    found = univariate.ppf(np.array([[0.1], [0.3], [0.7]]), *mixture)[:, 0]
    expected = stats.norm.ppf([0.2, 0.6, 0.4]) * [1, 1, ratio] + [0, 0, 10 * ratio]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_quantiles_of_scales_that_single_precision_has_none_of():
    means, scales = np.array([[-0.4, 0.024, 0.0058]]), np.array([[2.6e-20, 2.3e-40, 2.4e-40]])
    found = univariate.ppf(np.array([0.3]), np.array([[1.9e-118, 1.0, 2.7e-125]]), means, scales)
    np.testing.assert_allclose(found, 0.024, rtol=1e-15)


def test_quantiles_of_tiny_scales_at_huge_means():
    mixture = np.array([[0.5, 0.5]]), np.array([[1e300, -1e300]]), np.array([[1e-20, 1e-300]])
    found = univariate.ppf(np.array([[0.2], [0.8]]), *mixture)
    np.testing.assert_allclose(found[:, 0], [-1e300, 1e300], rtol=1e-15)


def test_a_region_may_leave_modes_out():
    mixture = np.array([[0.9, 0.1]]), np.array([[0.0, 10.0]]), np.ones((1, 2))
    assert univariate.region(0.5, *mixture)[1] == 1
    assert univariate.region(0.99, *mixture)[1] == 2


# --- entropy ---------------------------------------------------------------------------------


@HARD_AND_SMALL
def test_entropies_are_those_of_mpmath(kind):
    mixture = batch(kind, n=2, n_components=3)
    found = univariate.entropy(*mixture)
    for row in range(2):
        here = [part[row][mixture[0][row] > 0] for part in mixture]
        cuts = here[1][:, None] + here[2][:, None] * np.array([-38, -12, -6, -3, 0, 3, 6, 12, 38])
        with mp.workdps(16):
            points = [mp.mpf(float(y)) for y in np.unique(cuts)]

            def integrand(y, here=here):
                density = total(lambda m, s: mp.npdf(y, m, s), *here)
                return -density * mp.log(density) if density > 1e-300 else mp.mpf(0)

            assert found[row] == pytest.approx(
                float(mp.quad(integrand, points, maxdegree=5)), abs=1e-8
            )


def test_the_entropy_of_a_normal_whatever_its_place_and_scale():
    mixture = np.ones((3, 1)), np.array([[0.0], [1e8], [-1e12]]), np.array([[1.0], [1e-6], [1e9]])
    expected = stats.norm.entropy(mixture[1][:, 0], mixture[2][:, 0])
    np.testing.assert_allclose(univariate.entropy(*mixture), expected, atol=1e-8)


def test_the_entropy_of_components_far_apart_is_theirs_and_the_choice_of_one():
    weights = np.array([[0.5, 0.3, 0.2 - 1e-9, 1e-9]])
    means, scales = np.array([[-1e6, 0.0, 5.0, 1e9]]), np.array([[1e-4, 1e-6, 0.01, 1e3]])
    expected = (weights * (stats.norm.entropy(0, scales) - np.log(weights))).sum()
    np.testing.assert_allclose(univariate.entropy(weights, means, scales), expected, atol=1e-8)


@pytest.mark.parametrize("tol", [1e-4, 1e-8, 1e-11])
def test_entropies_keep_their_tolerance(tol):
    mixture = batch("plain", n=300, n_components=6, seed=1)
    exact = univariate.entropy(*mixture, tol=1e-13)
    assert np.abs(univariate.entropy(*mixture, tol=tol) - exact).max() < tol


def test_entropy_is_scipys_quadrature():
    mixture = batch("plain", n=5)
    for row, entropy in enumerate(univariate.entropy(*mixture)):
        here = tuple(part[row : row + 1] for part in mixture)

        def integrand(y, here=here):
            log_density = univariate.logpdf(y, *here)[0]
            return -log_density * np.exp(log_density)

        assert entropy == pytest.approx(integrate.quad(integrand, -30, 30, limit=500)[0], abs=1e-7)


@HARD_AND_SMALL
def test_nothing_warns_whatever_the_callers_settings(kind):
    mixture = batch(kind)
    with np.errstate(all="raise"):
        univariate.modes(*mixture)
        univariate.mode(*mixture)
        univariate.region(0.9, *mixture)
        univariate.entropy(*mixture)
        assert np.geterr()["divide"] == "raise"


def test_no_rows_no_answers():
    empty = np.empty((0, 3))
    assert [part.shape for part in univariate.modes(empty, empty, empty)] == [(0, 3), (0, 3), (0,)]
    assert univariate.mode(empty, empty, empty).shape == (0,)
    assert univariate.region(0.9, empty, empty, empty)[0].shape == (0, 3, 2)
    assert univariate.entropy(empty, empty, empty).shape == (0,)
    assert univariate.region_probability(np.empty((2, 0)), empty, empty, empty).shape == (2, 0)


@pytest.mark.parametrize("n_components", [3, 40])
def test_rows_do_not_depend_on_their_block(n_components):
    mixture = batch("plain", n=40_000 // n_components, n_components=n_components)
    alone = tuple(part[500:600] for part in mixture)
    for function in (univariate.mode, univariate.entropy):
        np.testing.assert_allclose(function(*mixture)[500:600], function(*alone), rtol=1e-10)
    for all_, some in zip(univariate.modes(*mixture), univariate.modes(*alone), strict=True):
        np.testing.assert_allclose(all_[500:600], some, rtol=1e-12)
    for all_, some in zip(
        univariate.region(0.9, *mixture), univariate.region(0.9, *alone), strict=True
    ):
        np.testing.assert_allclose(all_[500:600], some, rtol=1e-9)
