"""Mixtures of several networks pooled to one.

Its components come network by network; of each, those at open atoms are last. Behind them are
those that all networks share: one at each atom that leaves nothing open, the wide one, where there
are atoms or outliers, and one for gross errors, where there is next to no noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skmdn._targets import TargetModel
from skmdn.distribution.mixture import NormalMixture
from skmdn.distribution.rounded import Grid, Rounded
from skmdn.distribution.scale import Diagonal, Scale, Triangular
from skmdn.learning.loss import MixtureLoss


def pooled(found, still, scaling, members=None, outlier_share=0.0, outlier_sds=None):
    """Return the weights (n, K), means (n, K, D) and scale of members' mixtures pooled.

    Components that stay where they are are the same in all of them: their weights add up.

    Parameters
    ----------
    found : MixtureParameters
    still : StillComponents or None
    scaling : TargetScaling
        Of the targets that they are mixtures of.
    members : ndarray of shape (n, E), default=None
        Which of the members are meant.
    outlier_share : float, default=0.0
        Weight of one more component, at the mixture's mean, for gross errors.
    outlier_sds : ndarray of shape (D,), default=None
        Its standard deviations.
    """
    weights, factor = found.weights / len(found.weights), found.factor
    if members is not None:
        weights *= (members / members.mean(axis=1, keepdims=True)).T[:, :, None]
    roots = found.sds if factor is None else factor
    n_learned = found.means.shape[2]
    parts = [_flattened(part) for part in (weights[:, :, :n_learned], found.means, roots)]
    if still is not None:
        roots = still.sds if factor is None else still.sds[..., None] * np.eye(len(scaling.unit))
        own = weights[:, :, n_learned:].sum(axis=0), still.means[..., 0], roots
        parts = [_appended(*pair) for pair in zip(parts, own, strict=True)]
    if outlier_share > 0.0:
        means = np.einsum("nk,nkd->nd", *parts[:2])[:, None]
        parts[0] *= 1.0 - outlier_share
        wide = outlier_sds if factor is None else np.diag(outlier_sds)
        own = [outlier_share], means, wide[None]
        parts = [_appended(*pair) for pair in zip(parts, own, strict=True)]
    weights, means, roots = parts
    means = scaling.restored(means)
    if factor is None:
        return weights, means, Diagonal(roots * scaling.unit)
    return weights, means, Triangular(scaling.restored_factor(roots))


def _flattened(part):
    """Return what components of members have, (E, n, K, ...), as (n, E K, ...)."""
    return part.swapaxes(0, 1).reshape(part.shape[1], -1, *part.shape[3:])


def _appended(parts, own):
    """Append what components have that stay, (n, A, ...) or (A, ...), to (n, K, ...)."""
    own = np.broadcast_to(own, (len(parts), *np.shape(own)[-(parts.ndim - 1) :]))
    return np.concatenate([parts, own], axis=1)


def values_of(
    loss: MixtureLoss, atoms: np.ndarray, n_members: int, n_components: int
) -> np.ndarray:
    """Return the values that pooled components are at, (K, D); NaN where they are not at one.

    Parameters
    ----------
    loss : MixtureLoss
    atoms : ndarray of shape (A, D)
        Those that are open come first.
    n_members : int
    n_components : int
        K.
    """
    found = np.full((n_components, loss.n_targets), np.nan)
    counts = loss.open_counts
    are_open, closed = np.split(atoms, [len(counts)])
    n_learned = n_members * loss.n_components
    found[n_learned : n_learned + len(closed)] = closed
    of_members = found[:n_learned].reshape(n_members, loss.n_components, -1)
    of_members[:, loss.n_components - sum(counts) :] = are_open.repeat(counts, axis=0)
    return found


def atom_weights(
    mixture: NormalMixture, loss: MixtureLoss, grids: Sequence[np.ndarray], n_members: int
) -> np.ndarray:
    """Return how likely pooled mixtures are to be at atoms, and at the values of grids: (n, A)."""
    counts, n_learned = loss.counts, n_members * loss.n_components
    learned, shared = np.split(mixture.weights, [n_learned], axis=1)
    of_members = learned.reshape(len(mixture), n_members, loss.n_components).sum(axis=1)
    at_closed = shared[:, : len(counts) - len(loss.open_counts)]
    of_components = np.column_stack([of_members, at_closed])
    first = of_components.shape[1] - sum(counts)
    starts = first + np.cumsum([0, *counts])[:-1]
    found = [np.add.reduceat(of_components, starts, axis=1)] if counts else []
    # A marginal has the values of its grid last.
    sizes = [(d, len(grid)) for d, grid in enumerate(grids) if len(grid)]
    found += [mixture.marginal(d).weights[:, -size:] for d, size in sizes]
    return np.concatenate([of_components[:, :0], *found], axis=1)


def grids_of(loss: MixtureLoss, targets: TargetModel) -> dict[int, Grid]:
    """Return the grids that targets are on, in units of y."""
    rounding = loss.rounding
    if rounding is None:
        return {}
    floor = np.broadcast_to(np.ravel(loss.reg_covar), loss.n_targets)
    sds = np.sqrt(floor) * targets.scaling.unit
    found = {}
    for d, own in zip(rounding.columns, rounding.grids, strict=True):
        ends = np.concatenate([[-np.inf], rounding.upper[own][:-1], [np.inf]])
        found[d] = Grid(targets.grids[d], ends, float(sds[d]))
    return found


def rounded(scale: Scale, grids: dict[int, Grid], cells: np.ndarray, n_components: int) -> Rounded:
    """Return the scale of components of which those learned, the first, are rounded.

    ``cells`` (2, E, n, K, G) are as `skmdn.learning.components.MixtureParameters` has them.
    """
    location, steepness = (_flattened(part) for part in cells)
    behind = [(0, 0), (0, n_components - location.shape[1]), (0, 0)]
    return Rounded(scale, grids, np.pad(location, behind), np.pad(steepness, behind))
