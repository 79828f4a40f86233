"""Scores against hand formulas and scoringrules; scorers inside scikit-learn's own tools."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scoringrules
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, mean_pinball_loss
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmdn import NormalMixture, metrics


def mixtures(n=200, n_components=3, n_targets=None, seed=0):
    rng = np.random.default_rng(seed)
    tail = () if n_targets is None else (n_targets,)
    weights, means = (
        rng.dirichlet(np.ones(n_components), n),
        rng.normal(size=(n, n_components, *tail)),
    )
    if n_targets is None:
        return NormalMixture(weights, means, rng.uniform(0.1, 1, (n, n_components)))
    lower = np.tril(rng.normal(size=(n, n_components, n_targets, n_targets)))
    return NormalMixture(weights, means, lower @ lower.swapaxes(2, 3) + 0.1 * np.eye(n_targets))


LINE, JOINT = mixtures(), mixtures(n_targets=3)
Y_LINE, Y_JOINT = LINE.sample(random_state=1), JOINT.sample(random_state=1)
WEIGHTS = np.random.default_rng(2).integers(0, 4, len(LINE)).astype(float)

PER_TARGET = [
    metrics.crps,
    metrics.interval_score,
    metrics.pinball_loss,
    metrics.interval_coverage,
    metrics.sharpness,
]
JOINTLY = [metrics.negative_log_likelihood, metrics.energy_score]


def each(scores):
    return pytest.mark.parametrize("score", scores, ids=lambda score: score.__name__)


# --- values ----------------------------------------------------------------------------------


def test_scores_of_a_standard_normal_by_hand():
    y = np.array([-2.5, 0.0, 1.0])
    normal = NormalMixture(np.ones((3, 1)), np.zeros((3, 1)), np.ones((3, 1)))

    def rows(score, **options):
        return score(y, normal, aggregate=False, **options)

    assert_allclose(rows(metrics.negative_log_likelihood), -stats.norm.logpdf(y))
    assert_allclose(rows(metrics.crps), scoringrules.crps_normal(y, 0, 1), rtol=1e-10)
    assert_allclose(rows(metrics.energy_score), rows(metrics.crps))
    z = stats.norm.ppf(0.9)
    expected = [2 * z + 10 * (2.5 - z), 2 * z, 2 * z]
    assert_allclose(rows(metrics.interval_score, coverage=0.8), expected)
    expected = scoringrules.interval_score(y, -z, z, 0.2)
    assert_allclose(rows(metrics.interval_score, coverage=0.8), expected)
    assert_allclose(rows(metrics.sharpness, coverage=0.8), 2 * z)
    assert_array_equal(rows(metrics.interval_coverage, coverage=0.8), [0, 1, 1])
    assert_array_equal(rows(metrics.region_coverage, coverage=0.8), [0, 1, 1])
    assert_allclose(metrics.pit_values(y, normal), stats.norm.cdf(y))


@pytest.mark.parametrize("quantile", [0.05, 0.5, 0.9])
def test_pinball_loss_is_scikit_learns(quantile):
    predicted = LINE.ppf(quantile)
    ours = metrics.pinball_loss(Y_LINE, LINE, quantile=quantile, sample_weight=WEIGHTS)
    theirs = mean_pinball_loss(Y_LINE, predicted, alpha=quantile, sample_weight=WEIGHTS)
    assert_allclose(ours, theirs)
    if quantile == 0.5:
        unweighted = metrics.pinball_loss(Y_LINE, LINE)
        assert_allclose(unweighted, mean_absolute_error(Y_LINE, predicted) / 2)


def test_crps_and_energy_score_are_those_of_ensembles():
    draws = LINE.sample(1000, random_state=0).T
    theirs = scoringrules.crps_ensemble(Y_LINE, draws, backend="numpy").mean()
    assert_allclose(metrics.crps(Y_LINE, LINE), theirs, rtol=0.02)
    draws = np.moveaxis(JOINT[:50].sample(600, random_state=0), 0, 1)
    theirs = scoringrules.es_ensemble(Y_JOINT[:50], draws, backend="numpy").mean()
    assert_allclose(metrics.energy_score(Y_JOINT[:50], JOINT[:50]), theirs, rtol=0.02)
    drawn = metrics.energy_score(Y_JOINT, JOINT, n_samples=500, random_state=0)
    assert_allclose(drawn, metrics.energy_score(Y_JOINT, JOINT), rtol=0.02)


@each([metrics.crps, metrics.negative_log_likelihood, metrics.energy_score])
def test_proper_scores_prefer_the_truth(score):
    truth, y = (LINE, Y_LINE) if score is metrics.crps else (JOINT, Y_JOINT)
    wide = NormalMixture(truth.weights, truth.means, 3 * truth.covariances)
    moved = NormalMixture(truth.weights, truth.means + 0.5, truth.covariances)
    assert score(y, truth) < min(score(y, wide), score(y, moved))


@each(JOINTLY + PER_TARGET)
def test_rows_and_their_weighted_mean(score):
    for y, mixture in ((Y_LINE, LINE), (Y_JOINT, JOINT)):
        rows = score(y, mixture, aggregate=False)
        per_target = y.ndim == 2 and score in PER_TARGET
        assert rows.shape == (y.shape if per_target else y.shape[:1])
        mean = score(y, mixture)
        assert isinstance(mean, float)
        assert_allclose(mean, rows.mean())
        repeated = np.repeat(rows, WEIGHTS.astype(int), axis=0).mean()
        assert_allclose(score(y, mixture, sample_weight=WEIGHTS), repeated)


@each(PER_TARGET)
def test_several_targets_are_scored_on_their_marginals(score):
    rows = score(Y_JOINT, JOINT, aggregate=False)
    for d in range(3):
        alone = score(Y_JOINT[:, d], JOINT.marginal(d), aggregate=False)
        assert_allclose(rows[:, d], alone, rtol=1e-12)
    assert_allclose(metrics.pit_values(Y_JOINT, JOINT)[:, 1], JOINT.marginal(1).cdf(Y_JOINT[:, 1]))


@pytest.mark.parametrize("coverage", [0.1, 0.5, 0.95])
def test_coverage_of_the_truth(coverage):
    mixture = mixtures(4000)
    y = mixture.sample(random_state=0)
    error = 4 * np.sqrt(coverage * (1 - coverage) / 4000)
    assert abs(metrics.interval_coverage(y, mixture, coverage=coverage) - coverage) < error
    assert abs(metrics.region_coverage(y, mixture, coverage=coverage) - coverage) < error
    lower, upper = mixture.interval(coverage)
    inside = metrics.interval_coverage(y, mixture, coverage=coverage, aggregate=False)
    assert_array_equal(inside, (lower <= y) & (y <= upper))
    options = {"coverage": coverage, "n_samples": 500, "random_state": 0}
    joint = metrics.region_coverage(Y_JOINT, JOINT, **options)
    assert abs(joint - coverage) < 4 * np.sqrt(coverage * (1 - coverage) * (1 / 200 + 1 / 500))


# --- calibration error -----------------------------------------------------------------------


def uniform(n):
    """Predictions whose PIT is y's normal cdf."""
    return NormalMixture(np.ones((n, 1)), np.zeros((n, 1)), np.ones((n, 1)))


def test_calibration_error_is_the_area_off_the_diagonal():
    pit = np.array([0.9, 0.2, 0.2, 0.55])
    weights = np.array([1.0, 2.0, 0.0, 3.0])
    p = (np.arange(1_000_000) + 0.5) / 1_000_000
    share = ((pit <= p[:, None]) * weights).sum(axis=1) / weights.sum()
    expected = np.abs(share - p).mean()
    y = stats.norm.ppf(pit)
    assert_allclose(
        metrics.calibration_error(y, uniform(4), sample_weight=weights), expected, rtol=1e-5
    )
    assert_allclose(metrics.calibration_error(np.full(4, 50.0), uniform(4)), 0.5)
    assert_allclose(metrics.calibration_error(np.full(4, -50.0), uniform(4)), 0.5)
    n = 1000
    best = stats.norm.ppf((np.arange(n) + 0.5) / n)
    assert_allclose(metrics.calibration_error(best, uniform(n)), 0.25 / n)


def test_calibration_error_of_the_truth_is_what_the_docstring_says():
    rng = np.random.default_rng(0)
    errors = [metrics.calibration_error(rng.normal(size=400), uniform(400)) for _ in range(200)]
    # the mean of int |B(p)| dp of a Brownian bridge is sqrt(2 pi) / 8 = 0.313
    assert_allclose(np.mean(errors) * np.sqrt(400), np.sqrt(2 * np.pi) / 8, rtol=0.1)
    columns = [metrics.calibration_error(Y_JOINT[:, d], JOINT.marginal(d)) for d in range(3)]
    assert_allclose(metrics.calibration_error(Y_JOINT, JOINT), np.mean(columns))


@each([*JOINTLY, *PER_TARGET, metrics.region_coverage, metrics.calibration_error])
def test_one_target_may_be_a_column_or_not(score):
    assert score(Y_LINE[:, None], LINE) == score(Y_LINE, LINE)
    column = JOINT.marginal([0])
    assert score(Y_JOINT[:, 0], column) == score(Y_JOINT[:, :1], column)


# --- bad input -------------------------------------------------------------------------------


@each([*JOINTLY, *PER_TARGET, metrics.region_coverage, metrics.calibration_error])
def test_bad_targets_and_weights(score):
    with pytest.raises(TypeError, match=r"^mixture must be a NormalMixture, .*; got ndarray$"):
        score(Y_LINE, Y_LINE)
    with pytest.raises(
        ValueError, match=r"y_true must have the mixture's shape \(200,\); got \(199,\)"
    ):
        score(Y_LINE[1:], LINE)
    with pytest.raises(ValueError, match=r"y_true must have .* \(200, 3\); got \(200,\)"):
        score(Y_LINE, JOINT)
    with pytest.raises(ValueError, match="y_true contains NaN"):
        score(np.where(np.arange(200) == 3, np.nan, Y_LINE), LINE)
    with pytest.raises(ValueError, match=r"sample_weight must broadcast to \(200,\)"):
        score(Y_LINE, LINE, sample_weight=np.ones(3))
    for weights in (np.zeros(200), -np.ones(200)):
        with pytest.raises(
            ValueError, match="sample_weight must be non-negative and not all zero"
        ):
            score(Y_LINE, LINE, sample_weight=weights)
    with pytest.raises(ValueError, match="y_true has no rows"):
        score(Y_LINE[:0], LINE[:0])
    with pytest.raises(ValueError, match=r"^y_true must be a regular array of numbers"):
        score(Y_LINE + 1j, LINE)
    impossible, weights = np.append(1e300, Y_LINE[1:]), np.append(0.0, np.ones(199))
    there = score(Y_LINE[1:], LINE[1:])
    assert_allclose(score(impossible, LINE, sample_weight=weights), there, rtol=1e-9)
    unit = score(Y_LINE, LINE, sample_weight=np.ones(200))
    for weight in (1e308, 5e-324):
        assert_allclose(score(Y_LINE, LINE, sample_weight=np.full(200, weight)), unit, rtol=1e-12)


def test_bad_probabilities():
    told, same = (metrics.pinball_loss(Y_LINE, LINE, quantile=q) for q in ("0.3", 0.3))
    assert told == same
    for quantile in ([0.1, 0.9], np.full(200, 0.5)):
        with pytest.raises(ValueError, match=r"^quantile must be one number; got "):
            metrics.pinball_loss(Y_LINE, LINE, quantile=quantile)
    for score in (metrics.interval_score, metrics.interval_coverage, metrics.region_coverage):
        with pytest.raises(ValueError, match="coverage must lie strictly between 0 and 1; got 1"):
            score(Y_LINE, LINE, coverage=1)
    with pytest.raises(ValueError, match="quantile must lie strictly between 0 and 1; got 0"):
        metrics.pinball_loss(Y_LINE, LINE, quantile=0)


# --- scorers ---------------------------------------------------------------------------------


class Spread(RegressorMixin, BaseEstimator):
    """A line with normal noise of a chosen width: the least that predicts mixtures."""

    def __init__(self, width=1.0):
        self.width = width

    def fit(self, X, y, sample_weight=None):
        self.line_ = LinearRegression().fit(X, y, sample_weight)
        return self

    def predict(self, X):
        return self.line_.predict(X)

    def predict_mixture(self, X):
        ones = np.ones((len(X), 1))
        return NormalMixture(ones, self.predict(X)[:, None], self.width**2 * ones)


X = np.random.default_rng(0).normal(size=(120, 2))
Y = X @ [1.0, -2.0] + 0.5 * np.random.default_rng(1).normal(size=120)


@pytest.mark.parametrize("name", metrics.SCORERS)
def test_larger_is_better(name):
    scorer = metrics.SCORERS[name]
    good, bad = Spread(0.5).fit(X, Y), Spread(0.5).fit(X, -Y)
    assert scorer(good, X, Y) > scorer(bad, X, Y)
    again = pickle.loads(pickle.dumps(scorer))
    assert again(good, X, Y) == scorer(good, X, Y)


def test_a_scorer_is_its_score_with_the_sign_that_makes_larger_better():
    model, weights = Spread().fit(X, Y), np.arange(120.0)
    mixture = model.predict_mixture(X)
    loss = metrics.crps(Y, mixture, sample_weight=weights)
    assert metrics.SCORERS["neg_crps"](model, X, Y, sample_weight=weights) == -loss
    narrow = metrics.make_mixture_scorer(
        metrics.interval_coverage, greater_is_better=True, coverage=0.5
    )
    assert narrow(model, X, Y) == metrics.interval_coverage(Y, mixture, coverage=0.5)
    assert repr(narrow) == (
        "make_mixture_scorer(interval_coverage, greater_is_better=True, coverage=0.5)"
    )


def test_grid_search_finds_the_width_of_the_noise():
    grid = {"width": [0.05, 0.5, 5.0]}
    for name, scorer in metrics.SCORERS.items():
        if name != "neg_pinball_loss":  # the median does not depend on the width
            assert (
                GridSearchCV(Spread(), grid, scoring=scorer).fit(X, Y).best_params_["width"] == 0.5
            )


def test_many_scorers_at_once_over_a_pipeline_and_a_search():
    pipeline = make_pipeline(StandardScaler(), GridSearchCV(Spread(), {"width": [0.5, 5.0]}, cv=2))
    result = cross_validate(pipeline, X, Y, scoring=metrics.SCORERS, cv=3)
    inside = pipeline.fit(X, Y)
    assert inside[-1].best_params_ is not None
    mixture = inside[-1].best_estimator_.predict_mixture(inside[:-1].transform(X))
    score = metrics.SCORERS["log_likelihood"](inside, X, Y)
    assert_allclose(score, mixture.logpdf(Y).mean())
    assert {f"test_{name}" for name in metrics.SCORERS} <= result.keys()
    alone = make_pipeline(Spread()).fit(X, Y)
    assert np.isfinite(metrics.SCORERS["neg_crps"](alone, X, Y))


def test_weights_are_routed_to_a_scorer_that_asks_for_them():
    weights = np.random.default_rng(0).integers(1, 5, 120).astype(float)
    plain = metrics.SCORERS["neg_crps"]
    with sklearn.config_context(enable_metadata_routing=True):
        asking = metrics.make_mixture_scorer(metrics.crps).set_score_request(sample_weight=True)
        model = Spread(0.5).set_fit_request(sample_weight=True)
        routed = cross_validate(
            model,
            X,
            Y,
            scoring=asking,
            cv=2,
            params={"sample_weight": weights},
            return_estimator=True,
        )
    halves = [slice(0, 60), slice(60, 120)]
    for score, fitted, rows in zip(routed["test_score"], routed["estimator"], halves, strict=True):
        assert_allclose(score, plain(fitted, X[rows], Y[rows], sample_weight=weights[rows]))
        assert abs(score - plain(fitted, X[rows], Y[rows])) > 1e-6


def test_an_estimator_without_mixtures():
    model = LinearRegression().fit(X, Y)
    with pytest.raises(TypeError, match=r"must have predict_mixture, .*; got LinearRegression"):
        metrics.SCORERS["neg_crps"](model, X, Y)
