"""Questions about all targets at once: modes, regions, entropy, energy score.

For one target all are exact; for several each says how near it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from skmdn.distribution import multivariate, univariate
from skmdn.distribution.batch import as_floats, check_count, check_coverage, check_share
from skmdn.distribution.density import RandomState, generator, n_leading
from skmdn.distribution.one_target import OneTargetMixture
from skmdn.distribution.rounded import Rounded
from skmdn.distribution.scale import Array

if TYPE_CHECKING:
    from typing_extensions import Self

DRAWS = 1_000  # of what has no closed form
PAIRS = 8  # numbers held for each pair of components while modes or distances are found


class Modes(NamedTuple):
    """Local maxima of each density, padded with NaN to K a row."""

    points: Array
    """Where they are, (n, K) or (n, K, D): ascending for one target, else highest first."""
    logpdf: Array
    """Log-densities there, (n, K), in nats."""
    counts: npt.NDArray[Any]
    """How many there are, (n,)."""


class JointMixture(OneTargetMixture):
    """The part of `NormalMixture` that answers for all targets at once."""

    __slots__ = ()

    def modes(self, *, prominence: float = 0.0) -> Modes:
        """Local maxima of the density.

        For one target all of them are found. For several, those reached by climbing from each
        component's mean (Carreira-Perpinan 2000, IEEE PAMI 22:1318), with Newton's last digits.

        Parameters
        ----------
        prominence : float, default=0.0
            Leave out modes that stand out by less, as a share of the highest density of their row:
            a mode does so by its height above the lowest point on the way to a higher one
            (`scipy.signal.peak_prominences`). A density that is learned ripples, and 0.1 leaves
            most of that out. For one target only.

        Returns
        -------
        Modes
            A tuple of ``points`` (n, K) or (n, K, D), ``logpdf`` (n, K) and ``counts`` (n,).

        Raises
        ------
        ValueError
            If the prominence is no number from 0 to 1, or is not 0 and there are several targets;
            or if some of these are on grids, where each value is a peak.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> mixture = NormalMixture([[0.5, 0.45, 0.05]], [[-3.0, 3.0, 5.5]], [[1.0, 1.0, 0.1]])
        >>> mixture.modes().points.round(3)
        array([[-3.   ,  3.   ,  5.466]])
        >>> mixture.modes(prominence=0.2).points.round(3)
        array([[-3.,  3., nan]])
        """
        merged = self._merged()
        prominence = check_share("prominence", prominence)
        if prominence > 0:
            merged = self._one_target("modes(prominence=...)")
        if self.n_targets == 1:
            points, logpdf, counts = univariate.modes(*merged._univariate(), prominence=prominence)
            points = self._like_y(points)
        else:
            parts = [
                multivariate.modes(part._weights, part._centre()[1], part._normal_scale("modes"))
                for part in merged._parts(merged.n_components**2 * self.n_targets * PAIRS)
            ]
            offsets, logpdf, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
            points = self.mean()[:, None] + offsets
        return Modes(self._padded(points), self._padded(logpdf), counts)

    def region_level(
        self, coverage: float, *, n_samples: int = 10_000, random_state: RandomState = None
    ) -> Array:
        """Log-density at the border of the highest-density region.

        Exact for one target. For several it is the ``1 - coverage`` quantile of the log-density
        of draws (Hyndman 1996, The American Statistician 50:120): the probability of the region
        has a standard error of sqrt(coverage (1 - coverage) / n_samples).

        Parameters
        ----------
        coverage : float
            Probability of the region, strictly between 0 and 1.
        n_samples : int, default=10_000
            Draws a mixture, where there are several targets.
        random_state : int, Generator, RandomState or None, default=None

        Returns
        -------
        ndarray of shape (n,)
            In nats.

        Raises
        ------
        ValueError
            If the coverage is not inside (0, 1), or ``n_samples`` is no positive integer where
            there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).region_level(0.9)
        array([-2.27171026])
        """
        check_coverage(coverage)
        if self.n_targets == 1:
            return self.region(coverage).log_level
        check_count("n_samples", n_samples)
        rng = generator(random_state)
        levels = [
            np.quantile(part.logpdf(part._on_grids(part.sample(n_samples, rng))), 1 - coverage, 0)
            for part in self._parts(n_samples * self.n_targets)
        ]
        return np.concatenate(levels)

    def in_region(
        self,
        y: npt.ArrayLike,
        coverage: float,
        *,
        n_samples: int = 10_000,
        random_state: RandomState = None,
    ) -> npt.NDArray[np.bool_]:
        """Whether y lies in the highest-density region.

        Parameters
        ----------
        y : array-like of shape (..., n) or (..., n, D)
        coverage : float
            Probability of the region, strictly between 0 and 1.
        n_samples : int, default=10_000
            Draws a mixture, where there are several targets; see `region_level`.
        random_state : int, Generator, RandomState or None, default=None

        Returns
        -------
        ndarray of bool, shape (..., n)

        Raises
        ------
        ValueError
            As for `region_level`, or if y has another shape.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> mixture = NormalMixture([[0.5, 0.5]], [[-5.0, 5.0]], [[1.0, 1.0]])
        >>> mixture.in_region([[-5.0], [0.0], [5.0]], coverage=0.9).ravel()
        array([ True, False,  True])
        """
        level = self.region_level(coverage, n_samples=n_samples, random_state=random_state)
        return np.asarray(self.logpdf(self._on_grids(as_floats("y", y))) >= level)

    def entropy(self, *, n_samples: int = 1_000, random_state: RandomState = None) -> Array:
        """Differential entropy -E[log p(Y)].

        For one target by quadrature, to 1e-8. For several, H(Y) = H(k) + H(Y | k) - H(k | Y)
        (Cover & Thomas 2006): the first two are exact, and the last, between 0 and log K, is the
        mean over draws of the entropy of the responsibilities. The standard error is at most
        log(K) / (2 sqrt(n_samples)), and 0 for components far apart.

        Parameters
        ----------
        n_samples : int, default=1_000
            Draws a mixture, where there are several targets.
        random_state : int, Generator, RandomState or None, default=None

        Returns
        -------
        ndarray of shape (n,)
            In nats.

        Raises
        ------
        ValueError
            If ``n_samples`` is no positive integer, where there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).entropy()
        array([1.41893853])
        """
        merged = self._merged()
        if self.n_targets == 1:
            return univariate.entropy(*merged._univariate())
        check_count("n_samples", n_samples)
        rng = generator(random_state)
        of_components = merged._weights * merged._scale.entropy()
        entropy = (entr(merged._weights) + of_components).sum(axis=1)
        for rows in merged._blocks(n_samples * merged.n_components * self.n_targets):
            part = merged[rows]
            posterior = part._posterior(part._component_logpdf(part._draw(n_samples, rng)))
            entropy[rows] -= entr(posterior).sum(axis=-1).mean(axis=0)
        return np.asarray(entropy)

    def energy_score(
        self,
        y: npt.ArrayLike,
        *,
        n_samples: int | None = None,
        random_state: RandomState = None,
    ) -> Array:
        """Energy score E|Y - y| - E|Y - Y'| / 2; smaller is better.

        For one target it is the CRPS. For several (Gneiting & Raftery 2007, JASA 102:359) the
        distances have a closed form where components are isotropic, and are found by quadrature
        to a relative 1e-9 otherwise. That takes work for each pair of components: with dozens of
        them and very many rows, draws are faster, at a standard error of at most
        sqrt(E|Y - y|^2 / n_samples).

        Parameters
        ----------
        y : array-like of shape (..., n) or (..., n, D)
        n_samples : int, default=None
            Pairs of draws a mixture to average over; None is exact, but where some of the targets
            are on grids: there it is 1,000 pairs, the same each time.
        random_state : int, Generator, RandomState or None, default=None

        Returns
        -------
        ndarray of shape (..., n)
            In units of y.

        Raises
        ------
        ValueError
            If y has another shape, or ``n_samples`` is neither None nor a positive integer where
            there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> mixture = NormalMixture([[1.0]], [[[0.0, 0.0]]], [[[[1.0, 0.0], [0.0, 1.0]]]])
        >>> mixture.energy_score([3.0, 4.0])
        array([4.21484271])
        """
        if self.n_targets == 1:
            return self.crps(y)
        mixture, points = self._merged()._meet(y)
        far = np.asarray(np.isinf(points).any(axis=-1))
        points = np.where(np.isinf(points), 0.0, points)
        if n_samples is None and isinstance(self._scale, Rounded):
            n_samples, random_state = DRAWS, 0 if random_state is None else random_state
        width = mixture.n_components * PAIRS
        if n_samples is not None:
            width, rng = check_count("n_samples", n_samples), generator(random_state)
        score = np.empty(points.shape[:-1])
        for rows in mixture._blocks(n_leading(points) * self.n_targets * width):
            part, here = mixture[rows], points[..., rows, :]
            if n_samples is None:
                parameters = part._weights, part._means, part._normal_scale("energy_score")
                score[..., rows] = multivariate.energy_score(here, *parameters)
            else:
                pairs = part._draw(n_samples, rng), part._draw(n_samples, rng)
                score[..., rows] = multivariate.drawn_energy_score(here, *pairs)
        score[far & ~np.isnan(score)] = np.inf
        return score

    def _parts(self, numbers_per_row: int) -> Iterator[Self]:
        """The rows in blocks whose temporaries stay small; one empty block for no rows."""
        return (self[rows] for rows in [*self._blocks(numbers_per_row)] or [slice(0)])
