"""`NormalMixture`: a batch of Gaussian mixtures that answers what people ask of a distribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.utils import gen_batches

from skmdn.distribution.batch import MixtureBatch, as_floats
from skmdn.distribution.scale import Array, standard_logpdf

if TYPE_CHECKING:
    from typing_extensions import Self

BLOCK = 2**17  # numbers in a temporary: it stays in a core's cache


def row_blocks(n: int, numbers_per_row: int) -> Iterator[slice]:
    """Slices over n rows whose temporaries stay small."""
    return gen_batches(n, max(1, BLOCK // max(1, numbers_per_row)))


class NormalMixture(MixtureBatch):
    __slots__ = ()

    def component_logpdf(self, y: npt.ArrayLike) -> Array:
        """Log-density of each component at y, in nats, without its weight; shape (..., n, K)."""
        mixture, points = self._meet(y)
        residual = points[..., None, :] - mixture._means
        whitened = mixture._scale.whiten(residual)
        return standard_logpdf(whitened) - mixture._scale.log_determinant()

    def _joint_logpdf(self, points: Array) -> Array:
        """log(w_k N_k(y)), shape (..., n, K), for points (..., n, D)."""
        whitened = self._scale.whiten(points[..., None, :] - self._means)
        with np.errstate(divide="ignore"):  # a weight of zero
            log_weights = np.log(self._weights)
        return log_weights + standard_logpdf(whitened) - self._scale.log_determinant()

    def logpdf(self, y: npt.ArrayLike) -> Array:
        mixture, points = self._meet(y)
        logpdf = np.empty(points.shape[:-1])
        per_row = points[..., 0, 0].size * mixture._means[:1].size
        for rows in row_blocks(len(mixture), per_row):
            joint = mixture[rows]._joint_logpdf(points[..., rows, :])
            logpdf[..., rows] = logsumexp(joint, axis=-1)
        return logpdf

    def pdf(self, y: npt.ArrayLike) -> Array:
        return np.exp(self.logpdf(y))

    def responsibilities(self, y: npt.ArrayLike) -> Array:
        mixture, points = self._meet(y)
        return softmax(mixture._joint_logpdf(points), axis=-1)

    # ---- moments
    def _centre(self) -> tuple[Array, Array]:
        """The mean (n, D), and the components' offsets from it (n, K, D).

        Means are averaged as offsets from the heaviest component's: at 1e8 they keep the digits
        that a weighted sum of the means themselves would lose.
        """
        heaviest = self._weights.argmax(axis=1)
        anchor = self._means[np.arange(len(self)), heaviest]
        offsets = self._means - anchor[:, None]
        shift = np.einsum("nk,nkd->nd", self._weights, offsets)
        return anchor + shift, offsets - shift[:, None]

    def mean(self) -> Array:
        return self._unwrap(self._centre()[0])

    def var(self) -> Array:
        offsets = self._centre()[1]
        second = np.square(self._scale.standard_deviations()) + np.square(offsets)
        return self._unwrap(np.einsum("nk,nkd->nd", self._weights, second))

    def std(self) -> Array:
        return np.sqrt(self.var())

    def cov(self) -> Array:
        if self._scalar:
            return self.var()
        cov = np.empty((len(self), self.n_targets, self.n_targets))
        for rows in row_blocks(len(self), self.n_components * self.n_targets**2):
            part = self[rows]
            offsets = part._centre()[1]
            between = offsets[..., :, None] * offsets[..., None, :]
            within = part._scale.covariances()
            cov[rows] = np.einsum("nk,nkde->nde", part._weights, within + between)
        return cov

    # ---- sampling
    def sample(
        self,
        n_samples: int | None = None,
        random_state: int | np.random.Generator | np.random.RandomState | None = None,
        temperature: float = 1.0,
    ) -> Array:
        m = 1 if n_samples is None else n_samples
        rng = generator(random_state)
        mixture = self._tempered(temperature)
        draws = np.empty((m, len(self), self.n_targets))
        for rows in row_blocks(len(self), 2 * m * self.n_targets + self.n_components):
            draws[:, rows] = mixture[rows]._draw(m, rng)
        return self._unwrap(draws[0] if n_samples is None else draws)

    def _tempered(self, temperature: float) -> Self:
        if temperature == 1.0:
            return self
        with np.errstate(divide="ignore"):
            weights = softmax(np.log(self._weights) / temperature, axis=1)
        return self._with(weights, self._means, self._scale.scaled(np.sqrt(temperature)))

    def _draw(self, m: int, rng: np.random.Generator) -> Array:
        """m draws a row, shape (m, n, D): choose a component by inverting its cdf, then colour."""
        n = len(self)
        cumulative = self._weights.cumsum(axis=1)
        cumulative /= cumulative[:, -1:]
        uniform = rng.random((m, n))
        component = np.zeros((m, n), dtype=np.intp)
        for k in range(self.n_components - 1):
            component += cumulative[:, k] <= uniform
        chosen = (np.arange(n), component)
        z = rng.standard_normal((m, n, self.n_targets))
        return self._means[chosen] + self._scale[chosen].colour(z)


def generator(
    random_state: int | np.random.Generator | np.random.RandomState | None,
) -> np.random.Generator:
    """A generator of its own, or the caller's Generator; the global state is never touched."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31, size=4))
    return np.random.default_rng(random_state)
