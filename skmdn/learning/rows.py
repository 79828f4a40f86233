"""Training data as a weighted set: a row of weight two is the row twice, of weight zero is gone.

What is learned must depend on that set alone, not on how it was written down. So equal rows are
merged, their weights added, and the distinct rows put in an order that depends on nothing but
their own content, and on that only through the order of each column's values: no change of units
changes it. Whatever chance decides later (folds, batches) is decided on that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_BLOCK_BYTES = 2**24
#: Least weight of a row that is there: sums of smaller ones, and roots, might be zero in float32.
_LEAST_WEIGHT = 1e-30
_NO_HASH = np.uint64(0)


def blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Cut rows into slices of about 16 MB of float64."""
    size = max(1, _BLOCK_BYTES // (8 * max(n_columns, 1)))
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))


def dense(rows) -> np.ndarray:
    """Return a block of rows, sparse or not, as a float64 array."""
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float64)


def effective_number(weights) -> float:
    """Return how many rows of equal weight would tell as much as rows (n,) do (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights @ weights))


def sample_of(n_rows: int, most: int) -> slice | np.ndarray:
    """Return which of so many rows, in their canonical order, are a sample: all, if not too many.

    They are evenly spaced, as rows of one group follow one another.
    """
    return slice(None) if n_rows <= most else np.linspace(0, n_rows - 1, most).astype(np.intp)


def exponents_of(X: np.ndarray) -> np.ndarray:
    """Return powers of two that take features (n, F) to one at most, (F,).

    Squares do not overflow then, and no digit is lost.
    """
    return np.frexp(np.abs(X).max(axis=0))[1]


class CanonicalRows(NamedTuple):
    """The distinct rows of positive weight, in an order of their own.

    Attributes
    ----------
    first : ndarray of shape (m,)
        Where in the data the distinct rows are.
    weights : ndarray of shape (m,)
        The sum of the weights of all rows equal to each of them, over the mean of these sums.
    positions : ndarray of shape (n,)
        Which of the distinct rows each row of the data is; -1 for rows of weight zero.
    """

    first: np.ndarray
    weights: np.ndarray
    positions: np.ndarray


def canonical_rows(
    X, y: np.ndarray, weights: np.ndarray, groups: np.ndarray | None = None
) -> CanonicalRows:
    """Merge equal rows and put the distinct ones in an order of their own.

    Parameters
    ----------
    X : array or CSR matrix of shape (n, F)
    y : ndarray of shape (n, D)
    weights : ndarray of shape (n,)
    groups : ndarray of shape (n,), default=None
        Which rows belong together, and follow one another: what holds out consecutive rows holds
        out whole groups, but for those at its ends. Those of different groups are not merged.
    """
    present = np.flatnonzero(weights > 0)
    # A power of two changes no digit, and no sum of weights overflows.
    weights = np.ldexp(weights, -np.frexp(weights.max())[1])
    keys = _row_hashes(X, y, present)
    of_groups = np.zeros_like(keys) if groups is None else _column_hashes(groups[present])
    order = np.lexsort((keys, of_groups))  # stable
    index, keys, of_groups = present[order], keys[order], of_groups[order]
    first = np.ones(len(index), dtype=bool)
    is_equal = (keys[1:] == keys[:-1]) & (of_groups[1:] == of_groups[:-1])
    candidates = np.flatnonzero(is_equal) + 1
    first[candidates] = ~_equal_rows(X, y, index[candidates], index[candidates - 1])
    # Integer weights add exactly in any order, so a repeated row and a weighted one agree to the
    # bit; for other weights the order of addition is that of the input.
    starts = np.flatnonzero(first)
    positions = np.full(len(weights), -1)
    positions[index] = np.cumsum(first) - 1
    sums = np.add.reduceat(weights[index], starts)
    return CanonicalRows(index[starts], np.maximum(sums / sums.mean(), _LEAST_WEIGHT), positions)


def _equal_rows(X, y: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Tell which pairs of rows are equal (of unequal rows with one hash there may be some)."""
    equal = (y[left] == y[right]).all(axis=1)
    for block in blocks(len(left), X.shape[1]):
        equal[block] &= (dense(X[left[block]]) == dense(X[right[block]])).all(axis=1)
    return equal


def _row_hashes(X, y: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash for each row present, made from the ranks of its values."""
    hashes = np.zeros(len(present), dtype=np.uint64)
    for table in (X.tocsc() if hasattr(X, "tocsc") else X, y):
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
