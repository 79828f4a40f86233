"""Density, moments and draws of a batch of Gaussian mixtures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, softmax

from skmdn.distribution import univariate
from skmdn.distribution._roots import blocks
from skmdn.distribution.batch import MixtureBatch, check_count
from skmdn.distribution.rounded import Rounded
from skmdn.distribution.scale import Array

RandomState: TypeAlias = int | np.random.Generator | np.random.RandomState | None

_BLOCK = 2**16  # numbers in a temporary: a few of them stay in a core's cache


class MixtureDensity(MixtureBatch):
    """The part of `NormalMixture` that needs no more than its formula."""

    __slots__ = ()

    # --- density -----------------------------------------------------------------------------

    def component_logpdf(self, y: npt.ArrayLike) -> Array:
        """Log-density of each component at y, without its weight.

        Parameters
        ----------
        y : array-like of shape (..., n) or (..., n, D)

        Returns
        -------
        ndarray of shape (..., n, K)
            In nats.

        Raises
        ------
        ValueError
            If y has another shape.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[0.5, 0.5]], [[0.0, 1.0]], [[1.0, 1.0]]).component_logpdf([0.0])
        array([[-0.91893853, -1.41893853]])
        """
        mixture, points = self._meet(y)
        return mixture._component_logpdf(points)

    def _component_logpdf(self, points: Array) -> Array:
        return self._scale.logpdf(points[..., None, :], self._means)

    def _joint_logpdf(self, points: Array) -> Array:
        """log(w_k N_k(y)), shape (..., n, K), for points (..., n, D)."""
        return self._log_weights() + self._component_logpdf(points)

    def _blocks(self, numbers_per_row: int) -> Iterator[slice]:
        """Slices over the rows whose temporaries stay small."""
        return blocks(len(self), numbers_per_row, _BLOCK)

    def _univariate(self) -> tuple[Array, Array, Array]:
        """Weights, means and standard deviations, (n, K) each, of mixtures of one target."""
        return self._weights, self._means[..., 0], self._scale.standard_deviations()[..., 0]

    def _log_weights(self) -> Array:
        with np.errstate(divide="ignore"):  # a weight of zero
            return np.log(self._weights)

    def logpdf(self, y: npt.ArrayLike) -> Array:
        """Log-density at y, log p(y).

        Parameters
        ----------
        y : array-like of shape (..., n) or (..., n, D)

        Returns
        -------
        ndarray of shape (..., n)
            In nats.

        Raises
        ------
        ValueError
            If y has another shape.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[0.5, 0.5]], [[0.0, 0.0]], [[1.0, 4.0]]).logpdf(0.0)
        array([-1.20662061])
        """
        mixture, points = self._merged()._meet(y)
        if self.n_targets == 1:
            return univariate.logpdf(points[..., 0], *mixture._univariate())
        logpdf = np.empty(points.shape[:-1])
        for rows in mixture._blocks(n_leading(points) * mixture.n_components * self.n_targets):
            joint = mixture[rows]._joint_logpdf(points[..., rows, :])
            logpdf[..., rows] = logsumexp(joint, axis=-1)
        return logpdf

    def pdf(self, y: npt.ArrayLike) -> Array:
        """Density at y, p(y).

        Parameters
        ----------
        y : array-like of shape (..., n) or (..., n, D)

        Returns
        -------
        ndarray of shape (..., n)
            Per unit of y.

        Raises
        ------
        ValueError
            If y has another shape.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).pdf([0.0])
        array([0.39894228])
        """
        return np.exp(self.logpdf(y))

    def responsibilities(self, y: npt.ArrayLike) -> Array:
        """Probability that each component made y, w_k N_k(y) / p(y).

        Parameters
        ----------
        y : array-like of shape (..., n) or (..., n, D)

        Returns
        -------
        ndarray of shape (..., n, K)
            Sums to 1 over the components; NaN where none has a density in float64.

        Raises
        ------
        ValueError
            If y has another shape.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[0.5, 0.5]], [[-1.0, 1.0]], [[1.0, 1.0]]).responsibilities(1.0)
        array([[0.11920292, 0.88079708]])
        """
        mixture, points = self._meet(y)
        return mixture._posterior(mixture._component_logpdf(points))

    def _posterior(self, component_logpdf: Array) -> Array:
        """Weights after seeing values with these densities (..., n, K).

        The densities are compared before the weights join them: far out, where they are huge and
        nearly equal, the weights would drown in their rounding.
        """
        with np.errstate(invalid="ignore"):  # where all are zero, nothing tells them apart
            relative = component_logpdf - component_logpdf.max(axis=-1, keepdims=True)
        return np.asarray(softmax(self._log_weights() + relative, axis=-1))

    # --- moments -----------------------------------------------------------------------------

    def mean(self) -> Array:
        """Expected value, E[y].

        Returns
        -------
        ndarray of shape (n,) or (n, D)
            In units of y.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[0.75, 0.25]], [[0.0, 4.0]], [[1.0, 1.0]]).mean()
        array([1.])
        """
        return self._unwrap(self._centre()[0])

    def var(self) -> Array:
        """Variance of each target, by the law of total variance.

        Returns
        -------
        ndarray of shape (n,) or (n, D)
            In squared units of y.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[0.75, 0.25]], [[0.0, 4.0]], [[1.0, 1.0]]).var()
        array([4.])
        """
        offsets = self._centre()[1]
        second = np.square(self._scale.standard_deviations()) + np.square(offsets)
        return self._unwrap(np.einsum("nk,nkd->nd", self._weights, second))

    def component_var(self) -> Array:
        """Variance of each target in each component.

        Returns
        -------
        ndarray of shape (n, K) or (n, K, D)
            In squared units of y.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[0.75, 0.25]], [[0.0, 4.0]], [[1.0, 2.0]]).component_var()
        array([[1., 2.]])
        """
        return self._unwrap(np.square(self._scale.standard_deviations()))

    def std(self) -> Array:
        """Standard deviation of each target.

        Returns
        -------
        ndarray of shape (n,) or (n, D)
            In units of y.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[0.75, 0.25]], [[0.0, 4.0]], [[1.0, 1.0]]).std()
        array([2.])
        """
        return np.sqrt(self.var())

    def cov(self) -> Array:
        """Covariance matrix of the targets.

        Returns
        -------
        ndarray of shape (n, D, D), or (n,) for a 1-D y
            In units of the targets multiplied; for a 1-D y the variance.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> means = [[[-1.0, -1.0], [1.0, 1.0]]]
        >>> NormalMixture([[0.5, 0.5]], means, [[np.eye(2), np.eye(2)]]).cov()
        array([[[2., 1.],
                [1., 2.]]])
        """
        if self._scalar:
            return self.var()
        cov = np.empty((len(self), self.n_targets, self.n_targets))
        for rows in self._blocks(self.n_components * self.n_targets**2):
            part = self[rows]
            offsets = part._centre()[1]
            between = offsets[..., :, None] * offsets[..., None, :]
            cov[rows] = np.einsum(
                "nk,nkde->nde", part._weights, part._scale.covariances() + between
            )
        return cov

    def _centre(self) -> tuple[Array, Array]:
        """The mean (n, D), and the components' offsets from it (n, K, D).

        Means are averaged as offsets from the heaviest component's: near 1e8 they keep the digits
        that a weighted sum of the means themselves would lose.
        """
        heaviest = self._weights.argmax(axis=1)
        anchor = self._means[np.arange(len(self)), heaviest]
        offsets = self._means - anchor[:, None]
        shift = np.einsum("nk,nkd->nd", self._weights, offsets)
        return anchor + shift, offsets - shift[:, None]

    # --- sampling ----------------------------------------------------------------------------

    def sample(
        self,
        n_samples: int | None = None,
        random_state: RandomState = None,
    ) -> Array:
        """Draw from each mixture.

        Parameters
        ----------
        n_samples : int, default=None
            Draws a mixture; None draws one and leaves the leading axis away.
        random_state : int, Generator, RandomState or None, default=None
            Equal integers give equal draws.

        Returns
        -------
        ndarray of shape (n,) or (n, D), or (n_samples, n) or (n_samples, n, D)

        Raises
        ------
        ValueError
            If ``n_samples`` is not positive.
        TypeError
            If ``random_state`` is none of these.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> mixture = NormalMixture([[0.5, 0.5]], [[-1.0, 1.0]], [[1.0, 1.0]])
        >>> mixture.sample(10, random_state=0).shape
        (10, 1)
        """
        m = 1 if n_samples is None else check_count("n_samples", n_samples)
        rng = generator(random_state)
        draws = np.empty((m, len(self), self.n_targets))
        for rows in self._blocks(m * self.n_targets + self.n_components):
            draws[:, rows] = self[rows]._draw(m, rng)
        return self._unwrap(draws[0] if n_samples is None else draws)

    def _draw(self, m: int, rng: np.random.Generator) -> Array:
        """m draws a row, shape (m, n, D)."""
        shape = (m, len(self))
        return self._transport(rng.random(shape), rng.standard_normal((*shape, self.n_targets)))

    def _transport(self, uniform: Array, normal: Array) -> Array:
        """Draws (m, n, D) that uniform (m, n) and standard normal (m, n, D) numbers turn into.

        The former choose a component, inverting its cdf, which colours the latter.
        """
        cumulative = self._weights.cumsum(axis=1)
        cumulative /= cumulative[:, -1:]
        component = np.zeros((len(uniform), len(self)), dtype=np.intp)
        for k in range(self.n_components - 1):
            component += cumulative[:, k] <= uniform
        chosen = (np.arange(len(self)), component)
        return self._scale[chosen].draw(normal, self._means[chosen])

    def _on_grids(self, draws: Array) -> Array:
        """Points (..., n, D) at the values of grids that they are about: y is at these."""
        return self._scale.on_grids(draws) if isinstance(self._scale, Rounded) else draws


def n_leading(points: Array) -> int:
    """How many sets of points (..., n, D) there are."""
    return math.prod(points.shape[:-2])


def generator(random_state: RandomState) -> np.random.Generator:
    """A generator of its own, or the caller's Generator; the global state is never touched."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31, size=4))
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise type(error)(f"random_state: {error}") from None
