"""Features on one footing: normal scores of their ranks, those of two values last."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

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
