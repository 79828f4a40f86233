"""Features on one footing: normal scores of their ranks, those of two values last."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skmdn import MDNRegressor
from skmdn.learning.features import Contrasts, NormalScores

rng = np.random.default_rng(0)
NUMERIC = np.column_stack([np.exp(rng.normal(size=90)), rng.integers(0, 5, size=90)])
TWO_VALUES = np.column_stack([np.arange(90) % 3 == 0, np.full(90, 7.0)]).astype(float)
X = np.column_stack([TWO_VALUES[:, 0], NUMERIC[:, 0], TWO_VALUES[:, 1], NUMERIC[:, 1]])
ONES = np.ones(90)


def test_features_of_two_values_come_last():
    features = NormalScores(X, ONES)
    assert features.n_plain == 2
    ordered = np.column_stack([NUMERIC, TWO_VALUES])
    assert_array_equal(features.transform(X), NormalScores(ordered, ONES).transform(ordered))


def test_features_of_three_values_have_waves():
    three = np.column_stack([np.arange(90) % 3, np.arange(90) % 2]).astype(float)
    assert NormalScores(three, ONES).n_plain == 1


def test_scores_are_van_der_waerdens():
    expected = stats.norm.ppf((stats.rankdata(NUMERIC, axis=0) - 0.5) / 90)
    assert_allclose(NormalScores(NUMERIC, ONES).transform(NUMERIC), expected, atol=1e-9)


def test_weights_are_repetitions():
    weights = rng.integers(1, 4, size=90)
    repeated = NormalScores(np.repeat(X, weights, axis=0), np.ones(weights.sum()))
    found = NormalScores(X, weights.astype(float))
    assert_allclose(found.transform(X), repeated.transform(X), atol=1e-9)


def test_beyond_the_values_seen_scores_stay_as_they_are():
    features = NormalScores(NUMERIC, ONES)
    ends = np.stack([NUMERIC.min(axis=0), NUMERIC.max(axis=0)])
    beyond = ends + [[-1e3], [1e3]]
    assert_array_equal(features.transform(beyond), features.transform(ends))


# --- contrasts -----------------------------------------------------------------------------------


def pair(n, apart, seed=0):
    """Two features that differ by little, and one that has nothing to do with them."""
    rng = np.random.default_rng(seed)
    first, difference, other = rng.normal(size=(3, n))
    return np.column_stack([first, other, first + apart * difference]), difference


@pytest.mark.parametrize("apart", [0.2, 1e-2, 1e-6])
@pytest.mark.parametrize("unit", [1.0, 1e-150, 1e150])
def test_what_features_that_are_all_but_the_same_differ_by_is_a_feature(apart, unit):
    X, difference = pair(400, apart)
    scores = NormalScores(unit * X, np.ones(400)).transform(unit * X)
    assert scores.shape == (400, 4)
    assert abs(stats.spearmanr(scores[:, 3], difference).statistic) > 0.97
    assert_allclose(scores[:, :3], NormalScores(X, np.ones(400)).transform(X)[:, :3])


def test_contrasts_are_the_last_principal_components():
    X = pair(400, 0.1)[0] @ np.diag([1.0, 10.0, 0.1]) + 3.0
    variances, axes = np.linalg.eigh(np.corrcoef(X.T))
    assert variances[0] < 0.025 < variances[1]
    expected = (X - X.mean(axis=0)) / X.std(axis=0) @ axes[:, 0]
    found = Contrasts.among(X, np.ones(400)).beside(X)
    assert_array_equal(found[:, :3], X)
    assert abs(np.corrcoef(found[:, 3], expected)[0, 1]) > 1.0 - 1e-9
    assert found[:, 3].std() == pytest.approx(np.sqrt(variances[0]), rel=1e-6)


def test_contrasts_of_weights_are_those_of_repetitions():
    X, weights = pair(400, 0.1)[0], rng.integers(1, 4, size=400)
    repeated = Contrasts.among(np.repeat(X, weights, axis=0), np.ones(weights.sum())).beside(X)
    found = Contrasts.among(X, weights.astype(float)).beside(X)
    assert_allclose(np.abs(found), np.abs(repeated), atol=1e-9)


WHY_NOT = ["apart", "same", "constant", "one of each", "few rows", "weightless"]


@pytest.mark.parametrize("why", WHY_NOT)
def test_no_contrast_where_there_is_none(why):
    X = pair(400, {"apart": 0.3, "few rows": 0.1}.get(why, 1.0))[0]
    if why == "same":
        X[:, 2] = 2.0 * X[:, 0] + 1.0
    elif why == "constant":
        X[:, 2] = 0.7
    elif why == "one of each":
        X = np.eye(3)[rng.integers(0, 3, size=400)]
    elif why == "few rows":  # less than fifty for each of four
        X = X[:199]
    weights = np.ones(len(X))
    if why == "weightless":
        X[:, 2], weights[0] = np.arange(400) == 0, 1e-320
    assert NormalScores(X, weights).n_scores == 3


def test_contrasts_of_any_rows_are_numbers():
    X = pair(400, 0.1)[0]
    far = np.finfo(float).max * np.array([[1.0, 1.0, -1.0], [1.0, 0.0, 1.0], [-1.0, -1.0, 1.0]])
    assert np.isfinite(NormalScores(X, np.ones(400)).transform(far)).all()


def test_what_two_features_differ_by_may_be_all_that_matters():
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 1e6, size=3000)
    lasts = rng.gamma(2.0, 100.0, size=3000)
    X = np.column_stack([start, start + lasts])
    y = np.log(lasts) + 0.2 * rng.normal(size=3000)
    model = MDNRegressor(n_estimators=5, random_state=0).fit(X[:1000], y[:1000])
    assert model.score(X[1000:], y[1000:]) > -stats.norm(0, 0.2).entropy() - 0.1
