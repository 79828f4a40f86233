"""Training data as a weighted set: a row of weight two is the row twice, of weight zero is gone.

What is learned must depend on that set alone, not on how it was written down. So equal rows are
merged, their weights added, and the distinct rows put in an order that depends on nothing but
their own content, and on that only through the order of each column's values: no change of units
changes it. Whatever chance decides later (folds, batches) is decided on that order.

Copies of a row say nothing new, and what holds one out must hold out all. But where X and y have
few values, most equal rows are observations that agree by chance. If all of them were held out at
once, what is left would have gaps: of grades by sex and school, say, none of one grade in one
school. So these stay rows of their own. (Weights are no numbers of observations, as far as one
can know: those of a survey are not.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

#: More rows tell nothing new of ranks, scales, atoms, where to start, or how smooth to be.
MOST_SAMPLED = 2**16
_BLOCK_BYTES = 2**24
#: Least weight of a row that is there: sums of smaller ones, and roots, might be zero in float32.
_LEAST_WEIGHT = 1e-30
_NO_HASH = np.uint64(0)
#: Where equal rows are no copies, this share of all is equal to others (of fewer it makes no
#: difference),
_LEAST_REPEATED = 0.1
#: so many rows have the same y, on average, and so many different ones,
_LEAST_OF_A_VALUE = 5
_LEAST_DIFFERENT = 1.5
#: and pairs of the same X agree in y at most so many times as often as any two rows do.
_MOST_AGREEING = 2.2
#: Nor are they where X tells y, but for this share of the pairs, and each row is there so often.
_LEAST_DISAGREEING = 0.01
_TOO_OFTEN = 10


def blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Cut rows into slices of about 16 MB of float64."""
    size = max(1, _BLOCK_BYTES // (8 * max(n_columns, 1)))
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))


def dense(rows) -> np.ndarray:
    """Return a block of rows, sparse or not, as a float64 array."""
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float64)


def mean_and_unit(columns: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean and standard deviation (F,) of columns (n, F), 1 for a constant.

    Of differences from the first row: those of values that vary little about a large mean are
    exact, while scikit-learn's `StandardScaler` takes such values for constants.
    """
    shares, away = weights / weights.sum(), columns - columns[0]
    mean = shares @ away
    sd = np.sqrt(shares @ (away - mean) ** 2)
    return columns[0] + mean, np.where(sd == 0.0, 1.0, sd)


def effective_number(weights) -> float:
    """Return how many rows of equal weight would tell as much as rows (n,) do (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights @ weights))


def sample_of(n_rows: int) -> slice | np.ndarray:
    """Return which of so many rows, in their canonical order, are a sample: all, if not too many.

    They are evenly spaced, as rows of one group follow one another.
    """
    if n_rows <= MOST_SAMPLED:
        return slice(None)
    return np.linspace(0, n_rows - 1, MOST_SAMPLED).astype(np.intp)


def exponents_of(X: np.ndarray) -> np.ndarray:
    """Return powers of two that take features (n, F) to one at most, (F,).

    Squares do not overflow then, and no digit is lost.
    """
    return np.frexp(np.abs(X).max(axis=0))[1]


class CanonicalRows(NamedTuple):
    """The rows to learn from, of positive weight, in an order of their own.

    Attributes
    ----------
    first : ndarray of shape (m,)
        Where in the data each of them is; the first place, if equal rows were merged.
    weights : ndarray of shape (m,)
        Their weights, of equal rows the sum or an equal share of it, over the mean.
    positions : ndarray of shape (n,)
        Which of them each row of the data is; -1 for rows of weight zero.
    """

    first: np.ndarray
    weights: np.ndarray
    positions: np.ndarray


def canonical_rows(
    X, y: np.ndarray, weights: np.ndarray, groups: np.ndarray | None = None
) -> CanonicalRows:
    """Merge equal rows, unless they agree by chance, and put all in an order of their own.

    Parameters
    ----------
    X : array or CSR matrix of shape (n, F)
    y : ndarray of shape (n, D)
    weights : ndarray of shape (n,)
    groups : ndarray of shape (n,), default=None
        Which rows belong together, and follow one another: what holds out consecutive rows holds
        out whole groups, but for those at its ends. Those of different groups are not merged.
    """
    found = _distinct(X, y, np.flatnonzero(weights > 0), groups)
    # A power of two changes no digit, and no sum of weights overflows.
    weights = np.ldexp(weights, -np.frexp(weights.max())[1])
    # Integer weights add exactly in any order, so a repeated row and a weighted one agree to the
    # bit; for other weights the order of addition is that of the input.
    sums = np.add.reduceat(weights[found.places], found.starts)
    counts = np.diff(found.starts, append=len(found.places))
    of_y = _row_hashes(y, found.places[found.starts])
    by_chance = _agree_by_chance(found.of_X, of_y, found.keys, counts)
    times = counts if by_chance else np.ones_like(counts)

    run, rank = _runs(times)
    keys = np.where(rank > 0, _mixed(found.keys[run] ^ rank.astype(np.uint64)), found.keys[run])
    order = np.lexsort((keys, found.of_groups[run]))
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    positions = np.full(len(weights), -1)
    positions[found.places] = ranks if by_chance else np.repeat(ranks, counts)
    shares = (sums / times)[run]
    shares = np.maximum(shares / shares.mean(), _LEAST_WEIGHT)
    return CanonicalRows(found.places[found.starts[run] + rank][order], shares[order], positions)


class _Distinct(NamedTuple):
    """The data in an order in which equal rows follow one another.

    ``places`` (n,) says where in the data they are, ``starts`` (m,) where there each of the
    distinct rows begins; of these are the hashes of the whole rows, of X, and of the groups (m,).
    """

    places: np.ndarray
    starts: np.ndarray
    keys: np.ndarray
    of_X: np.ndarray
    of_groups: np.ndarray


def _distinct(X, y: np.ndarray, present: np.ndarray, groups: np.ndarray | None) -> _Distinct:
    """Find which of the rows present are equal."""
    of_X = _row_hashes(X, present)
    keys = _row_hashes(y, present, of_X)
    of_groups = np.zeros_like(keys) if groups is None else _column_hashes(groups[present])
    order = np.lexsort((keys, of_groups))  # stable
    index, keys, of_X, of_groups = (part[order] for part in (present, keys, of_X, of_groups))
    is_first = np.ones(len(index), dtype=bool)
    is_equal = (keys[1:] == keys[:-1]) & (of_groups[1:] == of_groups[:-1])
    candidates = np.flatnonzero(is_equal) + 1
    is_first[candidates] = ~_equal_rows(X, y, index[candidates], index[candidates - 1])
    starts = np.flatnonzero(is_first)
    return _Distinct(index, starts, keys[starts], of_X[starts], of_groups[starts])


def _runs(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which run each element of runs of such lengths is of, and which one of it."""
    run = np.repeat(np.arange(len(lengths)), lengths)
    return run, np.arange(len(run)) - (np.cumsum(lengths) - lengths)[run]


def _agree_by_chance(
    of_X: np.ndarray, of_y: np.ndarray, of_both: np.ndarray, counts: np.ndarray
) -> bool:
    """Tell whether equal rows, so many each, are observations that agree, not copies of one.

    Of copies, pairs of the same X agree in y far more often than by chance. Rows are known by the
    hashes (m,) of their X, y, and both.
    """
    n_rows, n_values = counts.sum(), len(np.unique(of_y))
    has_few_values = n_rows >= _LEAST_OF_A_VALUE * n_values
    are_few = len(counts) < _LEAST_DIFFERENT * n_values
    if not has_few_values or are_few or counts[counts > 1].sum() < _LEAST_REPEATED * n_rows:
        return False
    same_X, same_y, same = (_n_pairs(hashes, counts) for hashes in (of_X, of_y, of_both))
    if same >= (1.0 - _LEAST_DISAGREEING) * same_X:
        return bool(n_rows >= _TOO_OFTEN * len(counts))
    return bool(same <= _MOST_AGREEING * same_X * same_y / (n_rows * (n_rows - 1.0)))


def _n_pairs(values: np.ndarray, counts: np.ndarray) -> float:
    """Return how many ordered pairs have the same value, of so many at each place."""
    sizes = np.bincount(np.unique(values, return_inverse=True)[1], counts)
    return float((sizes * (sizes - 1.0)).sum())


def _equal_rows(X, y: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Tell which pairs of rows are equal (of unequal rows with one hash there may be some)."""
    equal = (y[left] == y[right]).all(axis=1)
    for block in blocks(len(left), X.shape[1]):
        equal[block] &= (dense(X[left[block]]) == dense(X[right[block]])).all(axis=1)
    return equal


def _row_hashes(table, present: np.ndarray, before: np.ndarray | np.uint64 = _NO_HASH):
    """Return 64-bit hashes of the rows present, made from the ranks of their values."""
    hashes = before + np.zeros(len(present), dtype=np.uint64)
    table = table.tocsc() if hasattr(table, "tocsc") else table
    for j in range(table.shape[1]):
        hashes = _column_hashes(dense(table[:, [j]])[present, 0], hashes)
    return hashes


def _column_hashes(column: np.ndarray, before: np.ndarray | np.uint64 = _NO_HASH) -> np.ndarray:
    """Return 64-bit hashes (n,) of values' ranks, and of what was hashed before."""
    ranks = np.unique(column, return_inverse=True)[1]
    return _mixed(before ^ ranks.astype(np.uint64))


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Spread 64-bit keys (the finaliser of splitmix64, Steele, Lea & Flood 2014)."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
