"""Joint answers for several targets: the modes of the density, and mean distances.

Pure functions of weights (n, K), means (n, K, D) and a scale over (n, K). What is asked here has
no closed form in general; each function says what it does instead, and how exact that is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, hyp1f1

from skmdn.distribution.scale import LOG_2PI, Array, Diagonal, Scale, Triangular

Rows: TypeAlias = npt.NDArray[np.bool_]

STRETCH = 3.0  # how far beyond the fixed point a bold step goes; the cheapest of 1, 2, 3, 4, 6
MAX_STEPS = 500
STEP_TOLERANCE = 1e-10  # of an ascent's last step, in units of the local standard deviation
SAME_MODE = 1e-3  # ascents that end closer than this, in the same units, found one mode
SADDLE = -1e-6  # a curvature below this, in the same units, still leads uphill


# --- modes -----------------------------------------------------------------------------------


class _Hill(NamedTuple):
    """log p and its derivatives at points (n, S, D)."""

    logpdf: Array  # (n, S)
    gradient: Array  # (n, S, D)
    precision: Array  # (n, S, D, D): the components' precisions, averaged by responsibility
    curvature: Array  # (n, S, D, D): minus the Hessian


class _Density:
    """The log-density of a block of mixtures, prepared for many evaluations.

    Points are (n, S, D); inside, one array (n, K, S) a target, so that all arithmetic runs along
    contiguous memory.
    """

    def __init__(self, weights: Array, means: Array, scale: Scale):
        n_targets = means.shape[-1]
        self._targets = range(n_targets)
        with np.errstate(divide="ignore"):  # a weight of zero
            log_weights = np.log(weights) - scale.log_determinant() - 0.5 * n_targets * LOG_2PI
        self._log_weights = log_weights[..., None]
        self._means = means[..., None]
        units = np.eye(n_targets)[:, None, None, :]
        inverse = np.moveaxis(scale.whiten(units), 0, -1)  # L^-1
        self._whitener = inverse[..., None]
        self._precisions = inverse.swapaxes(-1, -2) @ inverse

    def __getitem__(self, rows: Any) -> _Density:
        part = object.__new__(_Density)
        values = self.__dict__.items()
        part.__dict__ = {k: v if isinstance(v, range) else v[rows] for k, v in values}
        return part

    def logpdf(self, y: Array) -> Array:
        """Return the log-density at a point of each row."""
        joint, _ = self._joint(y)
        return np.asarray(_normalise(joint)[0])

    def at(self, y: Array) -> _Hill:
        """With a_k = P_k (mu_k - y): gradient g = sum r a, -H = sum r P - sum r (a-g)(a-g)^T."""
        joint, whitened = self._joint(y)
        logpdf, resp = _normalise(joint)
        pull = [
            sum(self._whitener[:, :, d, e] * whitened[d] for d in self._targets if d >= e)
            for e in self._targets
        ]
        gradient = np.stack([(resp * a).sum(axis=1) for a in pull], axis=-1)
        precision = np.einsum("nks,nkde->nsde", resp, self._precisions)
        curvature = precision.copy()
        deviation = [a - gradient[:, None, :, d] for d, a in enumerate(pull)]
        for d in self._targets:
            weighted = resp * deviation[d]
            for e in self._targets:
                curvature[..., d, e] -= (weighted * deviation[e]).sum(axis=1)
        return _Hill(logpdf, gradient, precision, curvature)

    def _joint(self, y: Array) -> tuple[Array, list[Array]]:
        """log(w_k N_k), shape (n, K, S), and the whitened residuals."""
        residual = [self._means[:, :, d] - y[:, None, :, d] for d in self._targets]
        whitened: list[Any] = [
            sum(self._whitener[:, :, d, e] * residual[e] for e in range(d + 1))
            for d in self._targets
        ]
        square = sum(np.square(z) for z in whitened)
        return np.asarray(self._log_weights - 0.5 * square), whitened


def _normalise(joint: Array) -> tuple[Array, Array]:
    """log p = logsumexp over the components (axis 1), and the responsibilities."""
    top = joint.max(axis=1)
    odds = np.exp(joint - top[:, None])
    total = odds.sum(axis=1)
    return np.log(total) + top, odds / total[:, None]


def modes(weights: Array, means: Array, scale: Scale) -> tuple[Array, Array, Array]:
    """Local maxima of the joint density reached from the components' means.

    The fixed point mu <- (sum r_k P_k)^-1 sum r_k P_k mu_k of Carreira-Perpinan (2000, IEEE PAMI
    22:1318) always climbs; where the log-density is concave and Newton's step climbs too, that is
    taken, so the last digits come quadratically. An ascent that ends on a saddle is pushed off it.

    Returns the modes (n, K, D), highest first and padded with NaN, their log-densities (n, K) and
    their counts (n,).
    """
    density = _Density(weights, means, scale)
    y = means.copy()
    moving: Any = np.ones(y.shape[:2], dtype=bool)
    for _ in range(MAX_STEPS):
        if not moving.any():
            break
        rows = np.flatnonzero(moving.any(axis=1))
        starts = np.argsort(~moving[rows], axis=1)[:, : moving.sum(axis=1).max()]
        where = (rows[:, None], starts)
        part = density[rows] if len(rows) < len(y) else density
        y[where], length = _step(part, y[where])
        moving[where] = length > STEP_TOLERANCE
    return _distinct(y, density.at(y))


def _step(density: _Density, y: Array) -> tuple[Array, Array]:
    """The next points, and how far they are in local standard deviations (0 once at rest).

    Newton's step, or a stretched fixed-point step where the log-density is not concave, is taken
    if it is short and climbs; otherwise the fixed point's own, which cannot fail to climb.
    """
    hill = density.at(y)
    metric, _ = _cholesky(hill.precision)
    climb = _solve(metric, hill.gradient)
    concave, is_concave = _cholesky(hill.curvature)
    bold = np.where(is_concave[..., None], _solve(concave, hill.gradient), STRETCH * climb)
    noise = 1e-13 * (1 + np.abs(hill.logpdf))
    trusted = (_length(metric, bold) <= 1) & (density.logpdf(y + bold) >= hill.logpdf - noise)
    step = np.where(trusted[..., None], bold, climb)
    length = _length(metric, step)
    resting = (length <= STEP_TOLERANCE) & ~is_concave
    if resting.any():
        step[resting], length[resting] = _escape(hill, metric, resting)
    new = y + step
    return new, np.where((new == y).all(axis=-1), 0.0, length)


def _escape(hill: _Hill, metric: Array, where: Rows) -> tuple[Array, Array]:
    """A small step along the most convex direction at a saddle; none at a flat maximum."""
    lower = metric[where]
    whitened = np.linalg.solve(lower, hill.curvature[where])
    whitened = np.linalg.solve(lower, whitened.swapaxes(-1, -2))
    eigenvalues, vectors = np.linalg.eigh(whitened)
    length = np.where(eigenvalues[:, 0] < SADDLE, 0.1, 0.0)
    direction = np.linalg.solve(lower.swapaxes(-1, -2), vectors[..., :1])[..., 0]
    return length[:, None] * direction, length


def _cholesky(matrix: Array) -> tuple[Array, Rows]:
    """Lower factors of symmetric (..., D, D), and where they exist; loops over D, never raises."""
    lower = np.zeros_like(matrix)
    positive = np.ones(matrix.shape[:-2], dtype=bool)
    for d in range(matrix.shape[-1]):
        row = lower[..., d, :d]
        size = np.abs(matrix[..., d, d])
        pivot = matrix[..., d, d] - np.square(row).sum(axis=-1)
        good = pivot > 1e-13 * size
        positive &= good
        # Where there is no factor, something of the size that one would have.
        root = np.sqrt(np.where(good, pivot, np.where(size == 0.0, 1.0, size)))
        lower[..., d, d] = root
        for e in range(d + 1, matrix.shape[-1]):
            known = (lower[..., e, :d] * row).sum(axis=-1)
            lower[..., e, d] = (matrix[..., e, d] - known) / root
    return lower, positive


def _solve(lower: Array, right: Array) -> Array:
    """(L L^T)^-1 right, for right of shape (..., D)."""
    x = Triangular(lower).whiten(right)
    for d in reversed(range(x.shape[-1])):
        known = (lower[..., d + 1 :, d] * x[..., d + 1 :]).sum(axis=-1)
        x[..., d] = (x[..., d] - known) / lower[..., d, d]
    return x


def _length(lower: Array, step: Array) -> Array:
    """|L^T step|: the length of a step in the metric L L^T."""
    return np.asarray(np.linalg.norm((lower * step[..., :, None]).sum(axis=-2), axis=-1))


def _distinct(y: Array, hill: _Hill) -> tuple[Array, Array, Array]:
    """Each end point once, highest first."""
    order = np.argsort(-hill.logpdf, axis=1, kind="stable")
    y = np.take_along_axis(y, order[..., None], axis=1)
    logpdf = np.take_along_axis(hill.logpdf, order, axis=1)
    metric = _cholesky(np.take_along_axis(hill.precision, order[..., None, None], axis=1))[0]
    kept = np.ones(logpdf.shape, dtype=bool)
    for k in range(1, logpdf.shape[1]):
        distance = _length(metric[:, k, None], y[:, :k] - y[:, k, None])
        kept[:, k] = ~((distance < SAME_MODE) & kept[:, :k]).any(axis=1)
    front = np.argsort(~kept, axis=1, kind="stable")
    kept = np.take_along_axis(kept, front, axis=1)
    y = np.where(kept[..., None], np.take_along_axis(y, front[..., None], axis=1), np.nan)
    logpdf = np.where(kept, np.take_along_axis(logpdf, front, axis=1), np.nan)
    return y, logpdf, kept.sum(axis=1)


# --- distances -------------------------------------------------------------------------------


def energy_score(points: Array, weights: Array, means: Array, scale: Scale) -> Array:
    """E|Y - y| - E|Y - Y'| / 2 for points (..., n, D); see `_mean_norm` for its exactness."""
    mean_norm: Callable[[Array, Array], Array] = _mean_norm
    if isinstance(scale, Diagonal):
        spread = np.square(scale.sds)
    else:
        spread, mean_norm = scale.covariances(), _mean_norm_correlated
    score = (weights * mean_norm(means - points[..., None, :], spread)).sum(axis=-1)
    for k in range(weights.shape[1]):
        # component k against itself and all that follow, which stand for both orders
        distance = mean_norm(means[:, k:] - means[:, k, None], spread[:, k:] + spread[:, k, None])
        pairs = weights[:, k, None] * weights[:, k:]
        pairs[:, 0] /= 2
        score = score - (pairs * distance).sum(axis=1)
    return np.asarray(score)


def drawn_energy_score(points: Array, left: Array, right: Array) -> Array:
    """The same as a mean over independent pairs of draws (m, n, D).

    By the triangle inequality each term lies between 0 and |Y - y|.
    """
    here = points[..., None, :, :]
    near = np.linalg.norm(left - here, axis=-1) + np.linalg.norm(right - here, axis=-1)
    return np.asarray((near - np.linalg.norm(left - right, axis=-1)).mean(axis=-2) / 2)


def _mean_norm_correlated(offset: Array, covariances: Array) -> Array:
    variances, axes = np.linalg.eigh(covariances)
    return _mean_norm(np.einsum("...de,...d->...e", axes, offset), np.maximum(variances, 0.0))


def _mean_norm(offset: Array, variances: Array) -> Array:
    """E|X| for X ~ N(offset, diag(variances)), over the last axis.

    With few targets of equal variance, the mean of a noncentral chi variable. Otherwise, with
    Q = |X|^2 / E|X|^2 and phi(t) = E exp(-t Q), which is a product over the targets,
    E sqrt(Q) = (4 pi)^(-1/2) int_0^inf (1 - phi(t)) t^(-3/2) dt
              = pi^(-1/2) int_0^(pi/2) (1 - phi(tan^2 u)) / sin^2 u du,
    by double-exponential quadrature (Takahasi & Mori 1974): relative error below 1e-9, and near
    1e-14 unless the offsets dwarf the variances.
    """
    size = np.maximum(np.abs(offset).max(axis=-1), np.sqrt(variances.max(axis=-1)))
    unit = np.where(size > 0, size, 1.0)[..., None]  # in which no square overflows
    return unit[..., 0] * _mean_norm_in_units(offset / unit, np.square(np.sqrt(variances) / unit))


#: Half the squared offset, in variances, from which on its series has all digits.
_FAR = 1e8

#: From 100 targets on, SciPy's hyp1f1 is infinite at distances that are usual.
_MOST_TARGETS_OF_CHI = 64


def _mean_norm_in_units(offset: Array, variances: Array) -> Array:
    squares, repeats = np.square(offset), 1
    if (variances == variances[..., :1]).all():
        if offset.shape[-1] <= _MOST_TARGETS_OF_CHI:
            return _mean_noncentral_chi(offset, variances[..., 0])
        # the targets' factors of phi are all alike but for the offsets, of which the length counts
        repeats = offset.shape[-1]
        variances, squares = variances[..., :1], squares.sum(axis=-1, keepdims=True)
    total = (repeats * variances + squares).sum(axis=-1)
    spread, shift = variances / total[..., None], squares / total[..., None]
    integral = np.zeros(np.broadcast_shapes(spread.shape, shift.shape)[:-1])
    for t, weight in zip(*_NODES, strict=True):
        wide = 2 * t * spread
        log_phi = -(0.5 * repeats * np.log1p(wide) + t * shift / (1 + wide)).sum(axis=-1)
        integral -= weight * np.expm1(log_phi)
    return np.sqrt(total) * integral


def _mean_noncentral_chi(offset: Array, variance: Array) -> Array:
    """E|X| where all variances are one; far out r + (D - 1) variance / 2 r, with r = |offset|."""
    n_targets = offset.shape[-1]
    central = np.exp(gammaln((n_targets + 1) / 2) - gammaln(n_targets / 2))
    square = np.square(offset).sum(axis=-1)
    is_far = square > 2 * _FAR * variance
    half = square / np.where(is_far, np.inf, 2 * variance)
    near = np.sqrt(2 * variance) * central * hyp1f1(-0.5, n_targets / 2, -half)
    r = np.sqrt(np.where(is_far, square, 1.0))
    return np.asarray(np.where(is_far, r + (n_targets - 1) * variance / (2 * r), near))


def _double_exponential_nodes() -> tuple[Array, Array]:
    """t = tan^2 u and weights on u = pi/2 / (1 + exp(-pi sinh v)), for v on a regular grid."""
    step = 0.06
    v = step * np.arange(-50, 51)
    exponent = 0.5 * np.pi * np.sinh(v)
    sine = np.sin(0.5 * np.pi / (1 + np.exp(-2 * exponent)))
    cosine = np.sin(0.5 * np.pi / (1 + np.exp(2 * exponent)))
    slope = np.pi**2 / 8 * np.cosh(v) / np.cosh(exponent) ** 2
    return np.square(sine / cosine), step * slope / (np.sqrt(np.pi) * np.square(sine))


_NODES = _double_exponential_nodes()
