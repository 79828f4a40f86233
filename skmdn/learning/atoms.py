"""Values of the targets that many rows share: zeros of what is rare, limits, grades, counts.

There the distribution has atoms, and the best density of one is as narrow as may be. Networks find
that out slowly, as a mean that wavers by more than such a width misses it; and what the other rows
have in common, a curve on which they are about normal say, is easier to see without them. So each
atom has a component that stays where it is, and networks learn its weight alone.
"""

from __future__ import annotations

import numpy as np

#: Distinct rows that have to share a value, or a share of all rows where so many are distinct:
#: with few different X, a value can be common and yet be on few distinct rows.
_LEAST_ROWS, _LARGE_SHARE, _ENOUGH_ROWS = 10, 0.25, 40
#: Where such values are no more than this, and this share of the rows has one of them, y lies on a
#: grid, and all of them are atoms.
_MOST_VALUES, _SHARE_OF_GRID = 100, 0.9
#: Else those are atoms that have this share of the rows, and so many times that of the value which
#: a typical other row has. Single values of a fine grid would do harm: the components of the rest
#: would become peaks at the other ones.
_LEAST_SHARE, _TIMES_TYPICAL = 0.02, 5.0


def find_atoms(y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the values (A, D) that many of the rows (n, D) share, in ascending order.

    Parameters
    ----------
    y : ndarray of shape (n, D)
        Targets of distinct rows.
    weights : ndarray of shape (n,)
        A row of weight two counts as two.
    """
    values, positions, counts = np.unique(y, axis=0, return_inverse=True, return_counts=True)
    shares = np.bincount(positions.ravel(), weights) / weights.sum()
    common = counts >= _LEAST_ROWS
    if len(y) >= _ENOUGH_ROWS:
        common |= shares >= _LARGE_SHARE
    if common.sum() <= _MOST_VALUES and shares[common].sum() >= _SHARE_OF_GRID:
        return values[common]
    candidates = np.flatnonzero(common & (shares >= _LEAST_SHARE))
    return values[[k for k in candidates if _stands_out(shares, k)]]


def _stands_out(shares: np.ndarray, k: np.intp) -> bool:
    """Tell whether value k is much commoner than the one that a typical row not at it has."""
    others = np.sort(np.delete(shares, k))
    typical = others[np.searchsorted(others.cumsum(), 0.5 * others.sum())]
    return bool(shares[k] >= _TIMES_TYPICAL * typical)


def at_atoms(y: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Tell which of the rows (n, D) are at which of the atoms (A, D): (n, A)."""
    return (y[:, None] == atoms).all(axis=2)


def elsewhere(at: np.ndarray) -> np.ndarray:
    """Tell which rows are at none of the atoms, by `at_atoms`; all, if every one is at some."""
    rest = ~at.any(axis=1)
    return np.asarray(rest if rest.any() else ~rest)
