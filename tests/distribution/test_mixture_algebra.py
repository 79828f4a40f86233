"""Marginals, conditionals, linear maps, and the bridges to other libraries."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture

from skmdn import NormalMixture


def random_mixture(n_targets, *, n=4, n_components=3, seed=0, spread=1.0, diagonal=False):
    rng = np.random.default_rng(seed)
    units = spread ** np.linspace(1, -1, n_targets)
    lower = units[:, None] * np.tril(rng.normal(size=(n, n_components, n_targets, n_targets)))
    covariances = lower @ lower.swapaxes(-1, -2) + 0.05 * np.diag(units**2)
    covariances = covariances * np.eye(n_targets) if diagonal else covariances
    weights = rng.dirichlet(np.ones(n_components), n)
    means = units * rng.normal(size=(n, n_components, n_targets))
    return NormalMixture(weights, means, covariances)


structures = pytest.mark.parametrize("diagonal", [False, True], ids=["triangular", "diagonal"])
numbers = pytest.mark.parametrize("n_targets", [2, 3, 4])


# --- marginal and condition ------------------------------------------------------------------


@structures
@numbers
def test_the_chain_rule_holds_for_every_choice_and_order_of_targets(n_targets, diagonal):
    mixture = random_mixture(n_targets, spread=1e3, diagonal=diagonal)
    y = mixture.sample(random_state=1)
    for size in range(1, n_targets):
        for known in map(list, itertools.permutations(range(n_targets), size)):
            rest = [d for d in range(n_targets) if d not in known]
            marginal, conditional = mixture.marginal(known), mixture.condition(known, y[:, known])
            chain = marginal.logpdf(y[:, known]) + conditional.logpdf(y[:, rest])
            assert_allclose(chain, mixture.logpdf(y), rtol=1e-10, atol=1e-10)


@structures
def test_marginals_are_what_stays_of_moments_and_draws(diagonal):
    mixture = random_mixture(3, diagonal=diagonal)
    for dims in ([2, 0], [1], [0, 1, 2], [2, 1, 0], np.array([1, 2]), range(2), (-1, 0)):
        marginal = mixture.marginal(dims)
        kept = [int(d) for d in dims]
        assert_allclose(marginal.mean(), mixture.mean()[:, kept])
        assert_allclose(marginal.cov(), mixture.cov()[:, kept][:, :, kept], rtol=1e-10)
        assert_array_equal(marginal.weights, mixture.weights)
    for dim in (2, -1, np.int64(2)):
        line = mixture.marginal(dim)
        assert line.means.shape == (4, 3)
        assert_allclose(line.var(), mixture.var()[:, 2], rtol=1e-12)


@structures
@numbers
def test_conditioning_in_steps_is_conditioning_at_once(n_targets, diagonal):
    mixture = random_mixture(n_targets, seed=n_targets, diagonal=diagonal)
    y = mixture.sample(random_state=2)
    stepwise = mixture
    for d in range(n_targets - 1):
        stepwise = stepwise.condition(0, y[:, d])
    known = list(reversed(range(n_targets - 1)))
    at_once = mixture.condition(known, y[:, known])
    for name in ("weights", "means", "covariances"):
        assert_allclose(getattr(stepwise, name), getattr(at_once, name), rtol=1e-9, atol=1e-12)


def test_conditioning_is_the_slice_of_the_joint_density():
    mixture = random_mixture(3, n=1)
    grid = np.linspace(-30, 30, 20_001)
    points = np.column_stack([np.full_like(grid, 0.3), grid, np.full_like(grid, -0.7)])
    density = mixture.pdf(points)
    density /= density.sum() * (grid[1] - grid[0])
    conditional = mixture.condition([2, 0], [[-0.7, 0.3]])
    assert_allclose(conditional.pdf(grid[:, None]), density, rtol=1e-8, atol=1e-12)


def test_values_beyond_every_component_still_choose_by_likelihood():
    covariances = [[np.eye(2), 4 * np.eye(2)]]
    mixture = NormalMixture([[0.9, 0.1]], [[[0.0, -1.0], [0.0, 1.0]]], covariances)
    given_far = mixture.condition(0, 1e5)
    assert_allclose(given_far.weights, [[0, 1]])
    assert_allclose(given_far.mean(), [[1.0]])
    same = NormalMixture([[0.9, 0.1]], [[[0.0, -1.0], [0.0, 1.0]]], [[np.eye(2)] * 2])
    assert_allclose(same.condition(0, 1e5).weights, [[0.9, 0.1]], rtol=1e-9)


def test_one_mixture_conditioned_on_many_values():
    mixture = random_mixture(3, n=1)
    values = np.random.default_rng(0).normal(size=(5, 2))
    together = mixture.condition([0, 2], values)
    for i, value in enumerate(values):
        alone = mixture.condition([0, 2], value)
        assert_allclose(together[i].means, alone.means, rtol=1e-13)
        assert_allclose(together[i].weights, alone.weights, rtol=1e-12)
        assert_allclose(together[i].covariances, alone.covariances, rtol=1e-13)


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        (3, r"dims must lie in 0\.\.2; got 3"),
        ([0, -4], r"dims must lie in 0\.\.2; got \[0, -4\]"),
        ([1, 1], r"dims must not repeat a target; got \[1, 1\]"),
        ([2, -1], r"dims must not repeat a target; got \[2, -1\]"),
        ([], r"dims must be an integer or a sequence of integers; got \[\]"),
        (1.0, "dims must be an integer or a sequence of integers; got 1.0"),
        ([True, False, True], "dims must be an integer or a sequence of integers"),
        ("0", "dims must be an integer or a sequence of integers; got '0'"),
    ],
)
def test_bad_dims(dims, message):
    mixture = random_mixture(3)
    with pytest.raises(ValueError, match=message):
        mixture.marginal(dims)
    with pytest.raises(ValueError, match=message):
        mixture.condition(dims, 0.0)


@pytest.mark.parametrize(
    ("dims", "values", "message"),
    [
        ([0, 1, 2], np.zeros((4, 3)), "dims must leave a target free"),
        ([0, 1], np.zeros((4, 3)), r"values must have shape \(..., 4, 2\), .* got \(4, 3\)"),
        ([0, 1], np.zeros((3, 2)), r"values must have shape \(..., 4, 2\), .* got \(3, 2\)"),
        (0, np.zeros((4, 1)), r"values must have shape \(..., 4\), .* got \(4, 1\)"),
        (0, [0.0, np.nan, 0.0, 0.0], "values must be finite, one set a mixture"),
        ([0], np.zeros((2, 4, 1)), "values must be finite, one set a mixture"),
        (0, [0.0, 1e160, 0.0, 0.0], "values must lie where a component has a density"),
    ],
)
def test_bad_values(dims, values, message):
    with pytest.raises(ValueError, match=message):
        random_mixture(3).condition(dims, values)


# --- affine ----------------------------------------------------------------------------------


@structures
@numbers
@given(seed=st.integers(0, 2**16))
def test_densities_change_by_the_determinant(n_targets, diagonal, seed):
    mixture = random_mixture(n_targets, seed=seed, diagonal=diagonal)
    rng = np.random.default_rng(seed)
    A, b = rng.normal(size=(n_targets, n_targets)), rng.normal(size=n_targets)
    y = mixture.sample(random_state=seed)
    mapped = mixture.affine(A, b)
    expected = mixture.logpdf(y) - np.linalg.slogdet(A)[1]
    condition = np.linalg.cond(A)
    assert_allclose(
        mapped.logpdf(y @ A.T + b), expected, rtol=1e-10 * condition, atol=1e-9 * condition
    )


@structures
@numbers
def test_moments_of_linear_maps(n_targets, diagonal):
    mixture = random_mixture(n_targets, spread=1e3, diagonal=diagonal)
    rng = np.random.default_rng(0)
    for rows in range(1, n_targets + 1):
        A, b = rng.normal(size=(rows, n_targets)), rng.normal(size=(4, rows))
        mapped = mixture.affine(A, b)
        assert_allclose(mapped.mean(), mixture.mean() @ A.T + b, rtol=1e-10)
        assert_allclose(mapped.cov(), A @ mixture.cov() @ A.T, rtol=1e-9)
    line = mixture.affine(A[0], b[:, 0])
    assert line.means.shape == (4, 3)
    assert_allclose(line.mean(), mapped.mean()[:, 0])
    assert_allclose(line.var(), mapped.var()[:, 0], rtol=1e-10)


def test_differences_of_large_correlated_targets_keep_their_digits():
    covariances = [[[[1.0, 1 - 1e-6], [1 - 1e-6, 1.0]]]]
    mixture = NormalMixture([[1.0]], [[[1e8, 1e8 + 0.25]]], covariances)
    difference = mixture.affine([-1.0, 1.0])
    assert_allclose(difference.mean(), 0.25)
    assert_allclose(difference.var(), 2e-6, rtol=1e-9)


def test_units_of_one_target_change_by_a_scalar():
    mixture = random_mixture(1).marginal(0)
    mapped = mixture.affine(-1000.0, 7.0)
    y = mixture.sample(random_state=0)
    assert_allclose(mapped.logpdf(7 - 1000 * y), mixture.logpdf(y) - np.log(1000), rtol=1e-11)
    assert_allclose(mapped.cdf(7 - 1000 * y), mixture.sf(y), rtol=1e-10)
    assert mapped.means.shape == (4, 3)


@pytest.mark.parametrize(
    ("A", "b", "message"),
    [
        ([1.0], 0.0, r"A must have shape \(3,\), or \(M, 3\) with 1 <= M <= 3; got shape \(1,\)"),
        (np.empty((0, 3)), 0.0, r"A must have .* 1 <= M <= 3; got shape \(0, 3\)"),
        (np.ones((4, 3)), 0.0, r"A must have shape .* M <= 3; got shape \(4, 3\)"),
        (2.0, 0.0, r"A must have shape .* got shape \(\)"),
        ([[1.0, 1, 0], [2, 2, 0]], 0.0, "A must have linearly independent rows"),
        ([[1.0, 1, 0], [0, 0, 0]], 0.0, "A must have linearly independent rows"),
        ([0.0, 0.0, 0.0], 0.0, "A must have linearly independent rows"),
        ([np.nan, 0.0, 1.0], 0.0, "A must be finite"),
        ([1.0, 0.0, 1.0], np.zeros(3), r"b must broadcast to \(4,\); got shape \(3,\)"),
        (np.eye(3), np.inf, "b must be finite"),
    ],
)
def test_bad_linear_maps(A, b, message):
    with pytest.raises(ValueError, match=message):
        random_mixture(3).affine(A, b)


@pytest.mark.parametrize("A", [[2.0], 0.0])
def test_bad_maps_of_one_target(A):
    with pytest.raises(ValueError, match="A must"):
        random_mixture(1).marginal(0).affine(A)


# --- bridges ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("n_features", [1, 3])
def test_from_sklearn_has_the_models_density(kind, n_features):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, n_features)) * [1, 100, 0.01][:n_features] + rng.choice(
        [0, 5], (200, 1)
    )
    model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    mixture = NormalMixture.from_sklearn(model)
    assert mixture.means.shape == (1, 3, n_features)
    assert_allclose(mixture.logpdf(X), model.score_samples(X), atol=1e-6)  # theirs loses digits
    assert_allclose(mixture.responsibilities(X), model.predict_proba(X), atol=1e-6)


def test_from_sklearn_keeps_what_the_model_was():
    model = GaussianMixture(2, random_state=0).fit(np.float32([[0], [1], [2], [5], [6], [7]]))
    mixture = NormalMixture.from_sklearn(model)
    before = mixture.mean()
    assert mixture.weights.dtype == mixture.means.dtype == np.float64
    assert_allclose(mixture.weights.sum(), 1.0, rtol=1e-15)
    model.means_ += 1.0
    model.weights_ *= 0.5
    assert_array_equal(mixture.mean(), before)


def test_from_sklearn_wants_a_mixture():
    with pytest.raises(TypeError, match=r"^model must be a GaussianMixture or .*; got KMeans$"):
        NormalMixture.from_sklearn(KMeans())


def test_from_sklearn_wants_a_fitted_model():
    with pytest.raises(NotFittedError):
        NormalMixture.from_sklearn(GaussianMixture())


@structures
def test_to_torch_is_the_same_distribution(diagonal):
    before = torch.get_default_dtype()
    joint = random_mixture(3, diagonal=diagonal)
    for mixture in (joint, joint.marginal(1), joint.marginal([1])):
        there = mixture.to_torch()
        y = mixture.sample(5, random_state=0)
        log_prob = there.log_prob(torch.tensor(y))
        assert log_prob.dtype == torch.float64
        assert_allclose(mixture.logpdf(y), log_prob, rtol=1e-10, atol=1e-11)
        assert_allclose(there.mean, mixture.mean(), rtol=1e-12)
        assert_allclose(there.variance, mixture.var(), rtol=1e-9)
    assert torch.get_default_dtype() is before


def test_to_torch_wants_a_row():
    with pytest.raises(ValueError, match="torch has no batch of no mixtures"):
        random_mixture(2)[:0].to_torch()


def test_numpy_does_not_take_a_mixture_for_an_array():
    with pytest.raises(TypeError, match="a NormalMixture is no array; its weights, means"):
        np.asarray(random_mixture(2))


def test_to_torch_keeps_an_impossible_component_impossible():
    mixture = NormalMixture([[1.0, 0.0]], [[0.0, 50.0]], [[1.0, 1.0]])
    assert_allclose(mixture.to_torch().log_prob(torch.tensor([50.0])), mixture.logpdf(50.0))


def test_to_scipy_of_one_target_answers_as_scipy_does():
    mixture = NormalMixture([[0.3, 0.7], [1, 0]], [[-1, 2], [0, 0]], [[1, 0.25], [4, 1]])
    row, normal = mixture[0].to_scipy(), mixture[1].to_scipy()
    y, q = np.linspace(-40, 5, 11).reshape(1, 11), np.array([0.0, 1e-12, 0.3, 1.0])
    for name in ("pdf", "logpdf", "cdf", "logcdf", "sf", "logsf"):
        assert_array_equal(getattr(row, name)(y)[0], getattr(mixture[0], name)(y[0]))
        assert_allclose(getattr(normal, name)(y), getattr(stats.norm(0, 2), name)(y), rtol=1e-10)
    for name in ("ppf", "isf"):
        assert_allclose(getattr(normal, name)(q), getattr(stats.norm(0, 2), name)(q), rtol=1e-10)
    assert_allclose(normal.stats(moments="mvsk"), (0, 4, 0, 0), atol=1e-12)
    assert_allclose(normal.entropy(), stats.norm(0, 2).entropy(), rtol=1e-8)
    for k in (1, 2, 3, 4):
        assert_allclose(row.moment(k), row.expect(lambda x, k=k: x**k), rtol=1e-7)
    mean, variance, skewness, kurtosis = row.stats(moments="mvsk")
    assert_allclose([mean, variance], [mixture.mean()[0], mixture.var()[0]], rtol=1e-14)
    standard = row.rvs(size=(400, 1000), random_state=0).ravel() - mean
    standard /= np.sqrt(variance)
    assert_allclose([skewness, kurtosis], stats.describe(standard)[4:], atol=0.02)
    assert stats.kstest(row.rvs(size=2000, random_state=1), row.cdf).pvalue > 1e-3
    assert row.rvs(size=0).shape == (0,)
    assert pickle.loads(pickle.dumps(row)).cdf(0.5) == row.cdf(0.5)


def test_to_scipy_of_several_targets_looks_like_a_multivariate_normal():
    mixture = random_mixture(2, n=1)
    single = NormalMixture([[1.0]], mixture.means[:, :1], mixture.covariances[:, :1])
    ours, theirs = single.to_scipy(), stats.multivariate_normal(single.mean()[0], single.cov()[0])
    points = np.random.default_rng(0).normal(size=(5, 2))
    for name in ("pdf", "logpdf"):
        assert_allclose(getattr(ours, name)(points), getattr(theirs, name)(points), rtol=1e-10)
        assert_allclose(
            getattr(ours, name)(points[0]), getattr(theirs, name)(points[0]), rtol=1e-10
        )
    assert_allclose(ours.mean, theirs.mean)
    assert_allclose(ours.cov, theirs.cov)
    assert ours.rvs(random_state=0).shape == (2,)
    for size in (7, (7,), (1,), (2, 3)):
        expected = theirs.rvs(size, random_state=0).shape
        assert ours.rvs(size, random_state=0).shape == expected
    assert_array_equal(ours.rvs((2, 3), random_state=0).reshape(6, 2), ours.rvs(6, random_state=0))


def test_to_scipy_takes_one_row():
    with pytest.raises(ValueError, match="to_scipy takes one mixture, this batch has 4"):
        random_mixture(2).to_scipy()
