"""A target that is told exactly beside a noisy one: networks that are kept for one of them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skmdn import MDNRegressor
from skmdn.learning import training


def uneven(n, seed):
    """Targets of next to no noise, and of little else; they are independent given X."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.0, 1.0, size=(n, 3))
    exact = np.sin(6.0 * X[:, 0]) + X[:, 1]
    return X, np.column_stack([exact, X[:, 2] + rng.normal(size=n)])


X, Y = uneven(300, seed=1)
FRESH, TARGETS = uneven(1000, seed=2)
MODEL = MDNRegressor(n_estimators=5, random_state=0)


@pytest.fixture(scope="module")
def fitted():
    return copy.deepcopy(MODEL).fit(X, Y)


def test_a_noisy_target_does_not_end_training_for_another(fitted, monkeypatch):
    assert len(fitted.network_.kept()) == 1
    monkeypatch.setattr(training, "_LOST", np.inf)
    whole = copy.deepcopy(MODEL).fit(X, Y)
    assert not whole.network_.kept()
    assert fitted.n_iter_ > whole.n_iter_
    assert fitted.validation_scores_[:5] == whole.validation_scores_[:5]  # as they were then
    ours, theirs = (
        [m.predict_mixture(FRESH).marginal(d).logpdf(TARGETS[:, d]).mean() for d in range(2)]
        for m in (fitted, whole)
    )
    assert ours[0] > theirs[0] + 0.3
    assert ours[1] > theirs[1] - 0.05
    noise = -1.419  # of a normal distribution of variance one
    assert ours[1] > noise - 0.15


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_answers_are_those_of_one_mixture(fitted, dtype):
    rows = FRESH[:200].astype(dtype)
    mixture = fitted.predict_mixture(rows)
    tolerance = 1e-9 if dtype is np.float64 else 1e-3
    assert_allclose(fitted.predict(rows), mixture.mean(), atol=tolerance)
    assert_allclose(fitted.predict_var(rows), mixture.var(), rtol=tolerance, atol=tolerance)
    assert_allclose(sum(fitted.predict_variance_decomposition(rows)), mixture.var(), rtol=1e-2)
    alone = fitted.predict_mixture(rows[:1])
    assert_allclose(alone.means[0], mixture.means[0], atol=tolerance)


def test_out_of_fold_scores_are_those_of_the_networks_kept(fitted):
    assert_allclose(fitted.oof_mixture(X).logpdf(Y).mean(), fitted.oof_score_, atol=0.3)


@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_training_goes_on_with_what_was_kept(fitted, how):
    model = copy.deepcopy(fitted)
    (outputs, before), own = model.network_.kept()[0], model.network_.flat()
    if how == "partial_fit":
        model.partial_fit(X, Y)
    else:
        model.set_params(warm_start=True, max_iter=20).fit(FRESH, TARGETS)
    (still, after), *_ = model.network_.kept()
    assert_array_equal(still, outputs)
    assert_array_equal(after.float(), before.float())
    assert (model.network_.flat() != own).any()
    assert model.score(FRESH, TARGETS) > fitted.score(FRESH, TARGETS) - 0.3


def test_targets_that_share_a_variance_are_learned_together():
    model = MDNRegressor(n_estimators=5, noise_type="isotropic", max_iter=60, random_state=0)
    assert not model.fit(X, Y).network_.kept()
