"""Many atoms have weights that are a smooth function of where they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import special, stats

from skmdn import MDNRegressor
from skmdn.learning import grades
from skmdn.learning.atoms import StillComponents
from skmdn.learning.grades import SmoothLogits
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.noise import NOISE_MODELS

SHARES = stats.binom(20, 0.4).pmf(np.arange(21))
SMOOTH = SmoothLogits.of(SHARES, np.append(np.log(SHARES), -2.0))
LOSS = MixtureLoss(
    3,
    1,
    NOISE_MODELS["diagonal"],
    1e-6,
    still=StillComponents.at(np.linspace(-2.0, 2.0, 21)[:, None], 1e-6),
    smooth=SMOOTH,
)


def test_few_atoms_have_weights_of_their_own():
    assert SmoothLogits.of(np.full(8, 0.125), np.zeros(9)) is None
    assert SmoothLogits.of(np.full(9, 1 / 9), np.zeros(10)) is not None


def test_where_all_numbers_are_zero_x_tells_nothing():
    logits = SMOOTH.logits(np.zeros((2, SMOOTH.n_numbers, 3)))
    assert_allclose(logits, np.tile(np.append(np.log(SHARES), -2.0)[:, None], (2, 1, 3)))


def test_the_widest_and_common_atoms_have_numbers_of_their_own():
    shares = np.append(0.3, np.full(20, 0.7 / 20))
    basis = SmoothLogits.of(shares, np.zeros(22)).basis
    assert (basis[-1, :-1] == 0.0).all()
    assert (basis[:-1, -1] == 0.0).all()
    assert_allclose(basis[:, -2], np.eye(22)[0])


def logits_of(smooth, mean, sd):
    """Return the logits (A,) of atoms whose scores are about normal, without bumps."""
    numbers = np.zeros((1, smooth.n_numbers, 1))
    said = np.array([mean, 2.0 * np.log(sd)])
    numbers[0, :2, 0] = grades._BOUND * np.arctanh(said / grades._BOUND)
    return smooth.logits(numbers)[0, :-1, 0]


@pytest.mark.parametrize(("mean", "sd"), [(8.0, 1.0), (5.0, 2.0), (11.0, 0.8)])
def test_rounded_normals_are_all_but_exact(mean, sd):
    """Of rounded normal targets: their scores are then linear in the values."""
    values = np.arange(21.0)
    marginal = stats.norm(8.0, 3.0)
    shares = marginal.cdf(values + 0.5) - marginal.cdf(values - 0.5)
    smooth = SmoothLogits.of(shares, np.append(np.log(shares), 0.0))
    found = special.softmax(logits_of(smooth, (mean - 8.0) / 3.0, sd / 3.0))
    wanted = stats.norm(mean, sd).pdf(values)
    assert_allclose(found, wanted / wanted.sum(), atol=0.02)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 0.5), (1.3, 0.4), (-2.0, 1.5)])
def test_mean_and_variance_are_those_of_the_scores(mean, sd):
    n_atoms = 100
    smooth = SmoothLogits.of(np.full(n_atoms, 1 / n_atoms), np.zeros(n_atoms + 1))
    scores = stats.norm.ppf((np.arange(n_atoms) + 0.5) / n_atoms)
    expected = stats.norm.logpdf(scores, mean, sd) - stats.norm.logpdf(scores)
    assert_allclose(logits_of(smooth, mean, sd), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 0.5), (1.3, 0.4), (-1.0, 0.9)])
def test_the_share_of_all_atoms_stays_where_they_are_near_each_other(mean, sd):
    smooth = SmoothLogits.of(np.full(100, 0.01), np.log(np.full(101, 0.01)))
    assert_allclose(np.exp(logits_of(smooth, mean, sd)).sum(), 1.0, atol=0.02)


@pytest.mark.parametrize("size", [1.0, 20.0, 1e6])
def test_gradient_is_autograds(size):
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(2, LOSS.n_outputs, 7, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 1, 7, generator=generator, dtype=torch.float64)
    y[:, :, :3] = 0.2  # at an atom
    raw[:, LOSS.n_components :][:, :2] *= size  # mu and log v
    loss = LOSS.like(raw)
    raw.requires_grad_(True)
    (-loss.log_density(raw, y)[0].sum()).backward()
    with torch.no_grad():
        found = torch.zeros_like(raw)
        values = loss.gradient(loss.split(raw), y, out=loss.split(found))
        assert_allclose(values, -loss.log_density(raw, y)[0], rtol=1e-12)
    assert_allclose(found, raw.grad, rtol=1e-10, atol=1e-12)


def test_weights_of_mixtures_are_those_of_free_logits():
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(2, LOSS.n_outputs, 5))
    free = replace(LOSS, smooth=None)
    logits, *parts = LOSS.split(raw)
    whole = np.concatenate([LOSS.logits(logits), *(part.reshape(2, -1, 5) for part in parts)], 1)
    found, expected = LOSS.parameters(raw), free.parameters(whole)
    assert_allclose(found.weights, expected.weights)
    assert_allclose(LOSS.means(raw), free.means(whole))
    for part, there in zip(LOSS.moments(raw, 2.0), free.moments(whole, 2.0), strict=True):
        assert_allclose(part, there)


def test_neighbouring_values_tell_of_each_other(monkeypatch):
    """A linear function, rounded: weights learned one by one are 0.2 nats behind."""
    rng = np.random.default_rng(1000)
    X = rng.normal(size=(3000, 10))
    y = np.round(20.0 + 5.0 * X[:, 0] + 3.0 * X[:, 1] + 1.5 * rng.normal(size=3000))

    def score():
        model = MDNRegressor(n_estimators=5, random_state=0).fit(X[:1000], y[:1000])
        assert len(model.atoms_) > 20
        return model.score(X[1000:], y[1000:])

    smooth = score()
    monkeypatch.setattr(grades, "_FEW_ATOMS", 100)
    assert smooth > score() + 0.1


@pytest.mark.parametrize("tiny", [1e-12, 1e-15, 1e-20])
@pytest.mark.parametrize("value", [0.0, 15.0])
def test_atoms_of_hardly_any_weight_are_finite(tiny, value):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = np.round(8.0 + 3.0 * X[:, 0] + 2.0 * rng.normal(size=400)).clip(0.0, 15.0)
    weights = np.where(y == value, tiny, 1.0)
    model = MDNRegressor(n_estimators=2, max_iter=5, random_state=0).fit(X, y, weights)
    assert len(model.atoms_) > 8
    assert np.isfinite(model.predict(X)).all()
    assert np.isfinite(model.best_validation_score_)
