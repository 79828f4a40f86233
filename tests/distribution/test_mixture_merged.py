"""Components that are equal in every row are made one before they are asked anything."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skmdn import NormalMixture

N, K = 3, 6


def parts(n_targets, full, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(K), N)
    means = rng.normal(size=(N, K, n_targets))
    roots = rng.normal(size=(N, K, n_targets, n_targets)) + 2.0 * np.eye(n_targets)
    if not full:
        roots *= np.eye(n_targets)
    return weights, means, roots @ roots.swapaxes(-1, -2)


def shared(parts, like):
    """Let each component have the mean and covariance of another."""
    weights, means, covariances = parts
    return NormalMixture(weights, means[:, like], covariances[:, like])


SHAPES = pytest.mark.parametrize(
    ("n_targets", "full"), [(1, False), (2, False), (2, True), (3, True)]
)
TWINS = [0, 1, 1, 0, 4, 1]  # which of them each is like: three remain
QUESTIONS = {
    "logpdf": lambda m, y: m.logpdf(y),
    "energy_score": lambda m, y: m.energy_score(y),
    "mode": lambda m, y: m.mode(),
    "modes": lambda m, y: m.modes().points,
    "mode densities": lambda m, y: m.modes().logpdf,
    "entropy": lambda m, y: m.entropy(n_samples=20_000, random_state=0),
}
OF_ONE = {
    "cdf": lambda m, y: m.cdf(y),
    "ppf": lambda m, y: m.ppf([[0.1], [0.6]]),
    "crps": lambda m, y: m.crps(y),
    "region": lambda m, y: m.region(0.8).intervals,
    "region_probability": lambda m, y: m.region_probability(y),
}


@SHAPES
def test_answers_are_those_of_the_mixture_written_without_repeats(n_targets, full):
    weights, means, covariances = parts(n_targets, full)
    kept = [0, 1, 4]
    sums = np.stack([weights[:, np.equal(TWINS, k)].sum(axis=1) for k in kept], axis=1)
    short = NormalMixture(sums, means[:, kept], covariances[:, kept])
    long = shared((weights, means, covariances), TWINS)
    assert long._merged().n_components == 3
    y = np.random.default_rng(1).normal(size=(N, n_targets))
    for name, question in (QUESTIONS | (OF_ONE if n_targets == 1 else {})).items():
        found, expected = question(long, y), question(short, y)
        if name in ("modes", "mode densities", "region"):
            assert found.shape[1] == K  # as documented, with or without repeats
            assert np.isnan(found[:, 3:]).all()
            found = found[:, :3]
        tolerance = 0.03 if name == "entropy" and n_targets > 1 else 1e-9
        assert_allclose(found, expected, rtol=1e-9, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("differs", ["mean", "covariance"])
@SHAPES
def test_components_that_differ_in_one_row_stay_apart(n_targets, full, differs):
    """They may be alike in the first row, and in all but one of their numbers everywhere."""
    weights, means, covariances = parts(n_targets, full)
    means[:, 1], covariances[:, 1] = means[:, 0], covariances[:, 0]
    if differs == "mean":
        means[-1, 1, -1] += 1.0
    else:
        covariances[-1, 1] *= 1.5
    mixture = NormalMixture(weights, means, covariances)
    assert mixture._merged() is not mixture
    assert mixture._merged().n_components == K
    assert_array_equal(mixture._merged().weights, mixture.weights)


def test_different_components_are_left_as_they_are():
    mixture = NormalMixture(*parts(2, True))
    assert mixture._merged() is mixture
    assert mixture[:0]._merged().n_components == K


def test_one_mixture_answers_for_many_points():
    one = shared(parts(1, False), TWINS)[0]
    y = np.linspace(-3, 3, 7)[:, None]
    assert_allclose(one.cdf(y), [one.cdf([point])[0] for point in y])
    assert_allclose(one.logpdf(y), [one.logpdf([point])[0] for point in y])
