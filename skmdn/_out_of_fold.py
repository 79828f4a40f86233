"""What a fitted model remembers of its rows: which networks held each of them out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skmdn.learning.objective import held_out_starts


class HeldOut(NamedTuple):
    """Which of the canonical rows each network held out, and how to know the rows again.

    Attributes
    ----------
    positions : ndarray of shape (n,)
        Which canonical row each row of the data is; -1 for a row of weight zero.
    marks : ndarray of shape (m,)
        The `fingerprints` of the canonical rows.
    n_held_out : int
        How many of them each network held out.
    line_shift : ndarray of shape (m, D) or None
        How far lines through all other rows lie above that through all, at each; None without one.
    """

    positions: np.ndarray
    marks: np.ndarray
    n_held_out: int
    line_shift: np.ndarray | None

    def check_same(self, marks: np.ndarray) -> None:
        """Raise an error unless these (n,) are the fingerprints of the data."""
        # Weights of zero leave none; in single precision, X is rounded.
        known = self.positions >= 0
        others = known & ~np.isclose(marks, self.marks[self.positions], atol=1e-2)
        if others.any():
            raise ValueError(
                "X must be the rows that fit was given, in the same order; row "
                f"{np.flatnonzero(others)[0]} is another"
            )

    def holders(self, n_members: int) -> np.ndarray:
        """Return which networks never saw each row of the data, (n, E)."""
        n_rows = len(self.marks)
        distance = (self.positions[:, None] - held_out_starts(n_rows, n_members)) % n_rows
        return (distance < self.n_held_out) | (self.positions < 0)[:, None]


def fingerprints(features: np.ndarray) -> np.ndarray:
    """Return a number for each row (n, F): a projection that no two features enter alike."""
    return features @ np.sin(1.0 + np.arange(features.shape[1]))
