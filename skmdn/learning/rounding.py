"""Several targets of which some are on grids: components rounded to these, target by target.

What is likely of one such target is learned as in `skmdn.learning.grades`: a component's location
mu and variance s^2 are those of a logistic distribution along normal scores, cut into a cell for
each value. Given the component, the target is independent of all others, so that each value of one
may meet any of another; how they vary together is told by the components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from .arrays import Array, ArrayParts, logistic, namespace
from .grades import Cells, cuts_between, shrunk, unseen

#: Normal scores that locations have, at most.
FARTHEST_SCORE = 3.0


@dataclass(frozen=True)
class Rounding(ArrayParts):
    """The grids of G of D targets, one after another: A values in all.

    Parameters
    ----------
    columns : sequence of int
        Which targets they are.
    sizes : sequence of int
        How many values each has.
    values, edges, lower, upper : array of shape (A,)
        Where the values are, and where the nearest one changes to the next, in standardised
        targets (infinity behind the last of a grid); and where their cells begin and end.
    free : array of shape (D, 1)
        One where a target is on no grid, zero where it is.
    """

    columns: Sequence[int]
    sizes: Sequence[int]
    values: Array
    edges: Array
    lower: Array
    upper: Array
    free: Array

    @classmethod
    def to(cls, grids: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> Rounding | None:
        """Return the rounding of D standardised targets to grids, if some are on one.

        Parameters
        ----------
        grids : sequence of ndarray of shape (A,)
            Ascending values; none for a target that is on no grid.
        counts : sequence of ndarray of shape (A,)
            Rows at each.
        """
        columns = [d for d, grid in enumerate(grids) if len(grid)]
        if not columns:
            return None
        cuts = [cuts_between(shrunk(counts[d] + unseen(counts[d]))) for d in columns]
        edges = [np.append(0.5 * (grids[d][1:] + grids[d][:-1]), np.inf) for d in columns]
        free = np.array([[len(grid) == 0] for grid in grids]) * 1.0
        return cls(
            columns,
            [len(grids[d]) for d in columns],
            np.concatenate([grids[d] for d in columns]),
            np.concatenate(edges),
            np.concatenate([ends[:-1] for ends in cuts]),
            np.concatenate([ends[1:] for ends in cuts]),
            free,
        )

    @property
    def grids(self) -> list[slice]:
        """Where the values of each grid are."""
        return [slice(*ends) for ends in pairwise(accumulate(self.sizes, initial=0))]

    def nearest(self, y: Array) -> Array:
        """Return the positions of the values nearest to targets y (..., D, B): (..., G, B)."""
        xp = namespace(y)
        found = []
        for d, grid in zip(self.columns, self.grids, strict=True):
            own = y[..., d, :] if xp is np else y[..., d, :].contiguous()
            found.append(xp.searchsorted(self.edges[grid], own) + grid.start)
        return xp.stack(found, -2)

    def scores(self, y: np.ndarray) -> np.ndarray:
        """Return targets y (n, D) with normal scores in place of those on grids."""
        y, nearest = y.copy(), self.nearest(y.T)
        ranks = 0.5 * (ndtr(self.lower) + ndtr(self.upper))
        y[:, self.columns] = ndtri(ranks)[nearest].T
        return y

    def rounded(self, y: Array, floor: Array) -> RoundedTargets:
        """Return what the density of y (E, D, B) is made of, given the floor on variances."""
        nearest, xp = self.nearest(y), namespace(y)
        away = y[:, self.columns] - self.values[nearest]
        narrow = floor[self.columns] if np.ndim(floor) else xp.full_like(away[:1, :1, :1], floor)
        of_value = away**2 / narrow + xp.log(narrow)
        parts = (part[:, None] for part in (of_value, self.lower[nearest], self.upper[nearest]))
        return RoundedTargets(self.columns, *parts)

    def cells(self, locations: np.ndarray, variances: np.ndarray) -> np.ndarray:
        """Return location and steepness (2, E, B, K, G) of what is cut into cells."""
        steepness = variances[:, :, self.columns] ** -0.5
        return np.moveaxis(np.stack([locations[:, :, self.columns], steepness]), -1, 2)

    def moments(self, locations: Array, variances: Array, floor: Array) -> tuple[Array, Array]:
        """Return the means and variances (E, K, D, B) of targets, given what cells are cut from.

        Those of targets on no grid are what they are.
        """
        means, spreads = locations * 1.0, variances * 1.0
        for d, grid in zip(self.columns, self.grids, strict=True):
            of_one = locations[:, :, d], variances[:, :, d] ** -0.5
            ends = self.upper[grid][:-1]
            mean = _expected(self.values[grid], ends, *of_one)
            away = [(value - mean) ** 2 for value in self.values[grid]]
            narrow = floor[d] if np.ndim(floor) else floor
            means[:, :, d] = mean
            spreads[:, :, d] = _expected(away, ends, *of_one).clip(0.0) + narrow
        return means, spreads


def _expected(of_values: Sequence[Array], ends: Array, location: Array, steepness: Array) -> Array:
    """Return the mean of what there is at each value of a grid, whose cells end there."""
    found = of_values[-1]
    for before, after, end in zip(of_values[:-1], of_values[1:], ends, strict=True):
        found = found - (after - before) * logistic((end - location) * steepness)
    return found


class RoundedTargets(NamedTuple):
    """Targets on grids, and the cells they are in.

    Attributes
    ----------
    columns : sequence of int
    of_value : array of shape (E, 1, G, B)
        ``z e + log sigma^2`` of the targets and their values.
    lower, upper : array of shape (E, 1, G, B)
        Where the cells end.
    """

    columns: Sequence[int]
    of_value: Array
    lower: Array
    upper: Array

    def cells(self, locations: Array, variances: Array) -> Cells:
        """Return the cells as components (E, K, D, B) see them."""
        steepness = variances[:, :, self.columns] ** -0.5
        location = locations[:, :, self.columns]
        upper, lower = ((end - location) * steepness for end in (self.upper, self.lower))
        return Cells(self.of_value, upper, lower, steepness, 1.0)
