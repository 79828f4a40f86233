"""Which of several targets are on grids, and which values others share."""

from __future__ import annotations

import numpy as np

from skmdn._scaling import TargetScaling
from skmdn.learning.atoms import atoms_beside, find_atoms, find_grids
from skmdn.learning.noise import NoiseModel

#: Standard deviations of the least variance that values of a grid are apart, at least: else they
#: are not to be told from each other.
_SDS_APART = 8.0
#: Least coefficient of a target that is part of a sum, of standardised ones.
_LEAST_PART = 0.01


def separable_grids(
    y: np.ndarray, weights: np.ndarray, noise: NoiseModel, n_features: int, sds: np.ndarray
) -> list[np.ndarray]:
    """Return the grids that targets (n, D) are on, if their values can be told apart.

    Those of each target are as wide as ``sds`` (D,). One target has atoms alone, as have several
    that share a variance.
    """
    if y.shape[1] == 1 or not (noise.per_component and noise.per_target):
        return [column[:0] for column in y.T]
    found = find_grids(y, weights, n_features)
    return [
        grid if np.diff(grid).min(initial=np.inf) > _SDS_APART * sd else grid[:0]
        for grid, sd in zip(found, sds, strict=True)
    ]


def in_no_sum(
    grids: list[np.ndarray], scaling: TargetScaling, y: np.ndarray, weights: np.ndarray
) -> list[np.ndarray]:
    """Return the grids without those of targets that enter another target's sum, of y (n, D).

    What is left of the sum is learned, for which their values must be exact.
    """
    root = scaling.untied(y, weights, ~on_grids(grids)).root
    if root is None:
        return grids
    is_part = (np.abs(np.tril(root, -1)) > _LEAST_PART).any(axis=0)
    return [grid[:0] if is_in else grid for grid, is_in in zip(grids, is_part, strict=True)]


def atoms_of_others(
    grids: list[np.ndarray], y: np.ndarray, weights: np.ndarray, noise: NoiseModel, n_features: int
) -> np.ndarray:
    """Return the atoms (A, D) of targets (n, D) that are on no grid."""
    if not noise.per_component:
        return y[:0]
    if on_grids(grids).any():
        return atoms_beside(on_grids(grids), y, weights)
    return find_atoms(y, weights, noise.per_target, n_features)


def on_grids(grids: list[np.ndarray]) -> np.ndarray:
    """Return which of the targets are on one, (D,)."""
    return np.array([len(grid) > 0 for grid in grids])
