"""Blocks of rows, log-densities, bracketed roots and quantiles: the machinery of ``univariate``.

Inside a block the components come first, as contiguous ``(K, N)`` arrays: sums over components are
then sums of long vectors, and every array of a block stays in a core's cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from skmdn.distribution.scale import Array

Rows = NDArray[np.intp]
Components = tuple[Array, Array, Array]  # weights, means, scales

SQRT_2PI = float(np.sqrt(2 * np.pi))
LOG_SQRT_2PI = float(np.log(SQRT_2PI))
BLOCK = 1 << 15  # float64 elements of one array of a block: 256 KiB, a few of them fit an L2 cache


def blocks(n: int, width: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices of ``range(n)`` whose arrays of ``width`` elements a row hold about ``size``."""
    size = max(1, size // max(width, 1))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def columns(components: Components, rows: Rows | slice) -> Components:
    """Components of the given rows, one column a row: ``(K, len(rows))``."""
    weights, means, scales = (np.ascontiguousarray(part[rows].T) for part in components)
    return weights, means, scales


def without_empty(weights: Array, means: Array, scales: Array) -> Components:
    """Move components of weight 0 onto their row's heaviest one, where they change nothing."""
    empty = weights <= 0
    if not empty.any():
        return weights, means, scales
    heaviest = weights.argmax(axis=1)[:, None]
    means = np.where(empty, np.take_along_axis(means, heaviest, axis=1), means)
    return weights, means, np.where(empty, np.take_along_axis(scales, heaviest, axis=1), scales)


def log_density(z: Array, weights: Array, scales: Array) -> Array:
    """Log-density at standardised distances ``z``, which are overwritten."""
    z *= z
    z *= -0.5
    z += np.log(weights) - np.log(scales) - LOG_SQRT_2PI
    return logsumexp(z)


def logsumexp(terms: Array) -> Array:
    """log sum exp over the first axis; overwrites ``terms``."""
    top = np.maximum(terms.max(axis=0), -1e308)
    terms -= top
    np.exp(terms, out=terms)
    return np.log(terms.sum(axis=0)) + top


def halves(rows: Rows, left: Array, right: Array) -> tuple[Rows, Array, Array]:
    """Halve intervals."""
    middle = left + 0.5 * (right - left)
    left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
    return np.concatenate([rows, rows]), left, right


def find_root(
    newton_step: Callable[..., tuple[NDArray[Any], NDArray[np.bool_]]],
    start: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    *arguments: NDArray[Any],
    max_iterations: int = 300,
) -> NDArray[Any]:
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

_LARGEST_EXPONENT = 900  # of means in these units: float64 ends at 1024
_RANGE = 250  # of the scales' exponents: fourth powers of rates are derivatives' factors
_FAR = 12.0  # beyond 12 scales a component weighs less than 1e-16 of any tail above 1e-16


def tail_quantile(p: Array, side: Array, weights: Array, means: Array, scales: Array) -> Array:
    """y with P(Y <= y) = p where side is 1, P(Y >= y) = p where side is -1; p at most about 1/2.

    ``p`` and ``side`` are ``(L, B)``, components ``(K, B)``. All roots are found together, as
    x = side * y, so that the probability of the tail always grows with x; and in units of the
    widest component, in which derivatives of a tiny density are no smaller than it is.
    """
    exponents = np.minimum(_exponents(scales.max(axis=0)), _exponents(scales.min(axis=0)) + _RANGE)
    farthest = _exponents(np.abs(means).max(axis=0))
    exponents = np.maximum(exponents, farthest - _LARGEST_EXPONENT)
    means, scales = np.ldexp(means, -exponents), np.ldexp(scales, -exponents)
    score = special.ndtri(p).ravel()
    tails = side.ravel(), np.broadcast_to(np.arange(p.shape[1]), p.shape).ravel()
    components = weights, means, 1 / scales
    low, high = _by_blocks(_bracket, 2, components, score, *tails)
    start = _coarse_quantile(score, low, high, *tails, components)
    slack = 4e-16 * (np.abs(low) + np.abs(high))
    step = functools.partial(_quantile_step, components)
    x = find_root(step, start, low - slack, high + slack, p.ravel(), score, *tails)
    return side * np.ldexp(x.reshape(p.shape), exponents)


def _exponents(values: Array) -> NDArray[np.intc]:
    """The powers of two above values."""
    return np.asarray(np.frexp(values)[1])


def _by_blocks(
    sums: Callable[..., None],
    n_sums: int,
    components: Sequence[NDArray[Any]],
    x: NDArray[Any],
    side: NDArray[Any],
    column: Rows,
) -> NDArray[Any]:
    """``n_sums`` sums over the components of ``column`` at each x, a cached block at a time.

    Means change their sign with ``side``.
    """
    result = np.empty((n_sums, x.size), x.dtype)
    for some in blocks(x.size, len(components[0])):
        here = column[some]
        if (np.diff(here) == 1).all():
            weights, means, rates = (part[:, here[0] : here[-1] + 1] for part in components)
        else:
            weights, means, rates = (part.take(here, axis=1) for part in components)
        sums(result[:, some], x[some], weights, means * side[some], rates)
    return result


def _bracket(result: Array, score: Array, weights: Array, means: Array, rates: Array) -> None:
    """Least and greatest of the components' own quantiles, which the mixture's lies between."""
    means += score / rates
    means.min(axis=0, out=result[0])
    means.max(axis=0, out=result[1])


def _quantile_step(
    components: Components, x: Array, p: Array, score: Array, *tails: Any
) -> tuple[Array, NDArray[np.bool_]]:
    """One step from x towards F(x) = p, by Taylor's polynomial of F where x is near enough.

    Farther away: Newton on the normal score, ndtri(F(x)) = ndtri(p), which is linear in x for one
    component and nearly so in a tail. The polynomial is trusted within a tenth of the scale of
    every component that is not `_FAR` away.
    """
    cdf, trusted, *coefficients = _by_blocks(_expand, 6, components, x, *tails)
    missing = p - cdf
    _, step = _score_step(score, cdf, coefficients[0])
    near = np.abs(step) <= trusted
    local = np.where(near, step, 0)
    for _ in range(3):
        value, slope = _horner(coefficients, local)
        local = local + (missing - value) / slope
    cube = local * local * local
    near &= np.abs(coefficients[2] * cube) < 1e-8 * p
    near &= np.abs(coefficients[3] * cube * local) < 1e-12 * p
    at_root = np.abs(missing) <= 4e-16 * p
    step = np.where(near, local, step)
    step[at_root] = 0
    return step, near | at_root


def _score_step(
    score: NDArray[Any], cdf: NDArray[Any], density: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What ndtri(F(x)) lacks of ``score``, and Newton's step towards it, of the same sign."""
    reached = special.ndtri(np.minimum(cdf, 1))
    missing = score - reached
    step = missing * np.exp(-0.5 * reached * reached) / (density * SQRT_2PI)
    return missing, np.where(step * missing >= 0, step, np.copysign(np.inf, missing))


def _expand(result: Array, x: Array, weights: Array, means: Array, rates: Array) -> None:
    """F(x), how far Taylor's polynomial is trusted, and its coefficients F'(x) ... F''''(x) / 4!.

    The derivatives are sums of Hermite polynomials of z times the components' densities.
    """
    z = x - means
    z *= rates
    work = special.ndtr(z)
    np.einsum("kn,kn->n", weights, work, out=result[0])
    np.abs(z, out=work)
    work -= _FAR
    np.maximum(work, 0.1, out=work)
    work /= rates
    work.min(axis=0, out=result[1])
    square = np.multiply(z, z, out=work)
    density = square * -0.5
    np.exp(density, out=density)
    density *= 1 / SQRT_2PI
    density *= weights
    density *= rates
    density.sum(axis=0, out=result[2])
    density *= rates
    np.einsum("kn,kn->n", z, density, out=result[3])
    density *= rates
    square -= 1
    np.einsum("kn,kn->n", square, density, out=result[4])
    density *= rates
    square -= 2
    square *= z
    np.einsum("kn,kn->n", square, density, out=result[5])
    result[3:] *= np.array([-1 / 2, 1 / 6, -1 / 24])[:, None]


def _horner(coefficients: list[Array], x: Array) -> tuple[Array, Array]:
    """Value and slope at x of the polynomial c0 x + c1 x^2 + c2 x^3 + ..."""
    value, slope = np.zeros_like(x), np.zeros_like(x)
    for order in range(len(coefficients), 0, -1):
        value = (value + coefficients[order - 1]) * x
        slope = slope * x + order * coefficients[order - 1]
    return value, slope


def _coarse_quantile(
    score: Array, low: Array, high: Array, side: Array, column: Rows, components: Components
) -> Array:
    """A quantile to about three digits, in single precision around the mixture's mean."""
    weights, means, rates = components
    center = np.einsum("kn,kn->n", weights, means)
    distances = means - center
    spread = np.einsum("kn,kn->n", weights, np.abs(distances) + 1 / rates)
    standard = (weights, distances / spread, rates * spread)
    step = functools.partial(_coarse_step, [part.astype(np.float32) for part in standard])
    center, spread = side * center[column], spread[column]
    bracket = ((low - center) / spread, (high - center) / spread)
    arguments = (part.astype(np.float32) for part in (score, *bracket, score, side))
    x = find_root(step, *arguments, column, max_iterations=12)
    start = np.clip(center + spread * x, low, high)
    return np.where(np.isnan(start), low + 0.5 * (high - low), start)  # beyond single precision


def _coarse_step(
    components: list[NDArray[np.float32]], x: NDArray[Any], score: NDArray[Any], *tails: Any
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Newton's step on the normal score; converged when it is short, for it is squared next."""
    cdf, density = _by_blocks(_coarse_sums, 2, components, x, *tails)
    missing, step = _score_step(score, cdf, density)
    return step, np.abs(missing) < 0.02


def _coarse_sums(result: Array, x: Array, weights: Array, means: Array, rates: Array) -> None:
    """F(x) and F'(x), with Mills' ratio (1 - Phi) / phi as a rational function.

    Its coefficients are a minimax fit on [0, 38], within 1.5e-4 of either tail.
    """
    z = x - means
    z *= rates
    density = z * z
    density *= -0.5
    np.exp(density, out=density)
    density *= 1 / SQRT_2PI
    u = np.abs(z)
    top = u * 0.19376236
    bottom = top + 0.77628859
    top += 0.7750638
    top *= u
    top += 1.25349927
    bottom *= u
    bottom += 1.41905592
    bottom *= u
    bottom += 1
    top /= bottom
    top *= density
    np.copysign(top, z, out=top)
    np.subtract(z > 0, top, out=top)
    np.einsum("kn,kn->n", weights, top, out=result[0])
    density *= rates
    np.einsum("kn,kn->n", weights, density, out=result[1])
