"""Questions to a batch of mixtures of one target, all exact; the work is `univariate`'s."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmdn.distribution import univariate
from skmdn.distribution.batch import check_coverage, check_probability
from skmdn.distribution.density import MixtureDensity
from skmdn.distribution.scale import Array

if TYPE_CHECKING:
    from typing_extensions import Self


class Region(NamedTuple):
    """Highest-density regions of one target: unions of disjoint intervals."""

    intervals: Array
    """Lower and upper ends, ascending, padded with NaN to K intervals a row: (n, K, 2)."""
    counts: npt.NDArray[Any]
    """How many intervals there are, (n,)."""
    log_level: Array
    """The log-density at the ends, (n,): y is in the region if ``logpdf(y) >= log_level``."""


class OneTargetMixture(MixtureDensity):
    """The part of `NormalMixture` whose questions have an exact meaning for one target only."""

    __slots__ = ()

    # --- probabilities and quantiles ---------------------------------------------------------

    def cdf(self, y: npt.ArrayLike) -> Array:
        """P(Y <= y) of one target.

        Parameters
        ----------
        y : array-like of shape (..., n)

        Returns
        -------
        ndarray of shape (..., n)

        Raises
        ------
        ValueError
            If y has another shape, or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[0.5, 0.5]], [[-1.0, 1.0]], [[1.0, 1.0]]).cdf([0.0, 1.0])
        array([0.5      , 0.7386249])
        """
        return self._ask(univariate.cdf, y=y)

    def logcdf(self, y: npt.ArrayLike) -> Array:
        """log P(Y <= y) of one target, exact far into the lower tail.

        Parameters
        ----------
        y : array-like of shape (..., n)

        Returns
        -------
        ndarray of shape (..., n)
            In nats.

        Raises
        ------
        ValueError
            If y has another shape, or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).logcdf(-40.0)
        array([-804.60844201])
        """
        return self._ask(univariate.logcdf, y=y)

    def sf(self, y: npt.ArrayLike) -> Array:
        """P(Y > y) of one target, exact far into the upper tail.

        Parameters
        ----------
        y : array-like of shape (..., n)

        Returns
        -------
        ndarray of shape (..., n)

        Raises
        ------
        ValueError
            If y has another shape, or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).sf(8.0)
        array([6.22096057e-16])
        """
        return self._ask(univariate.sf, y=y)

    def logsf(self, y: npt.ArrayLike) -> Array:
        """log P(Y > y) of one target, exact far into the upper tail.

        Parameters
        ----------
        y : array-like of shape (..., n)

        Returns
        -------
        ndarray of shape (..., n)
            In nats.

        Raises
        ------
        ValueError
            If y has another shape, or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).logsf(40.0)
        array([-804.60844201])
        """
        return self._ask(univariate.logsf, y=y)

    def ppf(self, q: npt.ArrayLike) -> Array:
        """Quantiles of one target: the y with P(Y <= y) = q.

        Parameters
        ----------
        q : array-like
            Probabilities strictly between 0 and 1, broadcast against the n mixtures: several
            levels for all of them have shape (m, 1).

        Returns
        -------
        ndarray of shape (..., n)
            In units of y.

        Raises
        ------
        ValueError
            If q is not inside (0, 1), or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> mixture = NormalMixture([[1.0], [1.0]], [[0.0], [5.0]], [[1.0], [4.0]])
        >>> mixture.ppf([[0.5], [0.975]])
        array([[0.        , 5.        ],
               [1.95996398, 8.91992797]])
        """
        return self._ask_level(univariate.ppf, "q", q)

    def isf(self, q: npt.ArrayLike) -> Array:
        """Upper quantiles of one target: the y with P(Y > y) = q.

        Parameters
        ----------
        q : array-like
            Probabilities strictly between 0 and 1; broadcast as in `ppf`.

        Returns
        -------
        ndarray of shape (..., n)
            In units of y, exact where q is far below the rounding of 1 - q.

        Raises
        ------
        ValueError
            If q is not inside (0, 1), or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).isf(1e-20)
        array([9.26234009])
        """
        return self._ask_level(univariate.isf, "q", q)

    def median(self) -> Array:
        """Median of one target.

        Returns
        -------
        ndarray of shape (n,)
            In units of y.

        Raises
        ------
        ValueError
            If there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[0.5, 0.5]], [[0.0, 4.0]], [[1.0, 1.0]]).median()
        array([2.])
        """
        return self._one_target("median").ppf(0.5)

    def interval(self, coverage: float) -> tuple[Array, Array]:
        """Central, equal-tailed interval of one target.

        Parameters
        ----------
        coverage : float
            Probability of the interval, strictly between 0 and 1.

        Returns
        -------
        lower, upper : ndarray of shape (n,)
            In units of y.

        Raises
        ------
        ValueError
            If the coverage is not inside (0, 1), or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).interval(0.95)
        (array([-1.95996398]), array([1.95996398]))
        """
        mixture = self._one_target("interval")
        tail = (1 - check_coverage(coverage)) / 2
        return mixture.ppf(tail), mixture.isf(tail)

    # --- decisions, region and score ---------------------------------------------------------

    def probability_between(self, a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
        """P(a < Y <= b) of one target, exact in both tails.

        Parameters
        ----------
        a, b : array-like of shape (..., n)
            Ends with a <= b; infinite ones are welcome.

        Returns
        -------
        ndarray of shape (..., n)

        Raises
        ------
        ValueError
            If a exceeds b, or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).probability_between(8.0, np.inf)
        array([6.22096057e-16])
        """
        probability = self._ask(univariate.probability_between, a=a, b=b)
        if np.any(np.greater(a, b)):
            raise ValueError(f"a must not exceed b; got a={a!r:.40}, b={b!r:.40}")
        return probability

    def expected_shortfall(self, level: npt.ArrayLike) -> Array:
        """Mean of the lower tail of one target, E[Y | Y <= ppf(level)].

        Parameters
        ----------
        level : array-like
            Probability of the tail, strictly between 0 and 1; broadcasts as in `ppf`. For the
            upper tail, ask ``-mixture.affine(-1.0).expected_shortfall(level)``.

        Returns
        -------
        ndarray of shape (..., n)
            In units of y.

        Raises
        ------
        ValueError
            If the level is not inside (0, 1), or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).expected_shortfall(0.05)
        array([-2.06271281])
        """
        return self._ask_level(univariate.expected_shortfall, "level", level)

    def expected_improvement(self, best: npt.ArrayLike) -> Array:
        """Expected gain over the best value so far, E[max(Y - best, 0)], of one target.

        Parameters
        ----------
        best : array-like of shape (..., n)
            The largest value so far. Where smaller is better, ask
            ``mixture.affine(-1.0).expected_improvement(-best)``.

        Returns
        -------
        ndarray of shape (..., n)
            In units of y.

        Raises
        ------
        ValueError
            If the best has another shape, or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).expected_improvement(0.0)
        array([0.39894228])
        """
        return self._ask(univariate.expected_improvement, best=best)

    def region(self, coverage: float) -> Region:
        """Highest-density region of one target: the smallest set with this probability.

        Parameters
        ----------
        coverage : float
            Probability of the region, strictly between 0 and 1.

        Returns
        -------
        Region
            A tuple of ``intervals`` (n, K, 2), ``counts`` (n,) and ``log_level`` (n,).

        Raises
        ------
        ValueError
            If the coverage is not inside (0, 1), or for several targets: these have
            `region_level` and `in_region`.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> mixture = NormalMixture([[0.5, 0.5]], [[-5.0, 5.0]], [[1.0, 1.0]])
        >>> mixture.region(0.9).intervals
        array([[[-6.64485363, -3.35514637],
                [ 3.35514637,  6.64485363]]])
        """
        check_coverage(coverage)
        found = univariate.region(coverage, *self._one_target("region")._univariate())
        return Region(self._padded(found[0]), *found[1:])

    def region_probability(self, y: npt.ArrayLike) -> Array:
        """Probability of the highest-density region of one target that y is on the border of.

        P(p(Y) >= p(y)): uniform on (0, 1) where predictions are right.

        Parameters
        ----------
        y : array-like of shape (..., n)

        Returns
        -------
        ndarray of shape (..., n)

        Raises
        ------
        ValueError
            If y has another shape, or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).region_probability(1.96)
        array([0.9500042])
        """
        return self._ask(univariate.region_probability, y=y)

    def crps(self, y: npt.ArrayLike) -> Array:
        """Continuous ranked probability score of one target, E|Y - y| - E|Y - Y'| / 2.

        Closed form (Grimit et al. 2006, Q. J. R. Meteorol. Soc. 132:2925); smaller is better.

        Parameters
        ----------
        y : array-like of shape (..., n)

        Returns
        -------
        ndarray of shape (..., n)
            In units of y.

        Raises
        ------
        ValueError
            If y has another shape, or there are several targets.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[1.0]], [[0.0]], [[1.0]]).crps(0.0)
        array([0.23369498])
        """
        return self._ask(univariate.crps, y=y)

    # --- how they are asked ------------------------------------------------------------------

    def _one_target(self, question: str) -> Self:
        """The mixtures to ask, or one line that points to `marginal`."""
        if self.n_targets > 1:
            raise ValueError(
                f"{question} is defined for one target and this mixture has {self.n_targets}: "
                f"ask marginal(dim).{question}"
            )
        return self._merged()

    def _ask(self, question: Callable[..., Array], **values: npt.ArrayLike) -> Array:
        """Ask at points, each under the name of its argument."""
        mixture = self._one_target(question.__name__)
        points = [self._points(y, name, 1, self._scalar)[..., 0] for name, y in values.items()]
        mixture = mixture._repeated(max(y.shape[-1] for y in points))
        return question(*points, *mixture._univariate())

    def _ask_level(self, question: Callable[..., Array], name: str, level: npt.ArrayLike) -> Array:
        """Ask at probabilities; the answers are values of y."""
        mixture = self._one_target(question.__name__)
        levels = check_probability(name, level)
        if len(self) == 1 and levels.ndim:
            mixture = mixture._repeated(levels.shape[-1])
        try:
            levels = np.broadcast_to(levels, np.broadcast_shapes(levels.shape, (len(mixture),)))
        except ValueError:
            raise ValueError(
                f"{name} must broadcast against the {len(self)} mixtures; several levels for all "
                f"of them have shape (m, 1), got {levels.shape}"
            ) from None
        return self._like_y(question(levels, *mixture._univariate()))

    def _like_y(self, values: Array) -> Array:
        """Values (..., n) of a single target, with the target axis that y has."""
        return values if self._scalar else values[..., None]
