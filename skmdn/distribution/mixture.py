"""`NormalMixture`: a batch of Gaussian mixtures that answers what people ask of a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skmdn.distribution import bridges, univariate
from skmdn.distribution.batch import as_floats, broadcast
from skmdn.distribution.joint import JointMixture
from skmdn.distribution.rounded import Rounded
from skmdn.distribution.scale import Array

if TYPE_CHECKING:
    from typing_extensions import Self

SINGULAR = 1e-13  # of a target's scale: what is left of it given the others, at least


class NormalMixture(JointMixture):
    r"""A frozen batch of n Gaussian mixtures, usually one a row of X.

    .. math:: p(y) = \sum_k w_k \, N(y; \mu_k, \Sigma_k)

    Every array ends in y's own trailing shape: for a 1-D y a mean is (n,), for an (n, D) y it is
    (n, D). Densities are complete, in nats and per unit of y.

    Parameters
    ----------
    weights : array-like of shape (n, K)
        Non-negative component weights. Each row must sum to 1 within 1e-6, and is divided by its
        sum.
    means : array-like of shape (n, K) or (n, K, D)
        Component means, in units of y.
    covariances : array-like of shape (n, K) or (n, K, D, D)
        Component variances for a 1-D y, symmetric positive definite matrices otherwise.

    Raises
    ------
    ValueError
        If a shape, a weight or a covariance is not as above.

    Notes
    -----
    Of a fitted model, some of several targets may be rounded to grids (counts, grades). ``means``
    and ``covariances`` are then moments of its components, which are not normal.

    Arguments called ``y`` hold one value a mixture, (n,) or (n, D); axes in front of these are
    free; one value alone, a scalar or (D,), is asked of every mixture; and a batch of one mixture
    answers for any number of values. For an (n, 1) y, values of y have that last axis, too.
    Indexing and iterating give batches again:
    ``mixture[3]`` holds one mixture. Questions that have an exact meaning for one target only, a
    quantile say, raise for several and name `marginal`. NumPy's global random state is never
    touched: ``random_state=None`` draws from a fresh generator.

    Examples
    --------
    >>> from skmdn import NormalMixture
    >>> weights, means = [[0.5, 0.5], [0.9, 0.1]], [[-1.0, 1.0], [0.0, 5.0]]
    >>> mixture = NormalMixture(weights, means, covariances=[[1.0, 1.0], [1.0, 1.0]])
    >>> mixture
    <NormalMixture: n_rows=2, n_components=2, n_targets=1, diagonal>
    >>> mixture.mean()
    array([0. , 0.5])
    >>> mixture.logpdf([0.0, 0.0])
    array([-1.41893853, -1.02429863])
    """

    __slots__ = ()

    def mode(self) -> Array:
        """Where the density is highest.

        The highest of `modes`. Of targets on grids it has the values that the densest component
        has, and the others are at the mode they have given these.

        Returns
        -------
        ndarray of shape (n,) or (n, D)
            In units of y.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[0.6, 0.4]], [[0.0, 8.0]], [[4.0, 1.0]]).mode().round(2)
        array([8.])
        """
        if self.n_targets == 1:
            return self._like_y(univariate.mode(*self._merged()._univariate()))
        if not isinstance(self._scale, Rounded):
            return self.modes().points[:, 0]
        candidates = self._scale.likeliest(self._means)
        logpdf = self.logpdf(np.moveaxis(candidates, 1, 0))
        point = candidates[np.arange(len(self)), logpdf.argmax(axis=0)]
        on_grids = [*self._scale.grids]
        rest = [d for d in range(self.n_targets) if d not in on_grids]
        if rest:
            point[:, rest] = self.condition(on_grids, point[:, on_grids]).mode()
        return point

    # --- algebra -----------------------------------------------------------------------------

    def marginal(self, dims: int | Sequence[int]) -> Self:
        """The distribution of some of the targets.

        Parameters
        ----------
        dims : int or sequence of int
            Targets to keep, in this order. An integer gives mixtures of a 1-D y, a sequence of
            length m of an (n, m) y.

        Returns
        -------
        NormalMixture

        Raises
        ------
        ValueError
            If a target is out of range or repeated.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> mixture = NormalMixture([[1.0]], [[[1.0, 2.0]]], [[[[4.0, 1.0], [1.0, 9.0]]]])
        >>> mixture.marginal(1).covariances
        array([[9.]])
        """
        kept = self._check_dims(dims)
        scale = self._scale.marginal(kept)
        return self._from_scale(self._weights, self._means[..., kept], scale, np.ndim(dims) == 0)

    def condition(self, dims: int | Sequence[int], values: npt.ArrayLike) -> Self:
        """The distribution of the other targets once some are known.

        Parameters
        ----------
        dims : int or sequence of int
            Targets that are known, in any order.
        values : array-like of shape (n, len(dims)), or (n,) for an integer
            Their values; one value for all mixtures, or many for a batch of one mixture, will do.

        Returns
        -------
        NormalMixture
            Of an (n, D - len(dims)) y: the other targets in their own order. Weights are updated
            by how well each component explains the values.

        Raises
        ------
        ValueError
            If a target is out of range or repeated, none stays free, or the values do not fit,
            or are so far out that no component has a density there in float64.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> mixture = NormalMixture([[1.0]], [[[0.0, 0.0]]], [[[[1.0, 0.5], [0.5, 1.0]]]])
        >>> given = mixture.condition(1, 2.0)
        >>> given.mean(), given.cov()
        (array([[1.]]), array([[[0.75]]]))
        """
        known = self._check_dims(dims)
        rest = [d for d in range(self.n_targets) if d not in known]
        if not rest:
            raise ValueError(f"dims must leave a target free; got {dims!r} of {self.n_targets}")
        points = self._points(values, "values", len(known), np.ndim(dims) == 0)
        if points.ndim != 2 or not np.isfinite(points).all():
            raise ValueError(f"values must be finite, one set a mixture; got {values!r:.60}")
        mixture = self._repeated(len(points))
        given = points[:, None, :], mixture._means[..., known]
        logpdf, shift, scale = mixture._scale.condition(known, rest, *given)
        weights = mixture._posterior(logpdf)
        if np.isnan(weights).any():
            raise ValueError(
                f"values must lie where a component has a density in float64; got {values!r:.60}"
            )
        return self._from_scale(weights, mixture._means[..., rest] + shift, scale, False)

    def affine(self, A: npt.ArrayLike, b: npt.ArrayLike = 0.0) -> Self:
        """The distribution of A y + b: changed units, sums and differences of targets.

        Parameters
        ----------
        A : array-like of shape (D,) or (M, D); for a 1-D y a scalar
            A vector gives mixtures of a 1-D A·y + b, a matrix of an (n, M) y.
        b : array-like, default=0.0
            Broadcast against the result's `mean`.

        Returns
        -------
        NormalMixture

        Raises
        ------
        ValueError
            If A does not fit y, or the result would be singular; or some of several targets are on
            grids.

        Examples
        --------
        The difference of two targets:

        >>> from skmdn import NormalMixture
        >>> mixture = NormalMixture([[1.0]], [[[3.0, 1.0]]], [[[[1.0, 0.5], [0.5, 1.0]]]])
        >>> difference = mixture.affine([1.0, -1.0])
        >>> difference.mean(), difference.var()
        (array([2.]), array([1.]))
        """
        matrix = self._check_matrix(A)
        rows = np.atleast_2d(matrix)
        scale = self._normal_scale("affine").affine(rows)
        pivots = np.diagonal(scale.factor(), axis1=-2, axis2=-1)
        if not (pivots > SINGULAR * scale.standard_deviations()).all():
            raise ValueError("A must have linearly independent rows; the result is singular")
        scalar = self._scalar or matrix.ndim == 1
        shape = (len(self),) if scalar else (len(self), len(rows))
        shift = broadcast("b", b, shape).reshape(len(self), 1, len(rows))
        return self._from_scale(self._weights, self._means @ rows.T + shift, scale, scalar)

    def _check_matrix(self, A: npt.ArrayLike) -> Array:
        matrix = as_floats("A", A)
        if self._scalar:
            fits, shape = matrix.ndim == 0, "be a scalar"
        else:
            n_targets = self.n_targets
            fits = matrix.ndim in (1, 2) and matrix.shape[-1] == n_targets
            shape = f"have shape ({n_targets},), or (M, {n_targets}) with 1 <= M <= {n_targets}"
            fits = fits and 1 <= len(np.atleast_2d(matrix)) <= n_targets
        if not fits:
            raise ValueError(f"A must {shape}; got shape {matrix.shape}")
        if not np.isfinite(matrix).all():
            raise ValueError("A must be finite")
        return matrix

    # --- bridges -----------------------------------------------------------------------------

    @classmethod
    def from_sklearn(cls, model: Any) -> Self:
        """One mixture from a fitted `sklearn.mixture.GaussianMixture`, of any covariance type.

        Parameters
        ----------
        model : GaussianMixture or BayesianGaussianMixture
            Fitted to data of D features.

        Returns
        -------
        NormalMixture
            A batch of one mixture of D targets.

        Raises
        ------
        TypeError
            If the model is none of these.
        NotFittedError
            If it is not fitted.

        Examples
        --------
        The regression that a joint density of (x, y) implies:

        >>> import numpy as np
        >>> from sklearn.mixture import GaussianMixture
        >>> from skmdn import NormalMixture
        >>> x = np.linspace(-3, 3, 200)
        >>> joint = GaussianMixture(2, random_state=0).fit(np.column_stack([x, np.abs(x)]))
        >>> y_given_x = NormalMixture.from_sklearn(joint).condition(0, [-2.0, 2.0])
        >>> y_given_x.mean().round(1)
        array([[2.],
               [2.]])
        """
        return cls._from_scale(*bridges.from_gaussian_mixture(model), scalar=False)

    def to_scipy(self) -> Any:
        """One mixture as a frozen distribution of scipy.stats.

        Returns
        -------
        rv_frozen or ScipyJointMixture
            For one target every method of a continuous scipy distribution; for several ``pdf``,
            ``logpdf``, ``rvs``, ``mean`` and ``cov`` as a frozen `multivariate_normal` has them.

        Raises
        ------
        ValueError
            If the batch holds more or less than one mixture.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> row = NormalMixture([[0.5, 0.5]], [[-1.0, 1.0]], [[1.0, 1.0]])[0].to_scipy()
        >>> float(row.expect(lambda y: y**2))
        2.0
        """
        if len(self) != 1:
            raise ValueError(f"to_scipy takes one mixture, this batch has {len(self)}: mixture[i]")
        if self.n_targets == 1:
            return bridges.ScipyMixture(self.marginal(0))()
        return bridges.ScipyJointMixture(self)

    def to_torch(self) -> Any:
        """All mixtures as one `torch.distributions.MixtureSameFamily`, in float64 on the CPU.

        Returns
        -------
        MixtureSameFamily
            Of `Normal` components with batch shape (n,) for a 1-D y, of `MultivariateNormal`
            components with event shape (D,) otherwise.

        Raises
        ------
        ValueError
            If there are no rows, or several targets of which some are on grids.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> NormalMixture([[0.5, 0.5]], [[-1.0, 1.0]], [[1.0, 1.0]]).to_torch().mean
        tensor([0.], dtype=torch.float64)
        """
        import torch
        from torch import distributions

        if len(self) == 0:
            raise ValueError("torch has no batch of no mixtures, as this one is")
        means, scale = torch.tensor(self.means), self._normal_scale("to_torch")
        component: distributions.Distribution
        if self._scalar:
            sds = torch.tensor(scale.standard_deviations()[..., 0])
            component = distributions.Normal(means, sds)
        else:
            factor = torch.tensor(scale.factor())
            component = distributions.MultivariateNormal(means, scale_tril=factor)
        weights = distributions.Categorical(logits=torch.tensor(self._log_weights()))
        return distributions.MixtureSameFamily(weights, component)
