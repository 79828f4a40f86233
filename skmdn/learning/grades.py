"""The weights of many atoms, as a smooth function of where they are.

Networks that learned the weight of each by itself would be classifiers, to which 3 is no nearer to
4 than to 40: it would take many rows to find out. Along the atoms' normal scores s, all rows
together are about standard normal; those of one x are taken to be about normal with another mean
mu and variance v there, but for a few bumps:

    weight = common share * N(s; mu, v) / N(s; 0, 1) * exp(sum_j c_j bump_j).

What is learned is mu, log v and the c_j; zeros leave the common shares. Rounded normal
distributions are of this kind. With b the coefficients of 1, s and s^2 in -(s - mu)^2 / 2v, and g
the gradient by the weights' logarithms, summed over atoms times 1, s and s^2,

    b = (-mu^2 / 2v, mu / v, -1 / 2v),    d / d mu = (g_1 - mu g_0) / v,
    d / d log v = -b' g - g_0 / 2.

mu and log v are bounded, B tanh(x / B) for raw numbers x: where one value is all but sure, they
would else grow without end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from .arrays import Array, ArrayParts, namespace

#: Most atoms whose weights are learned each by itself.
_FEW_ATOMS = 8
#: Share of the rows from which on an atom has a bump of its own: zeros of what is rare.
_LARGE_SHARE = 0.1
#: Ranks of atoms, from 0 to 1, are at least this far from the ends.
_LEAST_RANK = 1e-9
#: Bumps along the normal scores: fewer are 0.04 better for some targets, but two modes take many.
_BUMPS = 7
#: Where the outermost are.
_OUTERMOST = 2.0
#: Bound on the size of mu and log v: no score is beyond 6, few atoms are nearer than exp(-8 / 2).
_BOUND = 8.0


@dataclass(frozen=True)
class SmoothLogits(ArrayParts):
    """Logits of components that stay, as a function of few numbers.

    Parameters
    ----------
    base : array of shape (A + 1, 1)
        Logits of the common shares, plus s^2 / 2.
    basis : array of shape (A + 1, J + 1)
        Columns of 1, s, s^2, the bumps, and one for each large atom; the last row and column are
        the widest component's. The three first have two of the J numbers, the others one each.
    """

    base: Array
    basis: Array

    @classmethod
    def of(cls, shares: np.ndarray, log_odds: np.ndarray) -> SmoothLogits | None:
        """Return those of atoms in ascending order, or None where there are few.

        Parameters
        ----------
        shares : ndarray of shape (A,)
            Of the rows at each atom.
        log_odds : ndarray of shape (A + 1,)
            Their logits, if X told nothing; the last one is the widest component's.
        """
        if len(shares) <= _FEW_ATOMS:
            return None
        ranks = (np.cumsum(shares) - 0.5 * shares) / shares.sum()
        # Bounded, as an atom of hardly any weight would else lie at infinity.
        scores = ndtri(ranks.clip(_LEAST_RANK, 1.0 - _LEAST_RANK))
        centres = np.linspace(-_OUTERMOST, _OUTERMOST, _BUMPS)
        bumps = np.exp(-0.5 * ((scores[:, None] - centres) / (centres[1] - centres[0])) ** 2)
        large = np.eye(len(shares))[:, shares >= _LARGE_SHARE]
        basis = np.column_stack([np.ones_like(scores), scores, scores**2, bumps, large])
        n_atoms, n_numbers = basis.shape
        whole = np.zeros((n_atoms + 1, n_numbers + 1))
        whole[:-1, :-1], whole[-1, -1] = basis, 1.0
        base = log_odds + 0.5 * np.append(scores**2, 0.0)
        return cls(base[:, None], whole)

    @property
    def n_numbers(self) -> int:
        """How many numbers say the logits: mu, log v and the c_j."""
        return int(self.basis.shape[1]) - 1

    def logits(self, numbers: Array) -> Array:
        """Return the logits (E, A + 1, B) that numbers (E, J, B) say."""
        bounded = _bounded(numbers)
        bell = _bell(bounded)
        bell[:, :1] -= 0.5 * bounded[:, 1:]
        return self.basis @ namespace(numbers).concatenate([bell, numbers[:, 2:]], 1) + self.base

    def gradient(self, numbers: Array, d_logits: Array) -> Array:
        """Return the gradient by the numbers, given that by the logits."""
        xp, g, bounded = namespace(numbers), self.basis.T @ d_logits, _bounded(numbers)
        centre, precision = bounded[:, :1], xp.exp(-bounded[:, 1:])
        d_centre = precision * (g[:, 1:2] - centre * g[:, :1])
        d_log_variance = -(_bell(bounded) * g[:, :3]).sum(1)[:, None] - 0.5 * g[:, :1]
        slope = 1.0 - (bounded / _BOUND) ** 2
        return xp.concatenate(
            [d_centre * slope[:, :1], d_log_variance * slope[:, 1:], g[:, 3:]], 1
        )


def _bounded(numbers: Array) -> Array:
    """Return mu and log v (E, 2, B): the two first numbers, about, where these are small."""
    return _BOUND * namespace(numbers).tanh(numbers[:, :2] / _BOUND)


def _bell(bounded: Array) -> Array:
    """Return b (E, 3, B) of mu and log v (E, 2, B)."""
    xp, centre = namespace(bounded), bounded[:, :1]
    precision = xp.exp(-bounded[:, 1:])
    parts = [-0.5 * precision * centre * centre, precision * centre, -0.5 * precision]
    return xp.concatenate(parts, 1)
