"""Values of the targets that many rows share: zeros of what is rare, limits, grades, counts.

There the distribution has atoms, and the best density of one is as narrow as may be. Networks find
that out slowly, as a mean that wavers by more than such a width misses it; and what the other rows
have in common, a curve on which they are about normal say, is easier to see without them. So each
atom has a component that stays where it is, and networks learn its weight alone; or, where it says
nothing about some of several targets, how those are distributed given it. The weights of more than
a few of one target are learned together (see `skmdn.learning.grades`).

The other components may then have few rows to learn from, of few values, and become as narrow
themselves: a count that is larger than any before would have no density at all. So one more stays
where it is, as wide as may be needed. It is there as well where a target is an outlier: to
networks that hold that row out, its density is nothing but what wide components give it, and a
single one would have them keep all of theirs wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .arrays import Array, ArrayParts, namespace
from .lattices import lattice_points
from .rows import effective_number

#: Canonical rows that a common value has at least; or
_LEAST_ROWS = 10
#: the share of all rows, as with few different X a common value may be on few distinct rows,
_LARGE_SHARE = 0.25
#: and the distinct rows of which that is a share.
_ENOUGH_ROWS = 40
#: Most common values of a grid, all of which are atoms.
_MOST_VALUES = 100
#: Share of the rows that are at common values, if y is on a grid.
_SHARE_OF_GRID = 0.9
#: The same if its values are on a lattice, which a few rows more or less must not decide: it may
#: be three nats.
_SHARE_OF_LATTICE = 0.75
#: Rows for each feature with which a lattice is one whatever their share, if its values have
#: `_LEAST_ROWS` on average. Of fewer, a line may say most, and it leaves no atoms.
_ROWS_A_FEATURE = 20
#: Share of the rows that are at the values of a grid, if a target (of several) has hardly others.
_SHARE_OF_ALL = 0.99
#: Rows of a value that is an atom of a grid though it is not common: what is rare among grades is
#: a grade.
_FEWEST_ROWS = 2
#: Share of the rows of a value that stands out from a continuum, at least.
_LEAST_SHARE = 0.02
#: How many times as common it is as the value of a typical other row. Single values of a fine
#: grid would do harm: the components of the rest would become peaks at the other ones.
_TIMES_TYPICAL = 5.0
#: Share of values that may be most of the others, as two limits are: the typical row is then one
#: that is away from these.
_LIMIT_SHARE = 0.1
#: Most share of what such a row has, if it is not alone there: the rest is a continuum.
_CONTINUOUS_SHARE = 2e-3
#: Most targets, in all, of atoms that leave some open: much is to be learned of these. Of more
#: atoms, those of most rows are taken.
_MOST_OPEN = 64
#: Atoms with open targets that there may be, however many targets there are.
_FEWEST_OPEN = 4


def find_atoms(
    y: np.ndarray, weights: np.ndarray, may_be_open: bool = True, n_features: int = 0
) -> np.ndarray:
    """Return the values that many of the rows (n, D) share.

    Parameters
    ----------
    y : ndarray of shape (n, D)
        Targets of distinct rows.
    weights : ndarray of shape (n,)
        A row of weight two counts as two.
    may_be_open : bool, default=True
        Whether atoms may be of some of the targets, whatever the others are.
    n_features : int, default=0
        How many there are to learn from.

    Returns
    -------
    ndarray of shape (A, D)
        NaN where a target may have any value. Such atoms come first.
    """
    found = _common(y, weights)
    if y.shape[1] == 1:
        points = _lattice(found, weights, n_features)
        if len(points):
            return points[:, None]
    if _make_a_grid(found):
        return _standing_out(_with_rare(found, y, weights))
    if y.shape[1] == 1 or not may_be_open:
        return _standing_out(found)
    return _partly_open(y, weights)


def find_grids(y: np.ndarray, weights: np.ndarray, n_features: int = 0) -> list[np.ndarray]:
    """Return the ascending values of each target of rows (n, D) that has hardly any others.

    For each of the others, none. Parameters are those of `find_atoms`.
    """
    return [_grid(column[:, None], weights, n_features) for column in y.T]


def _grid(y: np.ndarray, weights: np.ndarray, n_features: int) -> np.ndarray:
    """Return the values (A,) that a target of rows (n, 1) has, if these are a grid."""
    found = _common(y, weights)
    points = _lattice(found, weights, n_features)
    if len(points) == 0 and _make_a_grid(found):
        with_rare = _with_rare(found, y, weights)
        if _share_of_common(with_rare) >= _SHARE_OF_ALL:
            points = with_rare.rows[with_rare.common, 0]
    return points if len(points) > 1 else points[:0]


def _lattice(found: _Values, weights: np.ndarray, n_features: int) -> np.ndarray:
    """Return the points of the lattice that values of one target are on, if many rows are."""
    enough = max(_LEAST_ROWS * len(found.rows), _ROWS_A_FEATURE * n_features)
    if len(weights) < enough and _share_of_common(found) < _SHARE_OF_LATTICE:
        return found.rows[:0, 0]
    return lattice_points(found.rows[:, 0], found.shares * effective_number(weights))


def _with_rare(found: _Values, y: np.ndarray, weights: np.ndarray) -> _Values:
    """Return values of a grid with those that are rare among them."""
    with_rare = _common(y, weights, _FEWEST_ROWS)
    return with_rare if _make_a_grid(with_rare) else found


def atoms_beside(others: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the atoms (A, D) of targets beside ``others`` (D,), which they leave open (NaN)."""
    own = ~others
    atoms = _partly_open(y[:, own], weights, all_open=True) if own.any() else y[:0, own]
    found = np.full((len(atoms), len(others)), np.nan)
    found[:, own] = atoms
    return found


def _partly_open(y: np.ndarray, weights: np.ndarray, all_open: bool = False) -> np.ndarray:
    """Return the combinations (A, D) of values that stand out, with NaN for any other.

    All are open where there are other targets.
    """
    most_open = max(_MOST_OPEN // y.shape[1], _FEWEST_OPEN)
    values = [_standing_out(_common(column[:, None], weights))[:, 0] for column in y.T]
    values = [some if len(some) <= most_open else some[:0] for some in values]
    codes = np.column_stack([_codes(*pair) for pair in zip(y.T, values, strict=True)])
    least = _LEAST_ROWS
    while True:
        atoms = _combinations(codes, weights, least)
        is_open = ~atoms.all(axis=1) | all_open
        if len(atoms) <= _MOST_VALUES and is_open.sum() <= most_open:
            return _decoded(np.concatenate([atoms[is_open], atoms[~is_open]]), values)
        least *= 2


class _Values(NamedTuple):
    """The different rows of a table.

    ``positions`` says which of them each row has, ``counts`` how many rows have them, ``shares``
    how much these weigh, and ``common`` which are common.
    """

    rows: np.ndarray
    positions: np.ndarray
    counts: np.ndarray
    shares: np.ndarray
    common: np.ndarray


def _common(y: np.ndarray, weights: np.ndarray, least_rows: int = _LEAST_ROWS) -> _Values:
    """Return the different rows of y (n, D), in ascending order."""
    rows, positions, counts = np.unique(y, axis=0, return_inverse=True, return_counts=True)
    positions = positions.ravel()
    shares = np.bincount(positions, weights) / weights.sum()
    common = counts >= least_rows
    if len(y) >= _ENOUGH_ROWS:
        common |= shares >= _LARGE_SHARE
    return _Values(rows, positions, counts, shares, common)


def _make_a_grid(found: _Values) -> bool:
    """Tell whether all common values are atoms."""
    return bool(found.common.sum() <= _MOST_VALUES and _share_of_common(found) >= _SHARE_OF_GRID)


def _share_of_common(found: _Values) -> float:
    """Return the share of the rows that have a common value."""
    return float(found.shares[found.common].sum())


def _standing_out(found: _Values) -> np.ndarray:
    """Return the values that make a grid, or that stand out from the others."""
    if _make_a_grid(found):
        return found.rows[found.common]
    candidates = np.flatnonzero(found.common & (found.shares >= _LEAST_SHARE))
    return found.rows[[k for k in candidates if _stands_out(found, k)]]


def _combinations(codes: np.ndarray, weights: np.ndarray, least_rows: int) -> np.ndarray:
    """Return the combinations (A, D) of codes (n, D) that are common.

    Rows with a rare one are left what they have in common with others: targets of which more
    values are common say nothing first, and of as many, those of which this value is rarer.
    """
    codes, worth = codes.copy(), np.full(codes.shape, np.inf)
    for column, own in zip(codes.T, worth.T, strict=True):
        at = column > 0
        own[at] = np.bincount(column)[column[at]] / len(column) - column.max()
    while True:
        found = _common(codes, weights, least_rows)
        rare = np.flatnonzero(~found.common[found.positions] & codes.any(axis=1))
        if len(rare) == 0:
            return found.rows[found.common & found.rows.any(axis=1)]
        least_worth = worth[rare].argmin(axis=1)
        codes[rare, least_worth], worth[rare, least_worth] = 0, np.inf


def _stands_out(found: _Values, k: np.intp) -> bool:
    """Tell whether value k is much commoner than the one that a typical row not at it has."""
    others = np.delete(found.shares, k), np.delete(found.counts, k)
    typical, _ = _typical(*others)
    is_small = others[0] < _LIMIT_SHARE
    if is_small.any():
        share, count = _typical(*(part[is_small] for part in others))
        if count == 1 or share <= _CONTINUOUS_SHARE:
            typical = share
    return bool(found.shares[k] >= _TIMES_TYPICAL * typical)


def _typical(shares: np.ndarray, counts: np.ndarray) -> tuple[float, int]:
    """Return the share and the rows of the value that a typical row has."""
    order = np.argsort(shares)
    summed = shares[order].cumsum()
    median = order[np.searchsorted(summed, 0.5 * summed[-1])]
    return float(shares[median]), int(counts[median])


def _codes(y: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return which of the ascending values each y is, counted from one; zero for none."""
    places = np.searchsorted(values, y)
    return np.where(np.append(values, np.nan)[places] == y, places + 1, 0)


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


@dataclass
class StillTerms:
    """What the density of targets is made of at components that stay.

    Parameters
    ----------
    own : array of shape (E, C, B)
        ``sum_d (z_d e_d + log sigma_d^2)`` of those of which the weight alone is learned.
    """

    own: Array

    def scaled(self, factor: float) -> Array:
        """Return the terms where variances are so many times as large; these stay, too."""
        return self.own

    def write_gradient(self, p: Array, out: Array) -> None:
        """Write the gradient by further raw outputs, given responsibilities (E, C, B)."""


@dataclass(frozen=True)
class StillComponents(ArrayParts):
    """Components of which the weight alone is learned: at atoms, if any, and a wide one.

    Parameters
    ----------
    means : array of shape (A + 1, D, 1)
    variances : array of shape (A + 1, D, 1)
    """

    means: Array
    variances: Array

    @classmethod
    def at(
        cls, atoms: np.ndarray, narrow: np.ndarray | float, wide: np.ndarray
    ) -> StillComponents:
        """Return those at atoms (A, D) of standardised targets, and the wide one at their mean.

        The variances (D,) of the former are ``narrow``, of the latter ``wide``.
        """
        means = np.concatenate([atoms, np.zeros((1, atoms.shape[1]))])
        variances = np.concatenate([np.broadcast_to(narrow, atoms.shape), wide[None]])
        return cls(means[:, :, None], variances[:, :, None])

    @property
    def n_logits(self) -> int:
        """How many raw outputs say which of them it is."""
        return len(self.means)

    @property
    def numbers_shape(self) -> tuple[int, ...]:
        """The shape of further raw outputs that say so."""
        return (0,)

    def weights(self, shares: Array, numbers: Array, factors: float | np.ndarray) -> Array:
        """Return the weights (E, A + 1, B), given the softmax (E, n_logits, B) of the logits.

        Variance factors, of all members or each one's (E,), leave them as they are.
        """
        return shares

    def terms(self, y: Array, numbers: Array) -> StillTerms:
        """Return what the density of y (E, D, B) is made of."""
        squares = (y[:, None] - self.means) ** 2 / self.variances
        return StillTerms(squares.sum(2) + namespace(y).log(self.variances).sum(1))

    def start(self, log_odds: np.ndarray, logits: np.ndarray, numbers: np.ndarray) -> None:
        """Write the raw outputs to start from, given how likely each is (A + 1,)."""
        logits[:] = log_odds

    @property
    def atoms(self) -> np.ndarray:
        """The atoms (A, D)."""
        return np.asarray(self.means[:-1, :, 0])

    @property
    def sds(self) -> np.ndarray:
        """The standard deviation (A + 1, D) of each target."""
        return np.sqrt(self.variances[..., 0])


@dataclass(frozen=True)
class Pins(ArrayParts):
    """What is not learned of the components at open atoms; others come first, without any.

    Parameters
    ----------
    values : array of shape (K, D, 1)
        Where the targets of each component are pinned; zero where they are free.
    free : array of shape (K, D, 1)
        One where a target is free, zero where it is not.
    coupled : array of shape (K, D (D - 1) / 2, 1)
        The same for the couplings of two.
    counts : sequence of int
        How many components each of the open atoms has.
    """

    values: Array
    free: Array
    coupled: Array
    counts: Sequence[int]

    @classmethod
    def at(cls, atoms: np.ndarray, counts: Sequence[int], n_free: int, coupled: bool) -> Pins:
        """Return those of so many components at open atoms, behind others without any."""
        n_targets = atoms.shape[1]
        nothing = np.full((n_free, n_targets), np.nan)
        values = np.concatenate([nothing, np.repeat(atoms, counts, axis=0)])[:, :, None]
        free = np.isnan(values) * 1.0
        i, j = np.tril_indices(n_targets if coupled else 0, -1)
        return cls(np.nan_to_num(values), free, free[:, i] * free[:, j], counts)

    @property
    def atoms(self) -> np.ndarray:
        """The open atoms (A, D), NaN where they are open."""
        n_free = len(self.values) - sum(self.counts)
        firsts = n_free + np.cumsum([0, *self.counts[:-1]])
        return np.where(self.free[firsts, :, 0] == 1.0, np.nan, self.values[firsts, :, 0])

    def means(self, learned: Array) -> Array:
        """Return the means (..., K, D, B) of components of which those are learned."""
        return learned * self.free + self.values
