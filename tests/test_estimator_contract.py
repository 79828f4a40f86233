"""MDNRegressor among scikit-learn's own tools: every check passes, none is expected to fail."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import BaggingRegressor
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skmdn import MDNRegressor

NOISE_TYPES = ["full", "diagonal", "isotropic", "isotropic_across_components", "fixed"]


@parametrize_with_checks(
    [
        MDNRegressor(max_iter=20),
        MDNRegressor(max_iter=5, n_estimators=1),
        MDNRegressor(max_iter=3, n_estimators=2, early_stopping=False, point_estimate="median"),
        *(MDNRegressor(max_iter=2, n_estimators=2, noise_type=kind) for kind in NOISE_TYPES[1:]),
    ]
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


def small(**parameters):
    defaults = {"n_components": 2, "n_estimators": 2, "max_iter": 10, "hidden_layer_sizes": (8,)}
    return MDNRegressor(**defaults | {"random_state": 0} | parameters)


@pytest.fixture(scope="module")
def two_branches():
    """y is +x or -x: two components see what one cannot."""
    rng = np.random.default_rng(0)
    X = rng.uniform(1.0, 2.0, size=(240, 1))
    return X, rng.choice([-1.0, 1.0], size=240) * X[:, 0] + 0.1 * rng.normal(size=240)


@pytest.fixture(scope="module")
def line():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(90, 3))
    return X, X[:, 0] + 0.3 * rng.normal(size=90)


def test_clone_copies_parameters_and_nothing_else(line):
    model = small(noise_type="full", hidden_layer_sizes=[4, 3]).fit(*line)
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    assert vars(copied).keys() == model.get_params().keys()


def test_parameters_may_be_numpy_scalars(line):
    """As a search over np.arange gives them."""
    plain = {"n_components": 3, "n_estimators": 2, "max_iter": 4, "batch_size": 20, "tol": 0.5}
    scalars = {name: np.asarray(value)[()] for name, value in plain.items()}
    assert all(isinstance(value, np.generic) for value in scalars.values())
    scalars["hidden_layer_sizes"] = np.array([8])
    expected = small(**plain).fit(*line).predict(line[0])
    assert_array_equal(small(**scalars).fit(*line).predict(line[0]), expected)


def test_grid_search_in_two_processes_picks_the_larger_log_likelihood(two_branches):
    X, y = two_branches
    grid = {"n_components": [1, 2], "noise_type": ["diagonal", "fixed"]}
    search = GridSearchCV(small(max_iter=60), grid, cv=KFold(3), n_jobs=2).fit(X, y)
    results = search.cv_results_
    score = {
        (p["n_components"], p["noise_type"]): mean
        for p, mean in zip(results["params"], results["mean_test_score"], strict=True)
    }
    assert search.best_params_ == {"n_components": 2, "noise_type": "diagonal"}
    assert search.best_score_ == max(score.values())
    # The truth scores -log 2 - log(0.1 sqrt(2 pi e)) = 0.19 on average, one Gaussian with the
    # variance of y at most -log(1.53 sqrt(2 pi e)) = -1.84.
    assert 0.4 > score[2, "diagonal"] > -0.3
    assert score[1, "diagonal"] < -1.7
    assert search.score(X, y) == search.best_estimator_.score_samples(X, y).mean()


def test_workers_compute_the_same_bits(line):
    X, y = line
    here, there = (
        cross_val_predict(small(), X, y, cv=KFold(2), n_jobs=n_jobs) for n_jobs in (1, 2)
    )
    assert_array_equal(there, here)


def test_cross_validation_scores_are_mean_log_likelihoods(line):
    X, y = line
    expected = []
    for train, test in KFold(3).split(X):
        mixture = small().fit(X[train], y[train]).predict_mixture(X[test])
        expected.append(mixture.logpdf(y[test]).mean())
    assert_allclose(cross_val_score(small(), X, y, cv=KFold(3)), expected, rtol=1e-12)


def test_pipeline_equals_its_steps(line):
    X, y = line
    pipeline = make_pipeline(StandardScaler(), small()).fit(X, y)
    scaled = StandardScaler().fit_transform(X)
    model = small().fit(scaled, y)
    assert_array_equal(pipeline.predict(X), model.predict(scaled))
    assert pipeline.score(X, y) == model.score(scaled, y)
    mean, std = pipeline.predict(X, return_std=True)
    assert_allclose(mean, model.predict(scaled), rtol=1e-12, atol=1e-14)
    assert_array_equal(std, model.predict_mixture(scaled).std())


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_brings_feature_names_to_the_model(container):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=40), "kind": rng.choice(["a", "b"], size=40)})
    y = rng.normal(size=40)
    encode = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["kind"]), remainder="passthrough"
    )
    plain = make_pipeline(encode, small()).fit(frame, y)
    named = clone(plain).set_output(transform=container).fit(frame, y)
    assert named[-1].feature_names_in_.tolist() == [
        "onehotencoder__kind_a",
        "onehotencoder__kind_b",
        "remainder__size",
    ]
    assert not hasattr(plain[-1], "feature_names_in_")
    assert_array_equal(named.predict(frame), plain.predict(frame))


def test_transformed_target(line):
    X, y = line
    wrapped = TransformedTargetRegressor(small(), func=np.log, inverse_func=np.exp)
    expected = np.exp(small().fit(X, y).predict(X))
    assert_allclose(wrapped.fit(X, np.exp(y)).predict(X), expected, rtol=1e-6)


def test_multi_output_regressor_is_one_fit_a_target(line):
    X, y = line
    Y = np.column_stack([y, X[:, 1] ** 2])
    together = MultiOutputRegressor(small()).fit(X, Y).predict(X)
    apart = np.column_stack([small().fit(X, column).predict(X) for column in Y.T])
    assert_array_equal(together, apart)


def test_bagging_gives_members_chances_of_their_own(line):
    X, y = line
    bagging = BaggingRegressor(small(), n_estimators=2, bootstrap=False, random_state=0)
    first, second = bagging.fit(X, y).estimators_
    assert (first.predict(X) != second.predict(X)).all()


def test_sample_weight_is_routed_to_fit_and_to_score(line):
    X, y = line
    weights = np.arange(len(y)) % 3 + 0.0
    folds = list(KFold(2).split(X))
    with sklearn.config_context(enable_metadata_routing=True):
        model = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model)
        params = {"sample_weight": weights}
        routed = cross_val_score(pipeline, X, y, cv=folds, params=params)
    expected = []
    for train, test in folds:
        pipeline = make_pipeline(StandardScaler(), small())
        pipeline.fit(X[train], y[train], mdnregressor__sample_weight=weights[train])
        log_density = pipeline[-1].score_samples(pipeline[:-1].transform(X[test]), y[test])
        expected.append(np.average(log_density, weights=weights[test]))
    assert_allclose(routed, expected, rtol=1e-12)
