"""Features on one footing: normal scores of their ranks, those of two values last."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skmdn import MDNRegressor
from skmdn.learning.contrasts import Contrasts
from skmdn.learning.features import NormalScores

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


def skewed(n, rng):
    return np.exp(5.0 * rng.normal(size=n))


def constant_values(n, rng):
    return np.full(n, 7.0)


def few_values(n, rng):
    return rng.integers(0, 5, size=n).astype(float)


def two_far_values(n, rng):
    return rng.choice([-1.7e308, 1.7e308], size=n)


def far_values(n, rng):
    return 1e300 * rng.normal(size=n)


def subnormal_values(n, rng):
    return np.exp(-(rng.uniform(0.0, 6.0, size=n) ** 4))


KINDS = [skewed, constant_values, few_values, two_far_values, far_values]


@pytest.mark.parametrize(
    "kinds",
    [KINDS, [skewed], [constant_values, few_values], [two_far_values], [skewed, subnormal_values]],
)
def test_many_rows_have_the_scores_that_each_has_alone(kinds):
    rng = np.random.default_rng(0)
    X = np.column_stack([kind(1000, rng) for kind in kinds])
    features = NormalScores(X, np.ones(1000))
    ends = np.finfo(float).max * np.array([[1.0], [-1.0], [0.0]])
    near = X * rng.uniform(0.5, 1.05, size=X.shape)
    many = np.vstack([X, near, -X, np.tile(ends, X.shape[1])])
    alone = [features.transform(row[None]) for row in many]
    assert_array_equal(features.transform(many), np.vstack(alone))


def test_features_whose_slopes_overflow_have_predictions():
    rng = np.random.default_rng(0)
    t = rng.uniform(0.0, 6.0, size=2400)
    X = np.column_stack([np.exp(-(t**4)), rng.normal(size=2400)])
    model = MDNRegressor(n_estimators=1, max_iter=2, random_state=0).fit(X[:1200], t[:1200])
    assert np.isfinite(model.predict(X)).all()


def test_a_pickle_has_knots_alone():
    features = NormalScores(X, ONES)
    before = pickle.dumps(features)
    scores = features.transform(np.tile(X, (10, 1)))
    assert pickle.dumps(features) == before
    assert_array_equal(pickle.loads(before).transform(np.tile(X, (10, 1))), scores)


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


def apart(X):
    return pair(400, 0.3)[0]


def same(X):
    return np.column_stack([X, 2.0 * X[:, 0] + 1.0])


def constant(X):
    return np.column_stack([X, np.full(400, 0.7)])


def one_of_each(X):
    return np.eye(3)[rng.integers(0, 3, size=400)]


def few_rows(X):  # fifty for each of four scores are 200
    return X[:199]


def missing_in_the_same_rows(X):
    return np.where(np.arange(400)[:, None] % 80 == 0, -99999.0, rng.normal(size=(400, 3)))


def in_single_precision(X):
    whole = np.column_stack([270.0 + X[:, 0], X[:, 1], X[:, 0] - 3.15])
    return whole.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize(
    "change",
    [apart, same, constant, one_of_each, few_rows, missing_in_the_same_rows, in_single_precision],
)
def test_no_contrast_where_there_is_none(change):
    X = change(pair(400, 0.1)[0])
    n_contrasts = NormalScores(X, np.ones(len(X))).n_scores - X.shape[1]
    # The pair that was there is one, and what was made of it is another that is none.
    assert n_contrasts == (change in (same, constant))


def test_rows_of_hardly_any_weight_make_no_contrast():
    X, weights = rng.normal(size=(1200, 12)), np.full(1200, 1e-4)
    weights[:5] = 1.0
    assert NormalScores(X, weights).n_scores == 12
    X[:, 2], weights[0] = np.arange(1200) == 0, 1e-320
    assert NormalScores(X, weights).n_scores == 12


def test_which_scores_are_of_features_themselves():
    X = pair(400, 0.1)[0][:, [1, 0, 2]]
    X[:, 0] = X[:, 0] > 0.0
    features = NormalScores(X, np.ones(400))
    assert features.n_plain == 1  # which comes last
    assert features.is_own.tolist() == [True, True, False, True]


def test_a_row_has_the_same_contrasts_alone():
    seconds = 1.7e9 + rng.uniform(0.0, 3e7, size=400)
    X = np.column_stack([seconds, seconds + rng.uniform(0.0, 60.0, size=400)])
    features = NormalScores(X, np.ones(400))
    assert features.n_scores == 3
    assert_array_equal(features.transform(X)[7:8], features.transform(X[7:8]))


def test_contrasts_of_any_rows_are_numbers():
    X = pair(400, 0.1)[0]
    far = np.finfo(float).max * np.array([[1.0, 1.0, -1.0], [1.0, 0.0, 1.0], [-1.0, -1.0, 1.0]])
    assert np.isfinite(NormalScores(X, np.ones(400)).transform(far)).all()
    tiny = 1e-300 * X
    assert np.isfinite(NormalScores(tiny, np.ones(400)).transform(far)).all()


def test_what_two_features_differ_by_may_be_all_that_matters():
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 1e6, size=3000)
    lasts = rng.gamma(2.0, 100.0, size=3000)
    X = np.column_stack([start, start + lasts])
    y = np.log(lasts) + 0.2 * rng.normal(size=3000)
    model = MDNRegressor(n_estimators=5, random_state=0).fit(X[:1000], y[:1000])
    assert model.score(X[1000:], y[1000:]) > -stats.norm(0, 0.2).entropy() - 0.1


@pytest.mark.parametrize("seed", [0, 28, 61])  # of two, some values are nearly the same
def test_training_rows_are_known_again_in_single_precision(seed):
    rng = np.random.default_rng(seed)
    start = rng.uniform(0.0, 1e6, size=300)
    X = np.column_stack([start, start + rng.gamma(2.0, 100.0, size=300)])
    model = MDNRegressor(n_estimators=5, max_iter=5, random_state=0).fit(X, X[:, 0])
    assert model.predict_mixture(X).n_targets == 1
    known = model.oof_mixture(X.astype(np.float32))
    assert_allclose(known.mean(), model.oof_mixture(X).mean(), rtol=0.05)
