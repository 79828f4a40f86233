"""Prediction sets hold what they promise, whatever the densities they are read off are worth."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skmdn import MDNRegressor, NormalMixture
from skmdn._conformal import PredictionSets
from skmdn._conformity import (
    interval,
    interval_scores,
    majority,
    region,
    region_scores,
    threshold,
)
from skmdn.distribution.one_target import Region

SMALL = MDNRegressor(
    n_components=2,
    n_estimators=5,
    validation_fraction=0.2,
    max_iter=20,
    hidden_layer_sizes=(8,),
    random_state=0,
)


class Believes(PredictionSets):
    """Any density for every row, without a network: ``belief(X)`` gives the mixtures."""

    def __init__(self, belief, n_targets=None):
        self._mixtures = belief
        self._y_ndim = 1 if n_targets is None else 2
        self.n_outputs_ = n_targets or 1

    def _check_rows(self, X):
        return np.asarray(X)

    def _numbers_per_row(self):
        return 4


def one_bump(X):
    """A normal density of the wrong mean and half the right width, of y = x + noise."""
    return NormalMixture(np.ones((len(X), 1)), X + 0.2, np.full((len(X), 1), 0.25))


def two_bumps(X):
    """Bumps near x and -x, wrong in weight and place."""
    means = np.hstack([X + 0.1, -X])
    return NormalMixture(np.tile([0.7, 0.3], (len(X), 1)), means, np.full((len(X), 2), 0.2))


NOISES = {
    "heavy": lambda rng, x: x + rng.standard_cauchy(len(x)),
    "skew": lambda rng, x: x + rng.exponential(size=len(x)),
    "heteroscedastic": lambda rng, x: x + np.exp(x) * rng.normal(size=len(x)),
    "bimodal": lambda rng, x: rng.choice([-1, 1], len(x)) * x + 0.3 * rng.normal(size=len(x)),
}


def drawn(noise, n, rng):
    X = rng.uniform(1, 3, (n, 1))
    return X, NOISES[noise](rng, X[:, 0])


def in_sets(sets, y):
    """Whether y (n,) lies in intervals (n, 2) or in a Region."""
    intervals = sets.intervals if isinstance(sets, Region) else sets[:, None]
    y = np.asarray(y)[:, None]
    return ((intervals[..., 0] <= y) & (y <= intervals[..., 1])).any(axis=1)


def lengths(sets):
    intervals = sets.intervals if isinstance(sets, Region) else sets[:, None]
    return np.nansum(intervals[..., 1] - intervals[..., 0], axis=1)


# --- the guarantee -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noise", "belief"),
    [
        ("heavy", one_bump),
        ("skew", two_bumps),
        ("heteroscedastic", one_bump),
        ("bimodal", two_bumps),
    ],
)
def test_sets_cover_what_they_promise_on_average(noise, belief):
    """99 rows and 0.9: the expected coverage is 90 / 100 exactly, for scores without ties."""
    rng, model = np.random.default_rng(0), Believes(belief)
    held = []
    for _ in range(80):
        model.calibrate(*drawn(noise, 99, rng))
        X, y = drawn(noise, 100, rng)
        ends = model.predict_interval(X, conformal=True)
        held.append([in_sets(ends, y).mean(), model.in_region(X, y, conformal=True).mean()])
    error = np.std(held, axis=0) / len(held) ** 0.5
    assert (error < 0.008).all()
    assert (np.abs(np.mean(held, axis=0) - 0.9) < 4 * error).all()
    X, y = drawn(noise, 2000, rng)
    regions = model.predict_region(X, conformal=True)
    np.testing.assert_array_equal(in_sets(regions, y), model.in_region(X, y, conformal=True))
    assert abs(in_sets(model.predict_interval(X), y).mean() - 0.9) > 0.03, "wrong by themselves"


def test_joint_regions_and_intervals_of_several_targets_cover():
    def belief(X):  # wrong in correlation, shape and place
        means = np.stack([np.hstack([X, X]), np.hstack([X, -X])], axis=1)
        return NormalMixture(
            np.full((len(X), 2), 0.5), means, np.tile(np.eye(2), (len(X), 2, 1, 1))
        )

    def data(n):
        X = rng.uniform(1, 3, (n, 1))
        first = X[:, 0] + rng.standard_t(3, n)
        return X, np.column_stack([first, first**2 / 4 + 0.2 * rng.normal(size=n)])

    rng, model = np.random.default_rng(0), Believes(belief, n_targets=2)
    joint, single = [], []
    for _ in range(40):
        model.calibrate(*data(99))
        X, y = data(40)
        joint.append(model.in_region(X, y, conformal=True).mean())
        ends = model.predict_interval(X, conformal=True)
        single.append(((ends[..., 0] <= y) & (y <= ends[..., 1])).mean(axis=0))
    assert np.mean(joint) == pytest.approx(0.9, abs=0.03)
    np.testing.assert_allclose(np.mean(single, axis=0), 0.9, atol=0.03)
    X, y = data(400)
    assert model.in_region(X, y).mean() < 0.85, "wrong by itself"


def test_the_smallest_set_that_is_safe_is_chosen():
    scores = np.arange(1.0, 100.0)
    assert threshold(scores, 0.9) == pytest.approx(90, rel=1e-5)  # ceil(100 * 0.9)
    assert threshold(scores, 0.895) == pytest.approx(90, rel=1e-5)
    assert threshold(scores, 0.99) == pytest.approx(99, rel=1e-5)
    assert threshold(scores, 1e-13) == pytest.approx(1, rel=1e-5)
    columns = threshold(np.column_stack([scores, 2 * scores]), 0.5)
    np.testing.assert_allclose(columns, [50, 100], rtol=1e-5)


def test_too_few_rows_say_how_many_it_takes():
    assert threshold(np.arange(9.0), 0.9) == pytest.approx(8, rel=1e-5)
    message = "coverage=0.9 needs calibration on 9 rows or more, and there were 8"
    with pytest.raises(ValueError, match=message):
        threshold(np.arange(8.0), 0.9)
    with pytest.raises(ValueError, match="needs calibration on 99 rows or more"):
        threshold(np.arange(98.0), 0.99)


def test_ties_stay_inside():
    """y on a grid, equal rows: many new y lie on the very border of their set."""
    rng, model = np.random.default_rng(0), Believes(two_bumps)
    X = np.full((99, 1), 2.0)
    for scale in (1.0, 1e9):
        held = []
        for _ in range(30):
            y, new = scale + rng.integers(-1, 2, (2, 99)) / 7
            model.calibrate(X - 2 + scale, y)
            held.append(
                [
                    in_sets(model.predict_interval(X - 2 + scale, conformal=True), new).mean(),
                    in_sets(model.predict_region(X - 2 + scale, conformal=True), new).mean(),
                ]
            )
        assert (np.mean(held, axis=0) >= 0.9).all()


# --- scores and sets -----------------------------------------------------------------------------


def wild(n, n_components, seed):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(n_components, 0.5), n)
    scales = np.exp(rng.normal(size=(n, n_components)))
    return NormalMixture(weights, 3 * rng.normal(size=(n, n_components)), scales**2)


@pytest.mark.parametrize("stretch", [1.0, 4.0, 1e3, 1e100])
@pytest.mark.parametrize(
    ("scores", "sets"), [(interval_scores, interval), (region_scores, region)]
)
def test_a_set_holds_what_scores_up_to_its_threshold(scores, sets, stretch):
    mixture = wild(300, 4, seed=0)
    y = stretch * mixture.sample(random_state=1)
    found = np.sort(scores(mixture, y))
    assert np.isfinite(found).all()
    previous = None
    for coverage in (0.01, 0.5, 0.9, 0.99):
        reach = threshold(found, coverage)
        held = in_sets(sets(mixture, reach), y)
        np.testing.assert_array_equal(held, scores(mixture, y) <= reach)
        assert held.sum() == np.ceil(301 * coverage)
        size = lengths(sets(mixture, reach))
        assert np.isfinite(size).all()
        assert previous is None or (size >= previous).all()
        previous = size


def test_a_gaussians_joint_region_is_its_ellipse():
    covariance = np.array([[1.0, 0.8], [0.8, 4.0]])
    y = np.random.default_rng(0).multivariate_normal([1, 2], covariance, 2000)

    def gaussian(X):
        return NormalMixture(
            np.ones((len(X), 1)),
            np.tile([1.0, 2.0], (len(X), 1, 1)),
            np.tile(covariance, (len(X), 1, 1, 1)),
        )

    distance = stats.multivariate_normal([1, 2], covariance).logpdf([1, 2])
    distance = 2 * (distance - stats.multivariate_normal([1, 2], covariance).logpdf(y))
    for coverage in (0.1, 0.5, 0.9):
        inside = Believes(gaussian, n_targets=2).in_region(np.zeros((2000, 1)), y, coverage)
        wrong = inside != (distance <= stats.chi2.ppf(coverage, 2))
        assert wrong.mean() < 4 * (coverage * (1 - coverage) / 1000) ** 0.5


@pytest.mark.parametrize("scores", [interval_scores, region_scores])
def test_scores_of_right_densities_are_exponential(scores):
    mixture = wild(3000, 3, seed=1)
    y = mixture.sample(random_state=0)
    assert stats.kstest(scores(mixture, y), "expon").pvalue > 0.01


def test_joint_scores_of_right_densities_are_exponential_and_each_rows_own():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(400, 2, 3, 3))
    covariances = factors @ factors.swapaxes(-1, -2) + 0.1 * np.eye(3)
    mixture = NormalMixture(np.full((400, 2), 0.5), rng.normal(size=(400, 2, 3)), covariances)
    y = mixture.sample(random_state=0)
    scores = region_scores(mixture, y)
    assert stats.kstest(scores, "expon").pvalue > 0.01
    some = [7, 3, 250]
    np.testing.assert_array_equal(region_scores(mixture[some], y[some]), scores[some])
    far = region_scores(mixture[:2], 1e3 * np.ones((2, 3)))
    farther = region_scores(mixture[:2], 1e6 * np.ones((2, 3)))
    assert (scores.max() < far).all()
    assert (far < farther).all()
    assert np.isfinite(farther).all()


def test_scores_go_on_steadily_where_probabilities_end():
    mixture = NormalMixture([[0.5, 0.5]], [[-1.0, 1.0]], [[1.0, 1.0]])
    y = np.linspace(0, 30, 3001)
    mixtures = NormalMixture.concatenate([mixture] * len(y))
    for scores in (interval_scores, region_scores):
        steps = np.diff(scores(mixtures, y)[150:])
        assert (steps > 0).all()
        assert steps.max() < 0.11


def test_region_probability_is_the_probability_of_the_region_through_y():
    normal = NormalMixture([[1.0]], [[3.0]], [[4.0]])
    y = np.array([3.0, 4.0, -5.0, 30.0, 1e200, np.inf])
    expected = stats.chi2.cdf(np.minimum(np.abs(y - 3) / 2, 1e100) ** 2, 1)
    np.testing.assert_allclose(normal.region_probability(y), expected, rtol=1e-9, atol=1e-15)
    mixture = wild(50, 5, seed=2)
    y = mixture.sample(4, random_state=0)
    coverage = mixture.region_probability(y)
    assert coverage.shape == (4, 50)
    for i in range(0, 50, 7):
        level = mixture[i].region(coverage[1, i]).log_level
        np.testing.assert_allclose(level, mixture[i].logpdf(y[1, i]), rtol=1e-9)
    draws = mixture.logpdf(mixture.sample(20_000, random_state=1))
    share = (draws >= mixture.logpdf(y[0])).mean(axis=0)
    np.testing.assert_allclose(coverage[0], share, atol=5 * 0.5 / 20_000**0.5)
    with pytest.raises(ValueError, match="region_probability is defined for one target"):
        NormalMixture([[1.0]], [[[0.0, 0.0]]], [[np.eye(2)]]).region_probability([0.0, 0.0])


def test_a_majority_holds_what_more_than_half_hold():
    mixtures = [wild(200, 3, seed=seed) for seed in range(5)]
    regions = [mixture.region(0.6) for mixture in mixtures]
    held_by_most = majority(regions)
    grid = np.linspace(-12, 12, 4001)
    votes = sum(np.stack([in_sets(r, np.full(200, y)) for y in grid]).astype(int) for r in regions)
    held = np.stack([in_sets(held_by_most, np.full(200, y)) for y in grid])
    np.testing.assert_array_equal(held, votes > 2.5)
    assert 0 in held_by_most.counts
    assert held_by_most.counts.max() > 1
    there = ~np.isnan(held_by_most.intervals[..., 0])
    np.testing.assert_array_equal(held_by_most.counts, there.sum(1))
    assert majority(regions[:1]) is regions[0]


def test_a_point_that_most_regions_are_is_what_the_majority_holds():
    point, none = np.array([1]), np.array([np.nan])
    same = [Region(np.array([[[1.0, 1.0]]]), point, none)] * 3
    found = majority(same)
    assert found.counts == 1
    np.testing.assert_array_equal(found.intervals, [[[1.0, 1.0], *[[np.nan] * 2] * 2]])
    wide = Region(np.array([[[1.0, 2.0]]]), point, none)
    np.testing.assert_array_equal(majority([*same[:2], wide]).intervals[0, 0], [1.0, 1.0])


def test_bimodal_sets_stay_unions_shorter_than_any_interval():
    rng = np.random.default_rng(0)

    def data(n):
        X = rng.uniform(1, 3, (n, 1))
        return X, rng.choice([-1, 1], n) * X[:, 0] + 0.1 * rng.normal(size=n)

    model = Believes(two_bumps).calibrate(*data(500))
    X, y = data(2000)
    regions, ends = (
        model.predict_region(X, conformal=True),
        model.predict_interval(X, conformal=True),
    )
    assert (regions.counts == 2).all()
    assert in_sets(regions, y).mean() == pytest.approx(0.9, abs=0.03)
    # Any interval that holds 0.9 holds most of both bumps, so is longer than 2 x.
    assert (lengths(regions) < 0.8 * 2 * X[:, 0]).all()
    assert (lengths(ends) > 2 * X[:, 0]).all()


# --- on the estimator ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    return clone(SMALL).fit(*drawn("heavy", 200, np.random.default_rng(0)))


def test_an_estimator_is_calibrated_on_fresh_rows(fitted):
    rng = np.random.default_rng(1)
    model = pickle.loads(pickle.dumps(fitted)).calibrate(*drawn("heavy", 999, rng))
    X, y = drawn("heavy", 2000, rng)
    error = 4 * np.hypot(0.3 / 2000**0.5, 0.3 / 999**0.5)
    for coverage in (0.5, 0.9, 0.99):
        ends = model.predict_interval(X, coverage, conformal=True)
        assert in_sets(ends, y).mean() == pytest.approx(coverage, abs=error)
        regions = model.predict_region(X, coverage, conformal=True)
        assert in_sets(regions, y).mean() == pytest.approx(coverage, abs=error)
        inside = model.in_region(X, y, coverage, conformal=True)
        np.testing.assert_array_equal(inside, in_sets(regions, y))
        mixtures = model.predict_mixture(X)
        np.testing.assert_array_equal(
            model.in_region(X, y, coverage), mixtures.in_region(y, coverage)
        )
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_interval(X, 0.99, True), ends)
    with config_context(working_memory=0.1):
        np.testing.assert_allclose(model.predict_interval(X, 0.99, True), ends, rtol=1e-9)
        blocks = model.predict_region(X, 0.99, conformal=True)
    np.testing.assert_allclose(blocks.intervals, regions.intervals, rtol=1e-9)


def test_calibration_is_of_the_networks_it_was_made_for(fitted):
    X, y = drawn("heavy", 50, np.random.default_rng(2))
    model = clone(SMALL).set_params(max_iter=2).fit(X, y)
    for conformal in (model.predict_interval, model.predict_region):
        with pytest.raises(NotFittedError, match="call calibrate first"):
            conformal(X, conformal=True)
    with pytest.raises(NotFittedError, match="call calibrate first"):
        model.in_region(X, y, conformal=True)
    model.calibrate(X, y).fit(X, y)
    assert not hasattr(model, "conformity_scores_")
    with pytest.raises(ValueError, match="X has 49 rows, but fit was given 50"):
        model.calibrate(X[:49], y[:49], out_of_fold=True)
    model.calibrate(X, y).partial_fit(X, y)
    assert not hasattr(model, "conformity_scores_")
    model.calibrate(X, y)
    with pytest.raises(ValueError, match="y has 2 targets"):
        model.calibrate(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="coverage"):
        model.predict_interval(X, 1.0, conformal=True)
    with pytest.raises(ValueError, match="needs calibration on 99 rows or more, and there"):
        model.predict_region(X, 0.99, conformal=True)
    with pytest.raises(NotFittedError):
        clone(model).calibrate(X, y)


def test_out_of_fold_sets_cover_about_what_they_promise():
    rng, held = np.random.default_rng(0), []
    for seed in range(6):
        X, y = drawn("skew", 150, rng)
        model = clone(SMALL).set_params(random_state=seed).fit(X, y)
        model.calibrate(X, y, out_of_fold=True)
        X, y = drawn("skew", 1000, rng)
        regions = model.predict_region(X, conformal=True)
        np.testing.assert_array_equal(model.in_region(X, y, conformal=True), in_sets(regions, y))
        ends = model.predict_interval(X, conformal=True)
        held.append([in_sets(ends, y).mean(), in_sets(regions, y).mean()])
    assert (np.mean(held, axis=0) > 0.87).all()
    assert (np.mean(held, axis=0) < 0.97).all()


def test_every_row_is_judged_by_the_networks_that_held_it_out(fitted):
    X, y = drawn("heavy", 200, np.random.default_rng(0))
    model = pickle.loads(pickle.dumps(fitted)).calibrate(X, y, out_of_fold=True)
    scores = interval_scores(model.oof_mixture(X), y)  # of one network each
    np.testing.assert_allclose(model.conformity_scores_.intervals, np.sort(scores), rtol=1e-9)
    scores = region_scores(model.oof_mixture(X), y)
    np.testing.assert_allclose(model.conformity_scores_.regions, np.sort(scores), rtol=1e-6)


@pytest.mark.parametrize("out_of_fold", [False, True])
def test_several_targets(out_of_fold):
    rng = np.random.default_rng(0)
    X, first = drawn("heavy", 120, rng)
    y = np.column_stack([first, 1e3 * rng.normal(size=120)])
    model = clone(SMALL).set_params(noise_type="full", max_iter=5).fit(X, y)
    model.calibrate(X, y, out_of_fold=out_of_fold)
    assert model.predict_interval(X, conformal=True).shape == (120, 2, 2)
    assert model.in_region(X, y, conformal=True).mean() > 0.85
    assert model.in_region(X, y).dtype == bool
    with pytest.raises(ValueError, match="region is defined for one target"):
        model.predict_region(X, conformal=True)
    column = clone(SMALL).set_params(max_iter=5).fit(X, y[:, :1])
    column.calibrate(X, y[:, :1], out_of_fold=out_of_fold)
    assert column.predict_interval(X, conformal=True).shape == (120, 1, 2)
    assert len(column.predict_region(X, conformal=True).counts) == 120


@pytest.mark.parametrize("coverage", [0.1, 0.5, 0.7, 0.9])
def test_values_that_many_rows_share_are_in_the_regions_that_are_but_their_peaks(coverage):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(1500, 2))
    y = np.clip(np.round(3.0 + X[:, 0] + rng.normal(size=1500)), 1, 5)
    model = MDNRegressor(n_estimators=2, max_iter=20, alpha=0.02, random_state=0)
    model.fit(X[:500], y[:500]).calibrate(X[500:], y[500:])
    found = model.predict_region(X[500:], coverage, conformal=True)
    assert found.counts.min() > 0
    lower, upper = np.moveaxis(found.intervals, -1, 0)
    inside = ((lower <= y[500:, None]) & (y[500:, None] <= upper)).any(axis=1)
    assert inside.mean() >= coverage
    np.testing.assert_array_equal(inside, model.in_region(X[500:], y[500:], coverage, True))


@pytest.mark.parametrize("scores", [interval_scores, region_scores])
def test_no_rows_have_no_scores_and_far_ones_infinite_ones_without_a_warning(scores):
    mixture = wild(2, 3, seed=0)
    assert scores(mixture[[]], np.empty(0)).shape == (0,)
    assert mixture[[]].region_probability(np.empty((4, 0))).shape == (4, 0)
    narrow = NormalMixture([[1.0]], [[0.0]], [[1e-30]])
    assert scores(narrow, np.array([1e308]))[0] == np.inf


def test_rows_of_no_weight_judge_nothing_out_of_fold():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(330, 1))
    y = X[:, 0] + 0.3 * rng.normal(size=330) + 50.0 * (np.arange(330) >= 300)
    weights = np.where(np.arange(330) < 300, 1.0, 0.0)
    parameters = {"n_estimators": 5, "max_iter": 10, "alpha": 0.02, "random_state": 0}
    without = MDNRegressor(**parameters).fit(X[:300], y[:300])
    without.calibrate(X[:300], y[:300], out_of_fold=True)
    beside = MDNRegressor(**parameters).fit(X, y, sample_weight=weights)
    beside.calibrate(X, y, out_of_fold=True)
    for name in ("intervals", "regions"):
        ours, theirs = (getattr(m.conformity_scores_, name) for m in (beside, without))
        assert_allclose(ours, theirs, rtol=1e-6)
