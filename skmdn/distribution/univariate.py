"""One-dimensional Gaussian mixtures, a batch at a time: exact answers, vectorised over rows.

Every function takes its own arguments first and then a batch of n mixtures of K components:
``weights`` (nonnegative, each row sums to 1; a weight may be exactly 0), ``means`` and ``scales``
(standard deviations, > 0), each ``(n, K)`` float64. What is asked at a point takes arguments of
shape ``(..., n)``, or anything that broadcasts with ``(n,)``, and answers in that shape. Nothing
is validated here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from ._modes import find_modes, find_region
from ._roots import BLOCK, Array, blocks, tail_quantile, without_empty

_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)
_SQRT_2PI = np.sqrt(2 * np.pi)


def _pointwise(kernel: Callable[..., Array], size: int = BLOCK) -> Callable[..., Array]:
    """Run ``kernel`` on blocks: points ``(L, B)``, components ``(K, 1, B)``; result ``(L, B)``."""

    @functools.wraps(kernel)
    def function(*arguments: ArrayLike) -> Array:
        *points, weights, means, scales = (np.asarray(a, np.float64) for a in arguments)
        n, n_components = weights.shape
        shape = np.broadcast_shapes((n,), *(point.shape for point in points))
        lead = int(np.prod(shape[:-1]))
        points = [np.broadcast_to(point, shape).reshape(lead, n) for point in points]
        result = np.empty((lead, n))
        with np.errstate(all="ignore"):  # log 0 of empty components, underflow far away
            for rows in blocks(n, n_components, size):
                components = [
                    np.ascontiguousarray(c[rows].T)[:, None] for c in (weights, means, scales)
                ]
                for some in blocks(lead, components[0].size, size):
                    result[some, rows] = kernel(*(p[some, rows] for p in points), *components)
        return result.reshape(shape)

    return function


# Density and distribution function -------------------------------------------------------------


def _logsumexp(terms: Array) -> Array:
    """log sum exp over the first axis; overwrites ``terms``."""
    top = np.maximum(terms.max(axis=0), -1e308)
    terms -= top
    np.exp(terms, out=terms)
    return np.log(terms.sum(axis=0)) + top


def _standardise(y: Array, means: Array, scales: Array) -> Array:
    z = y - means
    z /= scales
    return z


@_pointwise
def logpdf(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    """Log-density at ``y``, in nats per unit of y."""
    terms = _standardise(y, means, scales)
    terms *= terms
    terms *= -0.5
    terms += np.log(weights) - np.log(scales) - _LOG_SQRT_2PI
    return _logsumexp(terms)


@_pointwise
def cdf(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    """P(Y <= y), accurate relative to itself in the lower tail."""
    return _lower_tail(_standardise(y, means, scales), weights)


@_pointwise
def sf(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    """P(Y > y), accurate relative to itself in the upper tail."""
    return _lower_tail(_standardise(-y, -means, scales), weights)


@_pointwise
def logcdf(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    """log P(Y <= y), accurate relative to itself everywhere."""
    return _log_lower_tail(_standardise(y, means, scales), weights)


@_pointwise
def logsf(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    """log P(Y > y), accurate relative to itself everywhere."""
    return _log_lower_tail(_standardise(-y, -means, scales), weights)


def _lower_tail(z: Array, weights: Array) -> Array:
    special.ndtr(z, out=z)
    z *= weights
    return np.minimum(z.sum(axis=0), 1)


def _log_lower_tail(z: Array, weights: Array) -> Array:
    upper = _lower_tail(-z, weights)
    lower = _lower_tail(z.copy(), weights)
    result = np.where(lower < 0.5, np.log(lower), np.log1p(-upper))
    deep = lower < 1e-290  # the cdf itself underflows
    if deep.any():
        log_weights = np.log(np.broadcast_to(weights, z.shape)[:, deep])
        result[deep] = _logsumexp(log_weights + special.log_ndtr(z[:, deep]))
    return result


def probability_between(
    low: ArrayLike, high: ArrayLike, weights: Array, means: Array, scales: Array
) -> Array:
    """P(low < Y <= high) for low <= high, accurate relative to itself in both tails."""
    return _probability_between(low, high, weights, means, scales)


@_pointwise
def _probability_between(
    low: Array, high: Array, weights: Array, means: Array, scales: Array
) -> Array:
    below, above = _standardise(low, means, scales), _standardise(high, means, scales)
    # in the upper half the difference of the tails above, not of two cdfs near 1
    side = np.where(below + above > 0, -1.0, 1.0)
    mass = special.ndtr(side * above) - special.ndtr(side * below)
    return (weights * (side * mass)).sum(axis=0)


# Quantiles -------------------------------------------------------------------------------------


def ppf(q: ArrayLike, weights: Array, means: Array, scales: Array) -> Array:
    """Quantiles: y with P(Y <= y) = q."""
    q = np.asarray(q, np.float64)
    lower = q <= 0.5
    return _quantile(np.where(lower, q, 1 - q), np.where(lower, 1.0, -1.0), weights, means, scales)


def isf(q: ArrayLike, weights: Array, means: Array, scales: Array) -> Array:
    """Upper quantiles: y with P(Y > y) = q; keeps its accuracy where 1 - q rounds to 1."""
    q = np.asarray(q, np.float64)
    upper = q < 0.5
    return _quantile(np.where(upper, q, 1 - q), np.where(upper, -1.0, 1.0), weights, means, scales)


@functools.partial(_pointwise, size=4 * BLOCK)
def _quantile(p: Array, side: Array, weights: Array, means: Array, scales: Array) -> Array:
    n_points = len(p)
    components = without_empty(*(c[:, 0].T for c in (weights, means, scales)))
    columns = (np.tile(c.T, (1, n_points)) for c in components)
    flat = np.where(p > 0, p, 0.25).ravel()
    y = tail_quantile(flat, side.ravel(), *columns).reshape(p.shape)
    return np.where(p > 0, y, -side * np.inf)


# Scores and partial moments --------------------------------------------------------------------


def _excess(u: Array) -> Array:
    """E[max(Z - u, 0)] = phi(u) - u Phi(-u) of a standard normal Z, for u >= 0."""
    u = np.minimum(u, 40)  # where phi is 0 in float64
    mills = np.sqrt(np.pi / 2) * special.erfcx(u / np.sqrt(2))
    return np.exp(-0.5 * u * u) / _SQRT_2PI * (1 - u * mills)


def _partial_moment(distance: Array, scales: Array) -> Array:
    """E[max(Y, 0)] of Y ~ N(distance, scales^2): s (phi(z) + z Phi(z)), z = distance / s."""
    return np.maximum(distance, 0) + scales * _excess(np.abs(distance) / scales)


@_pointwise
def expected_improvement(best: Array, weights: Array, means: Array, scales: Array) -> Array:
    """E[max(Y - best, 0)], in units of y: the gain expected over ``best`` when maximising."""
    return (weights * _partial_moment(means - best, scales)).sum(axis=0)


@_pointwise
def expected_shortage(target: Array, weights: Array, means: Array, scales: Array) -> Array:
    """E[max(target - Y, 0)], in units of y: the lower partial moment of order one."""
    return (weights * _partial_moment(target - means, scales)).sum(axis=0)


def expected_shortfall(level: ArrayLike, weights: Array, means: Array, scales: Array) -> Array:
    """E[Y | Y <= ppf(level)]: the mean of the lower tail of probability ``level``."""
    quantile = ppf(level, weights, means, scales)
    return quantile - expected_shortage(quantile, weights, means, scales) / level


def crps(y: ArrayLike, weights: Array, means: Array, scales: Array) -> Array:
    """Continuous ranked probability score of ``y``, in units of y; smaller is better."""
    return _distance(y, weights, means, scales) - _smoothing(weights, means, scales)


def _blur(distance: Array, scales: Array) -> Array:
    """E|X| - |distance| of X ~ N(distance, scales^2)."""
    u = np.abs(distance)
    u /= scales
    density = u * u
    density *= -0.5
    np.exp(density, out=density)
    density *= 1 / _SQRT_2PI
    u *= special.ndtr(-u)
    density -= u
    density *= scales
    density *= 2
    return density


@_pointwise
def _distance(y: Array, weights: Array, means: Array, scales: Array) -> Array:
    order = means.argsort(axis=0)
    weights, means, scales = (
        np.take_along_axis(c, order, axis=0) for c in (weights, means, scales)
    )
    difference = y - means
    result = (weights * _blur(difference, scales)).sum(axis=0)
    result += np.maximum(-difference[0], 0) + np.maximum(difference[-1], 0)
    below = np.cumsum(weights, axis=0)[:-1]
    above = np.cumsum(weights[::-1], axis=0)[::-1][1:]
    gaps = np.diff(means, axis=0)
    left = np.clip(difference[:-1], 0, gaps)
    return result + (below**2 * left + above**2 * (gaps - left)).sum(axis=0)


@_pointwise
def _smoothing(weights: Array, means: Array, scales: Array) -> Array:
    result = (weights**2 * scales).sum(axis=0) / np.sqrt(np.pi)
    variances = scales**2
    for lag in range(1, len(weights)):
        scale = np.sqrt(variances[lag:] + variances[:-lag])
        blur = _blur(means[lag:] - means[:-lag], scale)
        result += np.einsum("kln,kln,kln->ln", weights[lag:], weights[:-lag], blur)
    return result


# Modes, regions, entropy -----------------------------------------------------------------------


def modes(weights: Array, means: Array, scales: Array) -> tuple[Array, Array, Array]:
    """All local maxima of the density."""
    n, n_components = weights.shape
    locations = np.full((n, n_components), np.nan)
    counts = np.zeros(n, np.intp)
    for rows in blocks(n, n_components):
        components = without_empty(weights[rows], means[rows], scales[rows])
        with np.errstate(all="ignore"):
            mode_rows, found = find_modes(*components)
        count = np.bincount(mode_rows, minlength=len(components[0]))
        first = np.cumsum(count) - count
        locations[rows][mode_rows, np.arange(found.size) - first[mode_rows]] = found
        counts[rows] = count
    log_densities = logpdf(locations.T, weights, means, scales).T
    return locations, log_densities, counts


def mode(weights: Array, means: Array, scales: Array) -> Array:
    """Where the density is highest."""
    locations, log_densities, _ = modes(weights, means, scales)
    best = np.nanargmax(log_densities, axis=1)
    return locations[np.arange(len(best)), best]


def region(
    coverage: ArrayLike, weights: Array, means: Array, scales: Array
) -> tuple[Array, Array, Array]:
    """Highest-density region: the union of intervals where the density is at least a level."""
    n, n_components = weights.shape
    coverage = np.broadcast_to(np.asarray(coverage, np.float64), (n,))
    intervals = np.full((n, n_components, 2), np.nan)
    log_level = np.empty(n)
    for rows in blocks(n, n_components):
        components = without_empty(weights[rows], means[rows], scales[rows])
        with np.errstate(all="ignore"):
            ends, log_level[rows] = find_region(coverage[rows], *components)
        intervals[rows].reshape(len(ends), -1)[:, : ends.shape[1]] = ends
    counts = np.isfinite(intervals[..., 0]).sum(axis=1)
    return intervals, counts, log_level


_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(16)
_LAST_COEFFICIENTS = _NODE_WEIGHTS * np.polynomial.legendre.legvander(_NODES, 15)[:, 12:].T * 14
_REACH = 9.0


def entropy(weights: Array, means: Array, scales: Array, tol: float = 1e-8) -> Array:
    """Differential entropy -E[log p(Y)] in nats, by adaptive Gauss-Legendre quadrature."""
    n, n_components = weights.shape
    result = np.empty(n)
    for rows in blocks(n, n_components * 256):
        components = without_empty(weights[rows], means[rows], scales[rows])
        with np.errstate(all="ignore"):
            result[rows] = _entropy(*components, tol)
    return result


def _entropy(weights: Array, means: Array, scales: Array, tol: float) -> Array:
    n, n_components = weights.shape
    result = np.zeros(n)
    rows = np.arange(n)
    left, right = (means - _REACH * scales).min(axis=1), (means + _REACH * scales).max(axis=1)
    while rows.size:
        columns = [np.ascontiguousarray(c[rows].T) for c in (weights, means, scales)]
        w, m, s = columns
        near = (m - _REACH * s < right) & (m + _REACH * s > left)
        wide = (near & (w > 0) & (right - left > 4 * s)).any(axis=0)
        half = 0.5 * (right - left)
        ready = np.flatnonzero(~wide)
        value, error = _integrate(left[ready], half[ready], *(c[:, ready] for c in columns))
        good = error <= tol / 64
        result += np.bincount(rows[ready[good]], value[good], n)
        again = np.concatenate([np.flatnonzero(wide), ready[~good]])
        rows, left, right, half = rows[again], left[again], right[again], half[again]
        middle = left + half
        rows = np.concatenate([rows, rows])
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
    return result


def _integrate(left: Array, half: Array, *columns: Array) -> tuple[Array, Array]:
    """Integral of -f log f from left to left + 2 half, and a bound on its error."""
    values = np.empty((_NODES.size, left.size))
    for some in blocks(left.size, values.shape[0] * len(columns[0])):
        weights, means, scales = (c[:, None, some] for c in columns)
        # distances from the means first: a narrow component far from 0 loses no digits
        terms = (left[some] - means) + half[some] * (1 + _NODES[:, None])
        terms /= scales
        terms *= terms
        terms *= -0.5
        terms += np.log(weights) - np.log(scales) - _LOG_SQRT_2PI
        values[:, some] = _logsumexp(terms)
    values = np.where(values > -745, -values * np.exp(values), 0)
    error = np.abs(_LAST_COEFFICIENTS @ values).max(axis=0) - 1e-13 * np.abs(values).max(axis=0)
    return half * (_NODE_WEIGHTS @ values), half * error
