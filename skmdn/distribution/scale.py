"""Covariance factors of a finished mixture.

A component's covariance is kept as the lower triangular factor L of Sigma = L L^T, never as Sigma
itself: differences of large numbers and the squared condition number stay out of every answer.
One class a structure, all with the same methods, in the manner of ``scipy.stats.Covariance``; the
leading axes (usually rows and components) are free, loops run over the D targets only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]

LOG_2PI = float(np.log(2.0 * np.pi))


class NormalScale:
    """What normal components answer alike, whatever the structure of L."""

    __slots__ = ()

    def standard_deviations(self) -> Array:
        """Of each target, shape (..., D)."""
        raise NotImplementedError

    def log_determinant(self) -> Array:
        """log |L|, half of log |Sigma|, shape (...)."""
        raise NotImplementedError

    def whiten(self, residual: Array) -> Array:
        """L^-1 residual, for residuals of shape (..., D)."""
        raise NotImplementedError

    def colour(self, z: Array) -> Array:
        """L z, for standard normal z of shape (..., D)."""
        raise NotImplementedError

    def logpdf(self, points: Array, means: Array | float) -> Array:
        """Log-density at points (..., D) of components of such means."""
        # inf - inf, where targets are infinite, or beyond all numbers in standard deviations
        with np.errstate(over="ignore", invalid="ignore"):
            residual = points - means
            logpdf = np.asarray(standard_logpdf(self.whiten(residual)) - self.log_determinant())
        unknown = np.isnan(logpdf)
        if unknown.any():
            logpdf[unknown & ~np.isnan(residual).any(axis=-1)] = -np.inf
        return logpdf

    def exact(self, free: Array) -> Scale:
        """The same with no width where ``free``, (..., D) of 0 and 1, is zero: for draws alone."""
        raise NotImplementedError

    def draw(self, z: Array, means: Array) -> Array:
        """Draws that standard normal z (..., D) turn into."""
        return means + self.colour(z)

    def entropy(self) -> Array:
        """Differential entropy, shape (...)."""
        n_targets = self.standard_deviations().shape[-1]
        return self.log_determinant() + 0.5 * n_targets * (1.0 + LOG_2PI)


class Diagonal(NormalScale):
    """Uncorrelated targets: L = diag(sds), with ``sds`` of shape (..., D)."""

    __slots__ = ("sds",)

    def __init__(self, sds: Array):
        self.sds = sds

    def __getitem__(self, index: Any) -> Diagonal:
        """Index the leading axes."""
        return Diagonal(self.sds[index])

    def broadcast_to(self, leading: tuple[int, ...]) -> Diagonal:
        """Broadcast the leading axes to this shape, without a copy."""
        return Diagonal(np.broadcast_to(self.sds, (*leading, *self.sds.shape[-1:])))

    def numbers(self) -> Array:
        """All it holds, shape (..., D)."""
        return self.sds

    def standard_deviations(self) -> Array:
        """Of each target, shape (..., D)."""
        return self.sds

    def factor(self) -> Array:
        """L as a full matrix, shape (..., D, D)."""
        return np.asarray(self.sds[..., :, None] * np.eye(self.sds.shape[-1]))

    def covariances(self) -> Array:
        """L L^T, shape (..., D, D)."""
        return np.asarray(self.sds[..., :, None] ** 2 * np.eye(self.sds.shape[-1]))

    def log_determinant(self) -> Array:
        """log |L|, half of log |Sigma|, shape (...)."""
        return np.asarray(np.log(self.sds).sum(axis=-1))

    def whiten(self, residual: Array) -> Array:
        """L^-1 residual, for residuals of shape (..., D)."""
        return residual / self.sds

    def colour(self, z: Array) -> Array:
        """L z, for standard normal z of shape (..., D)."""
        return z * self.sds

    def exact(self, free: Array) -> Diagonal:
        """The same with no width where ``free``, (..., D) of 0 and 1, is zero: for draws alone."""
        return Diagonal(self.sds * free)

    def marginal(self, dims: Sequence[int]) -> Diagonal:
        """The scale of y[dims], in that order."""
        return Diagonal(self.sds[..., list(dims)])

    def affine(self, matrix: Array) -> Scale:
        """The scale of A y, for A of shape (M, D)."""
        if ((matrix != 0).sum(axis=0) <= 1).all():  # rows share no target: still uncorrelated
            return Diagonal(_row_norms(matrix * self.sds[..., None, :]))
        return _from_root(matrix * self.sds[..., None, :])

    def condition(
        self, dims: Sequence[int], rest: Sequence[int], points: Array, means: Array | float
    ) -> tuple[Array, Array, Scale]:
        """What knowing y[dims], of such means, says of y[rest].

        Returns the log-density of the points (...), the shift of the mean of y[rest]
        (..., len(rest)), and the scale of y[rest] that is left.
        """
        logpdf = self.marginal(dims).logpdf(points, means)
        return logpdf, np.zeros((*logpdf.shape, len(rest))), self.marginal(rest)


class Triangular(NormalScale):
    """Correlated targets: L is ``lower``, of shape (..., D, D), zero above its diagonal."""

    __slots__ = ("lower",)

    def __init__(self, lower: Array):
        self.lower = lower

    def __getitem__(self, index: Any) -> Triangular:
        """Index the leading axes."""
        return Triangular(self.lower[index])

    def broadcast_to(self, leading: tuple[int, ...]) -> Triangular:
        """Broadcast the leading axes to this shape, without a copy."""
        return Triangular(np.broadcast_to(self.lower, (*leading, *self.lower.shape[-2:])))

    def numbers(self) -> Array:
        """All it holds, shape (..., D * D)."""
        return self.lower.reshape(*self.lower.shape[:-2], -1)

    def standard_deviations(self) -> Array:
        """Of each target, shape (..., D)."""
        return _row_norms(self.lower)

    def factor(self) -> Array:
        """L as a full matrix, shape (..., D, D)."""
        return self.lower

    def covariances(self) -> Array:
        """L L^T, shape (..., D, D)."""
        return np.asarray(self.lower @ self.lower.swapaxes(-1, -2))

    def log_determinant(self) -> Array:
        """log |L|, half of log |Sigma|, shape (...)."""
        return np.asarray(np.log(np.diagonal(self.lower, axis1=-2, axis2=-1)).sum(axis=-1))

    def whiten(self, residual: Array) -> Array:
        """L^-1 residual, for residuals of shape (..., D): forward substitution."""
        z = _targets_first(residual, self.lower)
        for d in range(len(z)):
            z[d] = residual[..., d]
            for e in range(d):
                z[d] -= self.lower[..., d, e] * z[e]
            z[d] /= self.lower[..., d, d]
        return np.moveaxis(z, 0, -1)

    def colour(self, z: Array) -> Array:
        """L z, for standard normal z of shape (..., D)."""
        y = _targets_first(z, self.lower)
        for d in range(len(y)):
            y[d] = self.lower[..., d, 0] * z[..., 0]
            for e in range(1, d + 1):
                y[d] += self.lower[..., d, e] * z[..., e]
        return np.moveaxis(y, 0, -1)

    def exact(self, free: Array) -> Triangular:
        """The same with no width where ``free`` is zero; see `Diagonal.exact`."""
        return Triangular(self.lower * free[..., None])

    def marginal(self, dims: Sequence[int]) -> Scale:
        """The scale of y[dims], in that order."""
        return _from_root(self.lower[..., list(dims), :])

    def affine(self, matrix: Array) -> Scale:
        """The scale of A y, for A of shape (M, D)."""
        return _from_root(matrix @ self.lower)

    def condition(
        self, dims: Sequence[int], rest: Sequence[int], points: Array, means: Array | float
    ) -> tuple[Array, Array, Scale]:
        """What knowing y[dims] says of y[rest]; see `Diagonal.condition`.

        With the known targets first, L = [[L_kk, 0], [L_rk, L_rr]]: the residual fixes the first
        innovations, z = L_kk^-1 residual; they move the rest by L_rk z and leave it with L_rr.
        """
        lower = _triangularise(self.lower[..., [*dims, *rest], :])
        m = len(dims)
        known = Triangular(lower[..., :m, :m])
        z = known.whiten(points - means)
        shift = (lower[..., m:, :m] * z[..., None, :]).sum(axis=-1)
        logpdf = standard_logpdf(z) - known.log_determinant()
        return logpdf, shift, Triangular(lower[..., m:, m:])


Scale: TypeAlias = Diagonal | Triangular


def standard_logpdf(z: Array) -> Array:
    """log N(z; 0, I) over the last axis."""
    with np.errstate(over="ignore"):  # too far even for float64: a density of zero
        return np.asarray(-0.5 * (np.square(z).sum(axis=-1) + z.shape[-1] * LOG_2PI))


def concatenate(scales: Sequence[Scale], axis: int) -> Scale:
    """Join along a leading axis; one correlated part makes the whole correlated."""
    if all(isinstance(scale, Diagonal) for scale in scales):
        return Diagonal(np.concatenate([s.standard_deviations() for s in scales], axis=axis))
    return Triangular(np.concatenate([s.factor() for s in scales], axis=axis))


def from_covariances(covariances: Array) -> Scale:
    """Factors of covariance matrices (..., D, D); diagonal ones stay diagonal.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is not positive definite.
    """
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    if (covariances == variances[..., :, None] * np.eye(variances.shape[-1])).all():
        if not (variances > 0).all():
            raise np.linalg.LinAlgError("Matrix is not positive definite")
        return Diagonal(np.sqrt(variances))
    return Triangular(np.asarray(np.linalg.cholesky(covariances), dtype=np.float64))


def _targets_first(vectors: Array, lower: Array) -> Array:
    """An array for L times vectors, (D, ...): arithmetic along its rows is contiguous."""
    leading = np.broadcast_shapes(vectors.shape, lower.shape[:-1])[:-1]
    return np.empty((lower.shape[-1], *leading))


def _row_norms(root: Array) -> Array:
    return np.sqrt(np.square(root).sum(axis=-1))


def _from_root(root: Array) -> Scale:
    """The scale with Sigma = R R^T, for R of shape (..., M, D)."""
    if root.shape[-2] == 1:
        return Diagonal(_row_norms(root))
    return Triangular(_triangularise(root))


def _triangularise(root: Array) -> Array:
    """The lower triangular L with L L^T = R R^T, for R of shape (..., M, D), M <= D.

    R^T = Q U gives L = U^T without ever forming R R^T; Householder's error is relative to each
    column of R^T, so targets of very different scales keep their digits.
    """
    upper = np.linalg.qr(root.swapaxes(-1, -2), mode="r")
    sign = np.where(np.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return np.ascontiguousarray((sign[..., :, None] * upper).swapaxes(-1, -2))
