"""Components on many atoms at once: logistic distributions, rounded along normal scores.

Networks that learned the weight of each atom by itself would be classifiers, to which 3 is no
nearer to 4 than to 40: it would take many rows to find out. So a standard normal distribution is
cut into cells, one for each atom and as likely as it is among all rows; and how likely the atoms
are at one x is a mixture of a few logistic distributions there, the grades (Salimans et al. 2017,
"PixelCNN++"). In one of location mu and scale s, the atom whose cell is from a to b has the share

    p = S(u) - S(v) = S(u) S(-v) (1 - exp(v - u)),   u = (b - mu) / s,   v = (a - mu) / s,

S being the logistic function, and

    d log p / d mu = (S(u) + S(v) - 1) / s,
    d log p / d log s = v S(v) - u S(-u) - (u - v) / (exp(u - v) - 1).

Variance factors multiply s^2. What the rows say of an atom's share is shrunk towards its
neighbours': counts n of which e are expected to be Poisson(e g), with g of mean 1 and variance q,
leave e (1 + q n) / (1 + q e). Atoms that stand out, zeros of what is rare, are also components by
themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from .arrays import Array, ArrayParts, converted, logistic, namespace
from .atoms import StillComponents, StillTerms

#: Most atoms whose weights are learned each by itself.
_FEW_ATOMS = 4
#: An atom stands out if it has this share of the rows,
_LARGE_SHARE = 0.1
#: and so many times as many as its neighbours.
_TIMES_NEIGHBOURS = 2.0
#: Rows added to each atom, which may have been missed by chance: fewer where many atoms have none,
#: so that these get no more in all than there are atoms of one row, or one (Good 1953).
_UNSEEN = 0.5
#: Least share of an atom: cells of less have no width in single precision.
_LEAST_SHARE = 1e-6
#: Counts that are farther from their neighbours, in standard errors, are what they are.
_BY_CHANCE = 3.0
#: Bound on the size of mu and log s: where one value is all but sure, they would else grow without
#: end. Few scores are beyond 6.
_BOUND = 6.0
#: Where the first and the last cell end.
_FAR = 1e4
#: Scale at the start: with standard deviations of 0.6, that of three is one.
_STARTING_SCALE = 0.6 * math.sqrt(3.0) / math.pi


class Cells(NamedTuple):
    """The cells that targets are in, of grades.

    Attributes
    ----------
    of_atom : array of shape (E, 1, B)
        ``z e + log sigma^2`` of the targets and their atoms.
    upper, lower : array of shape (E, M, B)
        u and v.
    steepness : array of shape (E, M, B)
        1 / s.
    slopes : array of shape (E, 2, M, B)
        Of mu and log s, which are bounded, by the numbers that say them.
    """

    of_atom: Array
    upper: Array
    lower: Array
    steepness: Array
    slopes: Array

    def terms(self, factor: float = 1.0) -> Array:
        """Return ``z e + log sigma^2 - 2 log p`` (E, M, B), with s^2 so many times as large."""
        u, v = (end * factor**-0.5 for end in (self.upper, self.lower))
        xp = namespace(u)
        log_share = xp.log(-xp.expm1(v - u)) - _softplus(-u) - _softplus(v)
        return self.of_atom - 2.0 * log_share

    def gradient(self) -> Array:
        """Return the gradient (E, 2, M, B) of log p by the numbers."""
        u, v = self.upper, self.lower
        xp, below, above = namespace(u), logistic(v), logistic(-u)
        d_location = (below - above) * self.steepness
        # (u - v) / (exp(u - v) - 1), which may be too large for a number.
        of_width = (v - u) * xp.exp(v - u) / xp.expm1(v - u)
        d_log_scale = v * below - u * above - of_width
        return xp.stack([d_location, d_log_scale], 1) * self.slopes


@dataclass(frozen=True)
class Grades(ArrayParts):
    """M components on A atoms of one target, and the O of these that are also alone.

    Parameters
    ----------
    values, edges : array of shape (A,), (A - 1,)
        Where the atoms are, and where the nearest one changes, in standardised targets.
    cuts : array of shape (A + 1,)
        Where the cells end.
    alone : array of shape (A + 1, O + 1)
        One where an atom is a component by itself; the last row and column are the widest one's.
    starting_logits : array of shape (O + 1 + M,)
        Of those, and of the grades.
    """

    values: Array
    edges: Array
    cuts: Array
    alone: Array
    starting_logits: Array

    @classmethod
    def of(
        cls, values: np.ndarray, counts: np.ndarray, log_odds: np.ndarray, n_grades: int
    ) -> Grades | None:
        """Return so many on atoms, or None where these are few.

        Parameters
        ----------
        values : ndarray of shape (A,)
            Where they are, ascending, in standardised targets.
        counts : ndarray of shape (A,)
            Rows at each.
        log_odds : ndarray of shape (A + 1,)
            Their logits, if X tells nothing; the last one is the widest component's.
        n_grades : int
        """
        if len(values) <= _FEW_ATOMS:
            return None
        beside = _averaged(counts, 0.0)
        alone = (counts >= _LARGE_SHARE * counts.sum()) & (counts > _TIMES_NEIGHBOURS * beside)
        shares = shrunk(np.where(alone, beside, counts) + unseen(counts))
        odds, chosen = np.exp(log_odds), np.append(alone, True)
        odds_alone = odds[chosen]
        odds_alone[:-1] *= 1.0 - beside[alone] / counts[alone]
        odds_graded = np.full(n_grades, (odds.sum() - odds_alone.sum()) / n_grades)
        return cls(
            values=values,
            edges=0.5 * (values[1:] + values[:-1]),
            cuts=cuts_between(shares),
            alone=np.eye(len(chosen))[:, chosen],
            starting_logits=np.log(np.append(odds_alone, odds_graded)),
        )

    @property
    def n_alone(self) -> int:
        """How many components are no grades: O + 1."""
        return int(self.alone.shape[1])

    @property
    def n_grades(self) -> int:
        """How many are: M."""
        return len(self.starting_logits) - self.n_alone

    def starting_numbers(self) -> np.ndarray:
        """Return the mu and log s (2, M) of grades side by side."""
        m = self.n_grades
        return np.stack([ndtri((np.arange(m) + 0.5) / m), np.full(m, math.log(_STARTING_SCALE))])

    def cells(self, numbers: Array, y: Array, variance: Array) -> Cells:
        """Return the cells of the atoms, of such a variance, that are nearest to y.

        Parameters
        ----------
        numbers : array of shape (E, 2, M, B)
            About mu and log s, where these are small.
        y : array of shape (E, 1, B)
        variance : array of shape (1,)
        """
        xp = namespace(y)
        nearest = xp.searchsorted(self.edges, y if xp is np else y.contiguous())
        of_atom = (y - self.values[nearest]) ** 2 / variance + xp.log(variance)
        location, steepness, slopes = _location_and_steepness(numbers)
        upper, lower = (
            (end[nearest] - location) * steepness for end in (self.cuts[1:], self.cuts)
        )
        return Cells(of_atom, upper, lower, steepness, slopes)

    def spread(self, shares: Array, numbers: Array, factors: float | np.ndarray) -> Array:
        """Return the weights (E, A + 1, B) of what stays, given those of the components.

        Parameters
        ----------
        shares : array of shape (E, O + 1 + M, B)
        numbers : array of shape (E, 2, M, B)
        factors : float or ndarray of shape (E,)
            What s^2 is multiplied by.
        """
        location, steepness, _ = _location_and_steepness(numbers)
        if np.ndim(factors):
            factors = converted(np.reshape(factors, (-1, 1, 1)), shares)
        steepness = steepness * factors**-0.5
        below: Array = 0.0
        for m in range(self.n_grades):  # all at once are a large array
            ends = (self.cuts[:, None] - location[:, m : m + 1]) * steepness[:, m : m + 1]
            below = below + shares[:, self.n_alone + m, None] * logistic(ends)
        spread = self.alone @ shares[:, : self.n_alone]
        spread[:, :-1] += below[:, 1:] - below[:, :-1]
        return spread


@dataclass
class GradedTerms(StillTerms):
    """The same for `GradedComponents`: those that are alone, and grades behind them.

    Parameters
    ----------
    own : array of shape (E, O + 1, B)
    cells : Cells
        Those of the targets, of each grade.
    """

    cells: Cells

    def scaled(self, factor: float) -> Array:
        """Return the terms where s^2, too, is so many times as large."""
        return namespace(self.own).concatenate([self.own, self.cells.terms(factor)], axis=1)

    def write_gradient(self, p: Array, out: Array) -> None:
        """Write the gradient by mu and log s, given responsibilities (E, O + 1 + M, B)."""
        of_grades = p[:, None, self.own.shape[1] :]
        namespace(p).multiply(-of_grades, self.cells.gradient(), out=out)


@dataclass(frozen=True)
class GradedComponents(StillComponents):
    """Components on many atoms, whose weights grades tell, and a wide one.

    Parameters
    ----------
    means, variances
        As `StillComponents` has them.
    grades : Grades
    """

    grades: Grades

    @property
    def n_logits(self) -> int:
        """How many raw outputs there are for those alone and for the grades."""
        return self.grades.n_alone + self.grades.n_grades

    @property
    def numbers_shape(self) -> tuple[int, ...]:
        """The shape of mu and log s."""
        return 2, self.grades.n_grades

    @cached_property
    def _alone(self) -> StillComponents:
        chosen = self.grades.alone.T
        means, variances = (chosen @ part[..., 0] for part in (self.means, self.variances))
        return StillComponents(means[..., None], variances[..., None])

    def weights(self, shares: Array, numbers: Array, factors: float | np.ndarray) -> Array:
        """Return the weights (E, A + 1, B), given the softmax of the logits."""
        return self.grades.spread(shares, numbers, factors)

    def terms(self, y: Array, numbers: Array) -> GradedTerms:
        """Return what the density of y (E, 1, B) is made of."""
        cells = self.grades.cells(numbers, y, self.variances[0, 0])
        return GradedTerms(self._alone.terms(y, numbers).own, cells)

    def start(self, log_odds: np.ndarray, logits: np.ndarray, numbers: np.ndarray) -> None:
        """Write the raw outputs with which they are about as likely as all rows say."""
        logits[:], numbers[:] = self.grades.starting_logits, self.grades.starting_numbers()


def _location_and_steepness(numbers: Array) -> tuple[Array, Array, Array]:
    """Return mu, 1 / s (E, M, B), and the slopes (E, 2, M, B) of mu and log s."""
    xp = namespace(numbers)
    bounded = _BOUND * xp.tanh(numbers / _BOUND)
    return bounded[:, 0], xp.exp(-bounded[:, 1]), 1.0 - (bounded / _BOUND) ** 2


def _softplus(x: Array) -> Array:
    """Return ``log(1 + exp(x))``."""
    xp = namespace(x)
    return x.clip(0.0) + xp.log1p(xp.exp(-abs(x)))


def cuts_between(shares: np.ndarray) -> np.ndarray:
    """Return where the cells (A + 1,) of a standard normal distribution end that are so likely."""
    ranks = np.cumsum(np.maximum(shares / shares.sum(), _LEAST_SHARE))
    return np.concatenate([[-_FAR], ndtri(ranks[:-1] / ranks[-1]), [_FAR]])


def unseen(counts: np.ndarray) -> float:
    """Return how many rows are added to the counts (A,) of each atom."""
    n_unseen, n_single = (counts == 0).sum(), ((counts > 0) & (counts < 2)).sum()
    return float(min(_UNSEEN, max(n_single, 1) / max(n_unseen, 1)))


def _averaged(counts: np.ndarray, own: float) -> np.ndarray:
    """Return averages (A,) of counts and those beside them; there is one beside the ends."""
    before, after = np.append(counts[1], counts[:-1]), np.append(counts[1:], counts[-2])
    return own * counts + 0.5 * (1.0 - own) * (before + after)


def shrunk(counts: np.ndarray) -> np.ndarray:
    """Return counts (A,) nearer to their neighbours', as far as those vary by chance alone."""
    expected = _averaged(counts, 0.5)
    # Of independent counts, n - e has the variance e (1/4 + 1/16 + 1/16).
    squares = (counts - expected) ** 2 / 0.375
    by_chance = squares < _BY_CHANCE**2 * expected
    excess = (squares - expected)[by_chance].sum()
    q = max(excess / max((expected[by_chance] ** 2).sum(), 1.0), 0.0)
    nearer = expected * (1.0 + q * counts) / (1.0 + q * expected)
    return np.where(by_chance, nearer, counts)
