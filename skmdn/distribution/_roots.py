"""Blocks of rows, bracketed roots and quantiles: the machinery under ``univariate``.

Inside a block the components come first, as contiguous ``(K, N)`` arrays: sums over components are
then sums of long vectors, and every array of a block stays in a core's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
Components = tuple[Array, Array, Array]

BLOCK = 1 << 15  # float64 elements of one array of a block: 256 KiB, a few of them fit an L2 cache


def blocks(n: int, width: int) -> Iterator[slice]:
    """Slices of ``range(n)`` whose arrays of ``width`` elements a row hold about `BLOCK`."""
    size = max(1, BLOCK // max(width, 1))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def without_empty(weights: Array, means: Array, scales: Array) -> Components:
    """Move components of weight 0 onto the heaviest one of their row, where they change nothing."""
    empty = weights <= 0
    if not empty.any():
        return weights, means, scales
    heaviest = weights.argmax(axis=1)[:, None]
    return (
        weights,
        np.where(empty, np.take_along_axis(means, heaviest, axis=1), means),
        np.where(empty, np.take_along_axis(scales, heaviest, axis=1), scales),
    )


def find_root(
    newton_step: Callable[..., tuple[Array, NDArray[np.bool_]]],
    start: Array,
    low: Array,
    high: Array,
    *arguments: Array,
    max_iterations: int = 300,
) -> Array:
    """Roots of many functions at once: Newton-like steps, kept inside a shrinking bracket.

    ``newton_step(x, *arguments)`` returns a step whose sign says on which side of ``x`` the root
    lies (it may be infinite) and whether the root is ``x + step`` to working precision. A step
    that leaves the bracket becomes a bisection; so does every third step after the sixth, which
    bounds the work whatever the function. Solved elements leave the work at once; the last axis
    of every array in ``arguments`` runs over elements.
    """
    x, root, todo = start, start.copy(), np.arange(start.size)
    for iteration in range(max_iterations):
        step, converged = newton_step(x, *arguments)
        low, high = np.where(step >= 0, x, low), np.where(step <= 0, x, high)
        guess = x + step
        inside = (low < guess) & (guess < high)
        if iteration % 3 == 2 and iteration > 5:
            inside[:] = False
        middle = low + 0.5 * (high - low)
        x = np.where(converged, np.clip(guess, low, high), np.where(inside, guess, middle))
        root[todo] = x
        left = np.flatnonzero(~(converged | (middle <= low) | (middle >= high)))
        if left.size == 0:
            break
        if left.size < todo.size:
            todo, x, low, high = todo[left], x[left], low[left], high[left]
            arguments = tuple(argument[..., left] for argument in arguments)
    return root


# Quantiles -------------------------------------------------------------------------------------

_SQRT_2PI = np.sqrt(2 * np.pi)
_FAR = 12.0  # beyond 12 scales a component weighs less than 1e-16 of any tail above 1e-16


def tail_quantile(p: Array, side: Array, weights: Array, means: Array, scales: Array) -> Array:
    """y with P(Y <= y) = p where side is 1, P(Y >= y) = p where side is -1; p at most about 1/2.

    All arrays hold one element a column: ``p`` and ``side`` are ``(N,)``, components ``(K, N)``.
    """
    means = means * side
    score = special.ndtri(p)
    quantiles = means + scales * score
    low, high = quantiles.min(axis=0), quantiles.max(axis=0)
    rates = 1 / scales
    start = np.clip(_coarse_quantile(score, low, high, weights, means, scales), low, high)
    slack = 4e-16 * (np.abs(low) + np.abs(high))
    y = find_root(
        _quantile_step, start, low - slack, high + slack, p, score, weights, means, rates
    )
    return side * y


def _quantile_step(
    x: Array, p: Array, score: Array, weights: Array, means: Array, rates: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """One step from x towards F(x) = p, by Taylor's polynomial of F where x is near enough.

    Farther away: Newton on the normal score, ndtri(F(x)) = ndtri(p), which is linear in x for one
    component and nearly so in a tail. The polynomial is trusted within a tenth of the scale of
    every component that is not `_FAR` away.
    """
    z = (x - means) * rates
    cdf = np.einsum("kn,kn->n", weights, special.ndtr(z))
    radius = np.abs(z)
    np.maximum(radius - _FAR, 0.1, out=radius)
    radius /= rates
    trusted = radius.min(axis=0)
    coefficients = _taylor(z, weights, rates)
    missing = p - cdf
    reached = special.ndtri(np.minimum(cdf, 1))
    with np.errstate(all="ignore"):
        step = (score - reached) * np.exp(-0.5 * reached**2) / (_SQRT_2PI * coefficients[0])
    step = np.where(
        np.isnan(step) | (np.sign(step) != np.sign(missing)), np.copysign(np.inf, missing), step
    )
    near = np.abs(step) <= trusted
    local = np.where(near, step, 0)
    for _ in range(3):
        value, slope = _horner(coefficients, local)
        local = local + (missing - value) / slope
    third, fourth = (np.abs(coefficients[j - 1] * local**j) for j in (3, 4))
    near &= (third < 1e-8 * p) & (fourth < 1e-12 * p)
    at_root = np.abs(missing) <= 4e-16 * p
    local[at_root] = 0
    near |= at_root
    return np.where(near, local, step), near


def _taylor(z: Array, weights: Array, rates: Array) -> list[Array]:
    """F'(x), F''(x)/2!, F'''(x)/3!, F''''(x)/4! of the mixture: sums of Hermite polynomials."""
    square = z * z
    density = np.exp(-0.5 * square)
    density *= weights
    density *= rates
    density *= 1 / _SQRT_2PI
    total = [density.sum(axis=0)]
    density *= rates
    total.append(-0.5 * np.einsum("kn,kn->n", z, density))
    density *= rates
    square -= 1
    total.append(np.einsum("kn,kn->n", square, density) / 6)
    density *= rates
    square -= 2
    square *= z
    total.append(-np.einsum("kn,kn->n", square, density) / 24)
    return total


def _horner(coefficients: list[Array], x: Array) -> tuple[Array, Array]:
    """Value and slope at x of the polynomial c0 x + c1 x^2 + c2 x^3 + ..."""
    value, slope = np.zeros_like(x), np.zeros_like(x)
    for order in range(len(coefficients), 0, -1):
        value = (value + coefficients[order - 1]) * x
        slope = slope * x + order * coefficients[order - 1]
    return value, slope


def _coarse_quantile(
    score: Array, low: Array, high: Array, weights: Array, means: Array, scales: Array
) -> Array:
    """A quantile to about three digits, in single precision around the mixture's mean."""
    center = np.einsum("kn,kn->n", weights, means)
    spread = np.sqrt(np.einsum("kn,kn->n", weights, scales**2 + (means - center) ** 2))
    single = np.float32
    w = weights.astype(single)
    m = ((means - center) / spread).astype(single)
    r = (spread / scales).astype(single)
    wr = w * r * single(1 / _SQRT_2PI)
    lo, hi = ((low - center) / spread).astype(single), ((high - center) / spread).astype(single)
    target = score.astype(single)
    x = np.clip(target, lo, hi)
    for _ in range(12):
        z = x - m
        z *= r
        cdf, density = _coarse_cdf(z, w, wr)
        reached = special.ndtri(cdf)
        step = (
            (target - reached) * np.exp(-0.5 * reached * reached) / (density * single(_SQRT_2PI))
        )
        up = reached < target
        lo, hi = np.where(up, x, lo), np.where(up, hi, x)
        guess = x + step
        x = np.where((lo < guess) & (guess < hi), guess, (lo + hi) / 2)
        if (np.abs(step) * density < 0.02).mean() > 0.9:
            break
    return center + spread * x


def _coarse_cdf(z, w, wr):
    """Mixture cdf and density with Mills' ratio as a rational function, to 1.5e-4 of either tail."""
    density = z * z
    density *= -0.5
    np.exp(density, out=density)
    u = np.abs(z)
    top = u * 0.19376236
    top += 0.7750638
    bottom = top - 0.7750638 + 0.77628859
    top *= u
    top += 1.25349927
    bottom *= u
    bottom += 1.41905592
    bottom *= u
    bottom += 1
    top /= bottom
    top *= density
    top *= np.float32(1 / _SQRT_2PI)
    np.copysign(top, z, out=top)
    cdf = (z > 0) - top
    return np.einsum("kn,kn->n", w, cdf), np.einsum("kn,kn->n", wr, density)
