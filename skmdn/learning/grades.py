"""The weights of many atoms, as a smooth function of where they are.

Networks that learned the weight of each by itself would be classifiers, to which 3 is no nearer to
4 than to 40: it would take many rows to find out. So the logits of many atoms are those that all
rows have in common, plus a parabola and a few bumps along the atoms' normal scores, whose sizes
are learned. Rounded normal distributions are of this kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from .arrays import Array, ArrayParts

#: Most atoms whose weights are learned each by itself.
_FEW_ATOMS = 8
#: Share of the rows from which on an atom has a bump of its own: zeros of what is rare.
_LARGE_SHARE = 0.1
#: Ranks of atoms, from 0 to 1, are at least this far from the ends.
_LEAST_RANK = 1e-9
#: Bumps along the normal scores: 3 and 10 were better for some targets, worse for others.
_BUMPS = 5
#: Where the outermost are.
_OUTERMOST = 2.0


@dataclass(frozen=True)
class SmoothLogits(ArrayParts):
    """Logits of components that stay, as a linear function of few numbers.

    Parameters
    ----------
    base : array of shape (A + 1, 1)
        Where these are zero.
    basis : array of shape (A + 1, J)
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
        basis = np.column_stack([scores, scores**2, bumps, large])
        n_atoms, n_numbers = basis.shape
        whole = np.zeros((n_atoms + 1, n_numbers + 1))
        whole[:-1, :-1], whole[-1, -1] = basis, 1.0
        return cls(log_odds[:, None], whole)

    @property
    def n_numbers(self) -> int:
        """How many numbers say the logits."""
        return int(self.basis.shape[1])

    def logits(self, numbers: Array) -> Array:
        """Return the logits (..., A + 1, B) that numbers (..., J, B) say."""
        return self.basis @ numbers + self.base

    def gradient(self, d_logits: Array) -> Array:
        """Return the gradient by the numbers, given that by the logits."""
        return self.basis.T @ d_logits
