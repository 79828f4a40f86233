"""The noise models: one table from ``noise_type`` to what the network must output for it.

Every covariance is held through the modified Cholesky factor of its inverse (Pourahmadi 1999,
"Joint mean-covariance models with applications to longitudinal data"),

    Sigma^-1 = T' diag(1 / sigma^2) T,      T unit lower triangular,

so that ``e = T (y - mu)`` are the residuals of regressing each target on the ones before it and
``sigma^2`` their variances. No matrix is ever inverted to train, log|Sigma| is the sum of the log
variances, and one floor on ``sigma^2`` bounds the quadratic form and the determinant alike.
``T = I`` for every model but the full one; the rest differ only in which variances are shared.

Arrays end in ``(components K, targets D, rows B)``: rows last, so that every slice of the
network's raw output is one run of memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from .arrays import Array, namespace

#: Rows for each coupling of all components, times the most that enter one residual, from which on
#: couplings are learned as all else is.
_ROWS_A_COUPLING = 10.0


@dataclass(frozen=True)
class NoiseModel:
    """Which variances of the components are free, and which are one and the same number.

    Parameters
    ----------
    per_component, per_target : bool
        Whether the components, and the targets, have variances of their own.
    coupled : bool
        Whether targets are correlated within a component (``T`` is learned).
    learned : bool
        Whether the variances are outputs of the network, or one given number.
    """

    per_component: bool = True
    per_target: bool = True
    coupled: bool = False
    learned: bool = True

    def of_correlated(self, n_targets: int) -> NoiseModel:
        """Return the model where so many of the targets may be correlated within a component."""
        return replace(self, coupled=self.coupled and n_targets > 1)

    def all_free(self, n_components: int, n_targets: int) -> bool:
        """Return whether every component and target has a variance of its own."""
        return self.n_variances(n_components, n_targets) == n_components * n_targets

    def variance_shape(self, n_components: int, n_targets: int) -> tuple[int, int]:
        """Return the shape of the free variances, broadcastable against ``(K, D)``, if any."""
        if not self.learned:
            return 0, 1
        return (
            n_components if self.per_component else 1,
            n_targets if self.per_target else 1,
        )

    def n_variances(self, n_components: int, n_targets: int) -> int:
        """Return how many raw outputs the variances take."""
        rows, columns = self.variance_shape(n_components, n_targets)
        return rows * columns

    def n_couplings(self, n_components: int, n_targets: int) -> int:
        """Return how many raw outputs the regression coefficients in ``T`` take."""
        return n_components * n_targets * (n_targets - 1) // 2 * self.coupled

    def coupling_unit(self, n_rows: float, n_components: int, n_targets: int) -> float:
        """Return the unit that couplings should be said in: a small one, where rows are few.

        The targets that enter a residual, up to D - 1 of them, add the errors of their couplings
        up. Where there are fewer than ten rows for each coupling and each of these, it is better
        not to know them: in a smaller unit they are learned more slowly, so that means come
        first, and weight decay holds them nearer to zero.
        """
        n_needed = _ROWS_A_COUPLING * self.n_couplings(n_components, n_targets) * (n_targets - 1)
        return min(1.0, (n_rows / max(n_needed, 1.0)) ** 2)

    def n_outputs(self, n_targets: int) -> int:
        """Return how many raw outputs describe one component."""
        return 1 + n_targets + self.n_variances(1, n_targets) + self.n_couplings(1, n_targets)


NOISE_MODELS = {
    "full": NoiseModel(coupled=True),
    "diagonal": NoiseModel(),
    "isotropic": NoiseModel(per_target=False),
    "isotropic_across_components": NoiseModel(per_component=False, per_target=False),
    "fixed": NoiseModel(per_component=False, per_target=False, learned=False),
}


def excess_variance(raw: Array) -> Array:
    """Return the variance above the floor, ``exp(raw)``.

    The logarithm is what is learned: a step then changes a variance by a factor, whatever its
    size. It is bounded so that no input, however far from the training rows, overflows float32,
    not even where a curve is steep (factors of variances, see `MixtureLoss`, come on top).
    """
    return namespace(raw).exp(raw.clip(-60.0, 30.0))


def regressions(n_targets: int) -> Iterator[tuple[int, slice]]:
    """Yield each target but the first, and where its coefficients on those before it stand."""
    start = 0
    for i in range(1, n_targets):
        yield i, slice(start, start + i)
        start += i


def decorrelated(couplings: Array, residuals: Array) -> Array:
    """Return ``T r`` for residuals r (E, K, D, B).

    Parameters
    ----------
    couplings : array of shape (E, K, D (D - 1) / 2, B)
        Regression coefficients of each target on the earlier ones, row by row: ``-T`` below its
        unit diagonal.
    """
    rows = [residuals[:, :, 0]]
    for i, own in regressions(residuals.shape[2]):
        explained = (couplings[:, :, own] * residuals[:, :, :i]).sum(2)
        rows.append(residuals[:, :, i] - explained)
    return namespace(residuals).stack(rows, axis=2)


def covariance_factor(couplings: np.ndarray, sds: np.ndarray) -> np.ndarray:
    """Return the lower Cholesky factor ``L = T^-1 diag(sigma)`` of the covariance.

    Row by row, ``T L = diag(sigma)`` says that each target is what the ones before it explain, and
    a deviation of its own.

    Parameters
    ----------
    couplings : ndarray of shape (E, K, D (D - 1) / 2, B)
        As in `decorrelated`.
    sds : ndarray of shape (E, K, D, B)
        ``sigma``.

    Returns
    -------
    ndarray of shape (E, B, K, D, D)
    """
    rows = np.moveaxis(couplings, -1, 1)
    factor = np.moveaxis(sds, -1, 1)[..., None] * np.eye(sds.shape[2])
    for i, own in regressions(sds.shape[2]):
        factor[..., i, :i] = (rows[..., None, own] @ factor[..., :i, :i])[..., 0, :]
    return factor
