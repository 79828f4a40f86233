"""Components reach no farther than the targets, as they are judged and as they are answered."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skmdn import MDNRegressor
from skmdn.learning.bounds import Bounds
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.noise import NOISE_MODELS

REACH = np.array([[-1.0, 2.0, 5.0], [3.0, 3.5, 5.0]])  # widths 4, 1.5, and 1 for a constant


def test_bounds_are_as_far_beyond_the_targets_as_these_are_apart():
    found = Bounds.around(REACH, per_target=True)
    assert_array_equal(found.lowest, [[-5.0], [0.5], [4.0]])
    assert_array_equal(found.highest, [[7.0], [5.0], [6.0]])
    assert_array_equal(found.largest, [[16.0], [2.25], [1.0]])
    assert_array_equal(Bounds.around(REACH, per_target=False).largest, [[16.0]])


@pytest.mark.parametrize("noise_type", NOISE_MODELS)
def test_mixtures_are_bounded_and_judged_as_such(noise_type):
    noise = NOISE_MODELS[noise_type]
    bounds = Bounds.around(REACH, noise.per_target)
    loss = MixtureLoss(4, 3, noise, 1e-6, fixed_variance=0.5, bounds=bounds)
    rng = np.random.default_rng(0)
    raw, y = 8.0 * rng.normal(size=(2, loss.n_outputs, 50)), rng.normal(size=(2, 3, 50))
    free = MixtureLoss(4, 3, noise, 1e-6, fixed_variance=0.5).parameters(raw)
    found = loss.parameters(raw)
    assert (free.means > bounds.highest[:, 0]).any()
    assert_array_equal(found.means, free.means.clip(bounds.lowest[:, 0], bounds.highest[:, 0]))
    widest = np.sqrt(bounds.largest[:, 0] + 1e-6) if noise.learned else np.inf
    assert_allclose(found.sds, np.minimum(free.sds, widest))
    means, variances = loss.moments(raw, 1.0)
    weighted = (found.weights[..., None] * found.means).sum(axis=2)
    assert_allclose(np.moveaxis(means, 1, 2), weighted)
    second = found.weights[..., None] * (found.sds**2 + (found.means - weighted[:, :, None]) ** 2)
    assert_allclose(np.moveaxis(variances, 1, 2), second.sum(axis=2))
    if noise.coupled:
        return
    z = (np.moveaxis(y, 1, 2)[:, :, None] - found.means) / found.sds
    terms = -0.5 * z**2 - np.log(found.sds) - 0.5 * np.log(2 * np.pi)
    density = (found.weights * np.exp(terms.sum(axis=3))).sum(axis=2)
    assert_allclose(np.exp(loss.log_density(raw, y)[0]), density, atol=1e-300)


def rare_and_far(seed, n=300):
    """Mostly five values; the rest has a long tail, which few rows tell of."""
    rng = np.random.default_rng(seed)
    X, is_common = rng.normal(size=(n, 3)), rng.random(n) < 0.9
    common = rng.choice([5.0, 10.0, 15.0, 20.0, 25.0], n)
    return X, np.where(is_common, common, np.exp(2.0 + 2.0 * rng.normal(size=n) + X[:, 0]))


def test_components_of_no_weight_are_not_the_mean():
    """Without bounds, some are at twelve times the range of y."""
    X, y = rare_and_far(0)
    model = MDNRegressor(n_estimators=5, alpha=0.02, random_state=0).fit(X, y)
    mixture = model.predict_mixture(np.random.default_rng(1).normal(size=(2000, 3)))
    width = np.ptp(y)
    assert mixture.means.max() > y.max() + 0.9 * width  # the bound is met, and held
    assert mixture.means.max() <= y.max() + width * (1 + 1e-9)
    assert np.sqrt(mixture.covariances.max()) <= width * np.sqrt(
        model._pooled_factors.max() + 1e-3
    )
    assert mixture.std().max() < 0.3 * width


def test_training_that_goes_on_reaches_targets_farther_out():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, size=(200, 1))
    y = np.sin(3.0 * X[:, 0]) + 0.1 * rng.normal(size=200)
    model = MDNRegressor(n_estimators=2, hidden_layer_sizes=(8,), random_state=0)
    model.partial_fit(X, y)
    assert 0.3 + y.max() + np.ptp(y) < 4.0  # beyond the bounds of the first block
    for _ in range(100):
        model.partial_fit(X, y + 4.0)
    assert_allclose(model.predict(X).mean(), 4.0, atol=0.2)
