"""Covariance factors against dense linear algebra, and against 50 digits where float64 is hard."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

from skmdn.distribution.scale import (
    Diagonal,
    Triangular,
    concatenate,
    from_covariances,
    standard_logpdf,
)

SPREAD = np.array([1e3, 1e-3, 1.0, 30.0, 0.02])  # of the targets, in one covariance


def diagonal(n_targets, rng):
    return Diagonal(SPREAD[:n_targets] * rng.uniform(0.5, 2, (4, 3, n_targets)))


def triangular(n_targets, rng):
    lower = np.tril(rng.normal(size=(4, 3, n_targets, n_targets)))
    lower[..., range(n_targets), range(n_targets)] = rng.uniform(0.1, 2, (4, 3, n_targets))
    return Triangular(SPREAD[:n_targets, None] * lower)


scales = pytest.mark.parametrize(
    "scale",
    [
        pytest.param(
            make(n_targets, np.random.default_rng(n_targets)), id=f"{make.__name__}-{n_targets}"
        )
        for make in (diagonal, triangular)
        for n_targets in (1, 2, 3, 5)
    ],
)


def assert_same_covariance(scale, covariances):
    sds = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    unit = sds[..., :, None] * sds[..., None, :]
    assert_allclose(scale.covariances() / unit, covariances / unit, rtol=1e-10, atol=1e-12)
    assert_allclose(scale.standard_deviations(), sds, rtol=1e-12)


@scales
def test_one_matrix_is_behind_every_answer(scale):
    factor = scale.factor()
    n_targets = factor.shape[-1]
    assert_same_covariance(scale, factor @ factor.swapaxes(-1, -2))
    assert_allclose(scale.log_determinant(), np.linalg.slogdet(factor)[1], rtol=1e-12)
    z = np.random.default_rng(0).normal(size=(6, 4, 3, n_targets))
    assert_allclose(scale.colour(z), np.einsum("nkde,mnke->mnkd", factor, z), rtol=1e-10)
    assert_allclose(scale.whiten(scale.colour(z)), z, rtol=1e-9, atol=1e-12)


@scales
def test_selecting_repeating_and_joining(scale):
    assert_allclose(scale[2, [1, 0]].factor(), scale.factor()[2, [1, 0]])
    repeated = scale[:1].broadcast_to((5, 3))
    assert_allclose(
        repeated.factor(), np.broadcast_to(scale.factor()[:1], repeated.factor().shape)
    )
    joined = concatenate([scale, scale[:, :1]], axis=1)
    assert_allclose(
        joined.factor(), np.concatenate([scale.factor(), scale.factor()[:, :1]], axis=1)
    )


@scales
def test_marginals_in_any_order(scale):
    covariances = scale.covariances()
    n_targets = covariances.shape[-1]
    for size in range(1, n_targets + 1):
        for dims in itertools.permutations(range(n_targets), size):
            expected = covariances[..., dims, :][..., dims]
            marginal = scale.marginal(dims)
            assert_same_covariance(marginal, expected)
            assert (np.triu(marginal.factor(), 1) == 0).all()
            assert (np.diagonal(marginal.factor(), axis1=-2, axis2=-1) > 0).all()


@scales
def test_linear_maps(scale):
    n_targets = scale.factor().shape[-1]
    rng = np.random.default_rng(1)
    for rows in range(1, n_targets + 1):
        matrix = rng.normal(size=(rows, n_targets))
        assert_same_covariance(scale.affine(matrix), matrix @ scale.covariances() @ matrix.T)


def test_targets_that_stay_uncorrelated_stay_diagonal():
    scale = diagonal(3, np.random.default_rng(0))
    kept = scale.affine(np.array([[0, 0, -2.0], [3.0, 0, 0]]))
    assert isinstance(kept, Diagonal)
    assert_allclose(kept.sds, scale.sds[..., [2, 0]] * [2, 3])
    merged = scale.affine(np.array([[1.0, 0, 0.5], [0, 2.0, 0]]))
    assert isinstance(merged, Diagonal)
    assert_allclose(merged.sds[..., 0], np.hypot(scale.sds[..., 0], scale.sds[..., 2] / 2))
    assert isinstance(scale.affine(np.array([[1.0, 1, 0], [1, 0, 0]])), Triangular)
    mixed = concatenate([scale, triangular(3, np.random.default_rng(0))], axis=0)
    assert isinstance(mixed, Triangular)


@scales
def test_conditioning_by_the_textbook(scale):
    covariances = scale.covariances()
    n_targets = covariances.shape[-1]
    rng = np.random.default_rng(2)
    for size in range(1, n_targets):
        for known in itertools.permutations(range(n_targets), size):
            rest = [d for d in range(n_targets) if d not in known]
            residual = scale.marginal(known).colour(rng.normal(size=(4, 3, size)))
            logpdf, shift, left = scale.condition(known, rest, residual, 0.0)
            gain = covariances[..., rest, :][..., known] @ np.linalg.inv(
                scale.marginal(known).covariances()
            )
            assert_allclose(shift, (gain @ residual[..., None])[..., 0], rtol=1e-6, atol=1e-9)
            schur = (
                covariances[..., rest, :][..., rest] - gain @ covariances[..., known, :][..., rest]
            )
            assert_allclose(left.covariances(), schur, rtol=1e-5, atol=1e-9)
            marginal = scale.marginal(known)
            expected = standard_logpdf(marginal.whiten(residual)) - marginal.log_determinant()
            assert_allclose(logpdf, expected, rtol=1e-10)


@pytest.mark.parametrize("known", [(0,), (1,), (2,), (2, 0), (1, 2), (0, 1)])
def test_conditioning_keeps_ten_digits_where_the_textbook_loses_them(known):
    """Correlations of 1 - 1e-8 and scales from 1e3 to 1e-3, against 50 digits."""
    near_one = np.array([[1, 0, 0], [1, 1e-4, 0], [0.5, 0.5, 1e-4]])
    lower = np.array([1e3, 1e-3, 1.0])[:, None] * near_one
    residual = lower[list(known)] @ np.array([0.3, -1.2, 0.7])
    rest = [d for d in range(3) if d not in known]
    logpdf, shift, left = Triangular(lower).condition(known, rest, residual, 0.0)
    with mpmath.workdps(50):
        factor = mpmath.matrix(lower.tolist())
        sigma = factor * factor.T

        def pick(rows, columns):
            return mpmath.matrix([[sigma[i, j] for j in columns] for i in rows])

        gain = pick(rest, known) * pick(known, known) ** -1
        r = mpmath.matrix(residual.tolist())
        quadratic = (r.T * pick(known, known) ** -1 * r)[0]
        log_det = mpmath.log(mpmath.det(2 * mpmath.pi * pick(known, known)))
        expected_shift = gain * r
        schur = pick(rest, rest) - gain * pick(known, rest)
    assert_allclose(logpdf, float(-(quadratic + log_det) / 2), rtol=1e-10)
    assert_allclose(shift, [float(x) for x in expected_shift], rtol=1e-10)
    expected = np.array(schur.tolist(), dtype=float)
    assert_allclose(left.covariances(), expected, rtol=1e-10)


def test_covariances_are_factored_by_their_structure():
    rng = np.random.default_rng(3)
    assert isinstance(from_covariances(diagonal(3, rng).covariances()), Diagonal)
    scale = triangular(3, rng)
    again = from_covariances(scale.covariances())
    assert_allclose(again.factor(), scale.factor(), rtol=1e-6)
    for bad in (np.diag([1.0, 0.0]), np.array([[1.0, 2.0], [2.0, 1.0]])):
        with pytest.raises(np.linalg.LinAlgError):
            from_covariances(bad)
