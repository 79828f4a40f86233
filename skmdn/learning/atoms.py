"""Values of the targets that many rows share: zeros of what is rare, limits, grades, counts.

There the distribution has atoms, and the best density of one is as narrow as may be. Networks find
that out slowly, as a mean that wavers by more than such a width misses it; and what the other rows
have in common, a curve on which they are about normal say, is easier to see without them. So each
atom has a component that stays where it is, and networks learn its weight alone.
"""

from __future__ import annotations

import numpy as np

#: Fewest distinct rows that share an atom.
_LEAST_ROWS = 10
#: So many values at most that so many of the rows have are a grid: all of them are atoms.
_MOST_VALUES, _SHARE_OF_GRID = 100, 0.9
#: Else a value is one that is so many times as common as that of a typical row, within bounds on
#: its share. Of a grid too fine, some values alone would do harm: the others had to be peaks.
_TIMES_TYPICAL, _BOUNDS = 5.0, (0.02, 0.1)


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
    if common.sum() <= _MOST_VALUES and shares[common].sum() >= _SHARE_OF_GRID:
        return values[common]
    ascending = np.sort(shares)
    typical = ascending[np.searchsorted(ascending.cumsum(), 0.5)]
    return values[common & (shares >= np.clip(_TIMES_TYPICAL * typical, *_BOUNDS))]


def at_atoms(y: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Tell which of the rows (n, D) are at which of the atoms (A, D): (n, A)."""
    return (y[:, None] == atoms).all(axis=2)


def elsewhere(at: np.ndarray) -> np.ndarray:
    """Tell which rows are at none of the atoms, by `at_atoms`; all, if every one is at some."""
    rest = ~at.any(axis=1)
    return np.asarray(rest if rest.any() else ~rest)
