"""Values of the targets that many rows share: zeros of what is rare, limits, grades, counts.

There the distribution has atoms, and the best density of one is as narrow as may be. Networks find
that out slowly, as a mean that wavers by more than such a width misses it; and what the other rows
have in common, a curve on which they are about normal say, is easier to see without them. So each
atom has a component that stays where it is, and networks learn its weight alone; or, where it says
nothing about some of several targets, how those are distributed given it.

The other components may then have few rows to learn from, of few values, and become as narrow
themselves: a count that is larger than any before would have no density at all. So one more stays
where it is, so wide that nothing is far from it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .arrays import Array, converted

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
#: Variance of the widest component, in squared units of the standardised targets.
_WIDEST = 9.0
#: Most targets of all atoms that leave some open, of which much is to be learned.
_MOST_OPEN = 64


def find_atoms(y: np.ndarray, weights: np.ndarray, may_be_open: bool = True) -> np.ndarray:
    """Return the values that many of the rows (n, D) share.

    Parameters
    ----------
    y : ndarray of shape (n, D)
        Targets of distinct rows.
    weights : ndarray of shape (n,)
        A row of weight two counts as two.
    may_be_open : bool, default=True
        Whether atoms may be of some of the targets, whatever the others are.

    Returns
    -------
    ndarray of shape (A, D)
        NaN where a target may have any value. Such atoms come first.
    """
    if y.shape[1] == 1 or not may_be_open:
        return _common_values(y, weights)
    values = [_common_values(column[:, None], weights)[:, 0] for column in y.T]
    codes = np.column_stack([_codes(*pair) for pair in zip(y.T, values, strict=True)])
    while codes.any():
        found, common, shares = _common(codes, weights)
        somewhere = found.any(axis=1)
        atoms, covered = found[common & somewhere], shares[common & somewhere].sum()
        is_open = ~atoms.all(axis=1)
        few = len(atoms) <= _MOST_VALUES and is_open.sum() * y.shape[1] <= _MOST_OPEN
        if few and covered >= _SHARE_OF_GRID * shares[somewhere].sum():
            return _decoded(np.concatenate([atoms[is_open], atoms[~is_open]]), values)
        # Too many of them for all to be common: the target with most says nothing from now on.
        codes[:, codes.max(axis=0).argmax()] = 0
    return y[:0]


def _common_values(y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the rows of y (n, D) that make a grid, or stand out, in ascending order."""
    values, common, shares = _common(y, weights)
    if common.sum() <= _MOST_VALUES and shares[common].sum() >= _SHARE_OF_GRID:
        return values[common]
    candidates = np.flatnonzero(common & (shares >= _LEAST_SHARE))
    return values[[k for k in candidates if _stands_out(shares, k)]]


def _common(y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the different rows of y (n, D), which of them are common, and their shares."""
    values, positions, counts = np.unique(y, axis=0, return_inverse=True, return_counts=True)
    shares = np.bincount(positions.ravel(), weights) / weights.sum()
    common = counts >= _LEAST_ROWS
    if len(y) >= _ENOUGH_ROWS:
        common |= shares >= _LARGE_SHARE
    return values, common, shares


def _stands_out(shares: np.ndarray, k: np.intp) -> bool:
    """Tell whether value k is much commoner than the one that a typical row not at it has."""
    others = np.sort(np.delete(shares, k))
    typical = others[np.searchsorted(others.cumsum(), 0.5 * others.sum())]
    return bool(shares[k] >= _TIMES_TYPICAL * typical)


def _codes(y: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return which of the ascending values each y is, counted from one; zero for none."""
    places = np.searchsorted(values, y).clip(max=max(len(values) - 1, 0))
    at = values[places] == y if len(values) else np.zeros(len(y), dtype=bool)
    return np.where(at, places + 1, 0)


def _decoded(codes: np.ndarray, values: list[np.ndarray]) -> np.ndarray:
    """Return the values that codes (A, D) stand for."""
    columns = [np.append(np.nan, some)[code] for code, some in zip(codes.T, values, strict=True)]
    return np.column_stack(columns)


def at_atoms(y: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Tell which of the rows (n, D) are at which of the atoms (A, D): (n, A).

    Of several, a row is at those that say most.
    """
    at = ((y[:, None] == atoms) | np.isnan(atoms)).all(axis=2)
    said = at * (~np.isnan(atoms)).sum(axis=1)
    return at & (said == said.max(axis=1, keepdims=True, initial=0))


def elsewhere(at: np.ndarray) -> np.ndarray:
    """Tell which rows are at none of the atoms, by `at_atoms`; all, if every one is at some."""
    rest = ~at.any(axis=1)
    return np.asarray(rest if rest.any() else ~rest)


@dataclass(frozen=True)
class StillComponents:
    """Components of which the weight alone is learned: at atoms, and a wide one behind them.

    Parameters
    ----------
    means : array of shape (A + 1, D, 1)
    variances : array of shape (A + 1, 1, 1)
        Of every target.
    """

    means: Array
    variances: Array

    @classmethod
    def at(cls, atoms: np.ndarray, variance: float) -> StillComponents:
        """Return those at atoms (A, D) of standardised targets, of such a variance."""
        means = np.concatenate([atoms, np.zeros((1, atoms.shape[1]))])
        variances = np.append(np.full(len(atoms), variance), _WIDEST)
        return cls(means[:, :, None], variances[:, None, None])

    @property
    def atoms(self) -> np.ndarray:
        """The atoms (A, D)."""
        return np.asarray(self.means[:-1, :, 0])

    def like(self, array: Array) -> StillComponents:
        """Return the same to compute with arrays like this."""
        return StillComponents(converted(self.means, array), converted(self.variances, array))


@dataclass(frozen=True)
class Pins:
    """What is not learned of the components at open atoms; others come first, without any.

    Parameters
    ----------
    values : array of shape (K, D, 1)
        Where the targets of each component are pinned; zero where they are free.
    free : array of shape (K, D, 1)
        One where a target is free, zero where it is not.
    coupled : array of shape (K, D (D - 1) / 2, 1)
        The same for the couplings of two.
    """

    values: Array
    free: Array
    coupled: Array

    @classmethod
    def at(cls, atoms: np.ndarray, n_free: int, coupled: bool) -> Pins:
        """Return those of open atoms (A, D), behind so many components without any."""
        n_targets = atoms.shape[1]
        values = np.concatenate([np.full((n_free, n_targets), np.nan), atoms])
        free = np.isnan(values)
        i, j = np.tril_indices(n_targets if coupled else 0, -1)
        masks = free, free[:, i] & free[:, j]
        return cls(np.nan_to_num(values)[..., None], *(mask[..., None] * 1.0 for mask in masks))

    @property
    def atoms(self) -> np.ndarray:
        """The open atoms (A, D)."""
        values = np.where(self.free, np.nan, self.values)[..., 0]
        return values[~np.isnan(values).all(axis=1)]

    def like(self, array: Array) -> Pins:
        """Return the same to compute with arrays like this."""
        return Pins(*(converted(getattr(self, part.name), array) for part in fields(self)))
