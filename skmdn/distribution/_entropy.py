"""Entropy of batches of one-dimensional Gaussian mixtures, by adaptive quadrature.

Everything here runs with NumPy's floating-point warnings off, as in `_modes`.
"""

from __future__ import annotations

import numpy as np

from ._roots import Array, Components, blocks, columns, halves, log_density

N_NODES = 16
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(N_NODES)
# the last four Legendre coefficients of a function, from its values at the nodes
_LAST_COEFFICIENTS = (
    np.polynomial.legendre.legvander(_NODES, N_NODES - 1)
    * _NODE_WEIGHTS[:, None]
    * (np.arange(N_NODES) + 0.5)
).T[-4:]
_HALF_WIDTH = 9.0  # in scales; the tails beyond hold less than 1e-18


def find_entropy(components: Components, tol: float) -> Array:
    """Differential entropy of mixtures without empty components, by halving intervals."""
    _, means, scales = components
    result, rows = np.zeros(len(means)), np.arange(len(means))
    left, right = (
        (means - _HALF_WIDTH * scales).min(axis=1),
        (means + _HALF_WIDTH * scales).max(axis=1),
    )
    while rows.size:
        weights, means, scales = columns(components, rows)
        near = (means - _HALF_WIDTH * scales < right) & (means + _HALF_WIDTH * scales > left)
        open_ = (near & (right - left > 8 * scales)).any(axis=0)
        short = np.flatnonzero(~open_)
        here = (part[:, short] for part in (weights, means, scales))
        value, error = _integrate(left[short], right[short], *here)
        open_[short] = error > tol / 64
        done = short[~open_[short]]
        result += np.bincount(rows[done], value[~open_[short]], result.size)
        rows, left, right = halves(rows[open_], left[open_], right[open_])
    return result


def _integrate(left: Array, right: Array, *components: Array) -> tuple[Array, Array]:
    """Integral of -f log f, and an estimate of its error.

    The rule is exact up to degree 31, so its error is about coefficient 32: were the coefficients
    to fall geometrically, the square of the 16th over the largest value. The power 3/2 leaves
    room for a slower fall; what float64 loses anyway is forgiven.
    """
    half, values = 0.5 * (right - left), np.empty((N_NODES, left.size))
    for some in blocks(left.size, N_NODES * len(components[0])):
        weights, means, scales = (part[:, None, some] for part in components)
        # distances from the means first: a narrow component far from 0 loses no digits
        z = (left[some] - means) + half[some] * (1 + _NODES[:, None])
        z /= scales
        values[:, some] = log_density(z, weights, scales)
    values = np.where(values > -745, -values * np.exp(values), 0)
    largest = np.maximum(np.abs(values).max(axis=0), 1e-300)
    fall = np.abs(_LAST_COEFFICIENTS @ values).max(axis=0) / largest
    return half * (_NODE_WEIGHTS @ values), half * largest * (fall**1.5 - 1e-13)
