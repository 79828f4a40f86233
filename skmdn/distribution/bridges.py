"""One mixture as a scipy.stats distribution, and from a scikit-learn GaussianMixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.utils.validation import check_is_fitted

from skmdn.distribution.density import RandomState
from skmdn.distribution.joint import JointMixture
from skmdn.distribution.scale import Array, Diagonal, Scale, from_covariances


class ScipyMixture(stats.rv_continuous):
    """One mixture of one target: every method of `scipy.stats.rv_continuous`, asked exactly."""

    def __init__(self, mixture: JointMixture, name: str = "normal_mixture", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self._mixture = mixture

    def _updated_ctor_param(self) -> dict[str, Any]:  # what scipy freezes and pickles with
        return {**super()._updated_ctor_param(), "mixture": self._mixture}

    def _pdf(self, x: Array) -> Array:
        return self._mixture.pdf(x)

    def _logpdf(self, x: Array) -> Array:
        return self._mixture.logpdf(x)

    def _cdf(self, x: Array) -> Array:
        return self._mixture.cdf(x)

    def _logcdf(self, x: Array) -> Array:
        return self._mixture.logcdf(x)

    def _sf(self, x: Array) -> Array:
        return self._mixture.sf(x)

    def _logsf(self, x: Array) -> Array:
        return self._mixture.logsf(x)

    def _ppf(self, q: Array) -> Array:
        return self._mixture.ppf(q)

    def _isf(self, q: Array) -> Array:
        return self._mixture.isf(q)

    def _munp(self, n: int) -> float:
        return self._moment(n, 0.0)

    def _stats(self) -> tuple[float, ...]:
        mean, variance = self._mixture.mean()[0], self._mixture.var()[0]
        skewness = self._moment(3, mean) / variance**1.5
        return mean, variance, skewness, self._moment(4, mean) / variance**2 - 3

    def _moment(self, n: int, centre: float) -> float:
        """E[(Y - c)^n], by m_n = mu m_(n-1) + (n-1) sigma^2 m_(n-2) in each component."""
        means = self._mixture.means[0] - centre
        before, moments = np.zeros_like(means), np.ones_like(means)
        for order in range(1, n + 1):
            variances = self._mixture.covariances[0]
            before, moments = moments, means * moments + (order - 1) * variances * before
        return float(self._mixture.weights[0] @ moments)

    def _entropy(self) -> Array:
        return self._mixture.entropy()[0]

    def _rvs(self, size: Any = None, random_state: RandomState = None) -> Array:
        count = int(np.prod(size))
        draws = self._mixture.sample(count, random_state) if count else np.empty(0)
        return draws.reshape(size)


class ScipyJointMixture:
    """One mixture of several targets, with the methods of a frozen `multivariate_normal`."""

    def __init__(self, mixture: JointMixture):
        self.mean, self.cov = mixture.mean()[0], mixture.cov()[0]
        self._mixture = mixture

    def logpdf(self, x: npt.ArrayLike) -> Array:
        """Log-density at x, for x of shape (D,) or (..., m, D)."""
        logpdf = self._mixture.logpdf(x)
        return logpdf[0] if np.ndim(x) == 1 else logpdf

    def pdf(self, x: npt.ArrayLike) -> Array:
        """Density at x; see `logpdf`."""
        return np.exp(self.logpdf(x))

    def rvs(self, size: int | tuple[int, ...] = 1, random_state: RandomState = None) -> Array:
        """Draws of shape (size, D), or (*size, D) for several numbers, or (D,) for one."""
        draws = self._mixture.sample(int(np.prod(size)), random_state)[:, 0]
        return draws[0] if len(draws) == 1 else draws.reshape(*np.atleast_1d(size), -1)


def from_gaussian_mixture(model: Any) -> tuple[Array, Array, Scale]:
    """Weights, means and scale of a fitted `sklearn.mixture.GaussianMixture`, as one row."""
    from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

    if not isinstance(model, GaussianMixture | BayesianGaussianMixture):
        kind = type(model).__name__
        raise TypeError(f"model must be a GaussianMixture or BayesianGaussianMixture; got {kind}")
    check_is_fitted(model, "covariances_")
    # Copies: the model may be fitted again, and to single precision.
    weights, means = (np.array(part[None], np.float64) for part in (model.weights_, model.means_))
    weights /= weights.sum()
    covariances = np.asarray(model.covariances_, dtype=np.float64)
    if model.covariance_type in ("diag", "spherical"):
        variances = covariances.reshape(1, len(covariances), -1)
        return weights, means, Diagonal(np.sqrt(np.broadcast_to(variances, means.shape)))
    shape = (*means.shape, means.shape[-1])
    return weights, means, from_covariances(np.broadcast_to(covariances, shape))  # full, tied
