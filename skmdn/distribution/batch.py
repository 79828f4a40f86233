"""A frozen batch of Gaussian mixtures: what it holds, and how its arguments meet its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skmdn.distribution.rounded import ComponentScale, Rounded, join
from skmdn.distribution.scale import Array, Diagonal, Scale, from_covariances

if TYPE_CHECKING:
    from typing_extensions import Self

WEIGHT_TOLERANCE = 1e-6  # what a row of float32 weights may miss 1 by, with room to spare


class MixtureBatch:
    """Storage, checks and indexing of `NormalMixture`.

    Inside, every mixture has a target axis: means are (n, K, D), with D = 1 where y is 1-D, and
    ``_scalar`` remembers that the axis is to be dropped on the way out.
    """

    __slots__ = ("_means", "_scalar", "_scale", "_weights")
    _weights: Array
    _means: Array
    _scale: ComponentScale
    _scalar: bool

    def __init__(
        self, weights: npt.ArrayLike, means: npt.ArrayLike, covariances: npt.ArrayLike
    ) -> None:
        locations = as_floats("means", means).copy()
        if locations.ndim not in (2, 3) or 0 in locations.shape[1:]:
            raise ValueError(
                "means must have shape (n, K), or (n, K, D) for several targets; "
                f"got {locations.shape}"
            )
        if not np.isfinite(locations).all():
            raise ValueError("means must be finite")
        scalar = locations.ndim == 2
        self._weights = _check_weights(weights, locations.shape[:2])
        self._means = locations[..., None] if scalar else locations
        self._scale = _check_covariances(covariances, self._means.shape, scalar)
        self._scalar = scalar

    @classmethod
    def _from_scale(
        cls, weights: Array, means: Array, scale: ComponentScale, scalar: bool
    ) -> Self:
        """Trusted and unchecked: weights (n, K), means (n, K, D), and a scale over (n, K).

        One target that is rounded has a component for each value: all its questions are answered.
        """
        if isinstance(scale, Rounded) and means.shape[2] == 1:
            weights, means, scale = scale.split(weights, means)
        self = cls.__new__(cls)
        self._weights, self._means, self._scale, self._scalar = weights, means, scale, scalar
        return self

    def _with(self, weights: Array, means: Array, scale: ComponentScale) -> Self:
        """New mixtures over targets of the same shape."""
        return self._from_scale(weights, means, scale, self._scalar)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._from_scale, (self._weights, self._means, self._scale, self._scalar)

    @property
    def weights(self) -> Array:
        """Component weights, shape (n, K); each row sums to 1."""
        return _read_only(self._weights)

    @property
    def means(self) -> Array:
        """Component means in units of y, shape (n, K) or (n, K, D)."""
        return _read_only(self._unwrap(self._means))

    @property
    def covariances(self) -> Array:
        """Component variances (n, K) or covariance matrices (n, K, D, D), built when asked for."""
        if self._scalar:
            return np.square(self._scale.standard_deviations()[..., 0])
        return self._scale.covariances()

    @property
    def n_components(self) -> int:
        """Number of components K of every mixture."""
        return self._weights.shape[1]

    @property
    def n_targets(self) -> int:
        """Number of targets D; 1 where y is 1-D."""
        return self._means.shape[2]

    def __len__(self) -> int:
        """Return the number of mixtures n."""
        return self._weights.shape[0]

    def __getitem__(self, rows: Any) -> Self:
        """Select rows by an integer, slice, mask or index array; always a batch again.

        ``mixture[i]`` is a batch of one, so that each answer keeps its row axis.
        """
        if isinstance(rows, (int, np.integer)) and not isinstance(rows, bool):
            row = range(len(self))[rows]  # an IndexError of Python's own beyond the end
            rows = slice(row, row + 1)
        weights = self._weights[rows]
        if isinstance(rows, tuple) or weights.ndim != 2:
            raise IndexError("a mixture is indexed by rows alone; for targets, use marginal(dims)")
        return self._with(weights, self._means[rows], self._scale[rows])

    def __iter__(self) -> Iterator[Self]:
        """Iterate over the rows, each a batch of one."""
        return (self[row] for row in range(len(self)))

    def __array__(self, *_: Any, **__: Any) -> Array:
        """Refuse: NumPy would take the rows of rows of rows for an array's axes."""
        raise TypeError("a NormalMixture is no array; its weights, means and covariances are")

    def __repr__(self) -> str:
        sizes = f"n_rows={len(self)}, n_components={self.n_components}, n_targets={self.n_targets}"
        return f"<{type(self).__name__}: {sizes}, {type(self._scale).__name__.lower()}>"

    @classmethod
    def concatenate(cls, mixtures: Iterable[MixtureBatch]) -> Self:
        """Stack batches row upon row.

        Parameters
        ----------
        mixtures : iterable of NormalMixture
            Of equal numbers of components and targets.

        Returns
        -------
        NormalMixture
            With as many rows as all of them together.

        Raises
        ------
        ValueError
            If the mixtures differ in shape, or there are none; or if targets are on other grids,
            as those of another fit may be.
        TypeError
            If something else is among them.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> one = NormalMixture([[1.0]], [[0.0]], [[1.0]])
        >>> len(NormalMixture.concatenate([one, one, one]))
        3
        """
        mixtures = _listed(mixtures)
        if len({(m.n_components, m.n_targets, m._scalar) for m in mixtures}) != 1:
            shapes = [m.means.shape for m in mixtures]
            raise ValueError(f"mixtures must share K and the shape of y; got means of {shapes}")
        weights = np.concatenate([m._weights for m in mixtures])
        return cls._join(mixtures, weights, axis=0)

    @classmethod
    def mix(cls, mixtures: Iterable[MixtureBatch]) -> Self:
        """Pool the densities of the same rows with equal weights: an ensemble.

        Parameters
        ----------
        mixtures : iterable of NormalMixture
            The members' mixtures of the same rows.

        Returns
        -------
        NormalMixture
            Its components are the members' one after another (member-major).

        Raises
        ------
        ValueError
            If the mixtures differ in rows or targets, or there are none; or if targets are on
            other grids, as those of another fit may be.
        TypeError
            If something else is among them.

        Examples
        --------
        >>> from skmdn import NormalMixture
        >>> left = NormalMixture([[1.0]], [[-1.0]], [[1.0]])
        >>> right = NormalMixture([[1.0]], [[3.0]], [[1.0]])
        >>> NormalMixture.mix([left, right]).mean()
        array([1.])
        """
        mixtures = _listed(mixtures)
        if len({(len(m), m.n_targets, m._scalar) for m in mixtures}) != 1:
            shapes = [m.means.shape for m in mixtures]
            raise ValueError(f"mixtures must share rows and targets; got means of {shapes}")
        weights = np.concatenate([m._weights for m in mixtures], axis=1) / len(mixtures)
        return cls._join(mixtures, weights, axis=1)

    @classmethod
    def _join(cls, mixtures: Sequence[MixtureBatch], weights: Array, axis: int) -> Self:
        means = np.concatenate([m._means for m in mixtures], axis=axis)
        scale = join([m._scale for m in mixtures], axis=axis)
        return cls._from_scale(weights, means, scale, mixtures[0]._scalar)

    def _normal_scale(self, question: str) -> Scale:
        """The scale, or one line that says why there is no answer."""
        if isinstance(self._scale, Rounded):
            raise ValueError(
                f"{question} has no closed form where targets are on grids, here "
                f"{', '.join(map(str, self._scale.grids))}: use draws, or condition on those"
            )
        return self._scale

    def _unwrap(self, values: Array) -> Array:
        """Drop the target axis, the last, where y is 1-D."""
        return values[..., 0] if self._scalar else values

    def _merged(self) -> Self:
        """The same distributions, with components that are equal in every row made one.

        Marginals of an ensemble with open atoms have dozens of them, and many questions take as
        long as there are components, or pairs of them. What ``n_components`` sizes has to be
        `_padded` again.
        """
        if len(self) == 0 or len(np.unique(self._means[0, :, 0])) == self.n_components:
            return self
        numbers = np.concatenate([self._means, self._scale.numbers()], axis=2)
        _, first, positions = np.unique(numbers[0], axis=0, return_index=True, return_inverse=True)
        twins = first[positions.ravel()]  # which component each is like in the first row
        equal = (numbers == numbers[:, twins]).all(axis=(0, 2))
        twins = np.where(equal, twins, np.arange(self.n_components))
        order = np.argsort(twins, kind="stable")
        kept, starts = np.unique(twins[order], return_index=True)
        weights = np.add.reduceat(self._weights[:, order], starts, axis=1)
        return self._with(weights, self._means[:, kept], self._scale[:, kept])

    def _padded(self, values: Array) -> Array:
        """Values (n, k, ...) of fewer components, filled up with NaN to (n, K, ...)."""
        missing = self.n_components - values.shape[1]
        widths = [(0, 0), (0, missing), *[(0, 0)] * (values.ndim - 2)]
        return np.pad(values, widths, constant_values=np.nan) if missing else values

    def _repeated(self, n: int) -> Self:
        """One mixture as n equal rows, without a copy."""
        if len(self) == n:
            return self
        return self._with(
            np.broadcast_to(self._weights, (n, self.n_components)),
            np.broadcast_to(self._means, (n, *self._means.shape[1:])),
            self._scale.broadcast_to((n, self.n_components)),
        )

    def _meet(self, y: npt.ArrayLike) -> tuple[Self, Array]:
        """The mixtures and points (..., n, D) that answer for y."""
        points = self._points(y, "y", self.n_targets, self._scalar)
        return self._repeated(points.shape[-2]), points

    def _points(self, y: npt.ArrayLike, name: str, n_targets: int, scalar: bool) -> Array:
        """Values of n_targets targets as points (..., n, n_targets).

        One point (a scalar, or one row) is asked of every mixture; one mixture answers for any
        number of points; leading axes are free.
        """
        points = as_floats(name, y)
        is_number = points.ndim == 0 and n_targets == 1
        points = points[..., None] if scalar or is_number else points
        if points.ndim == 1:
            points = np.broadcast_to(points, (len(self), *points.shape))
        fits = points.ndim > 1 and points.shape[-1] == n_targets
        if not fits or len(self) not in (1, points.shape[-2]):
            row = "" if scalar else f", {n_targets}"
            raise ValueError(
                f"{name} must have shape (..., {len(self)}{row}), one value a mixture, "
                f"or be one value for all; got {np.shape(y)}"
            )
        return points

    def _check_dims(self, dims: int | Sequence[int]) -> list[int]:
        """Targets as a list of distinct non-negative integers."""
        selected = np.atleast_1d(np.asarray(dims))
        n_targets = self.n_targets
        if selected.ndim > 1 or selected.size == 0 or selected.dtype.kind not in "iu":
            raise ValueError(f"dims must be an integer or a sequence of integers; got {dims!r}")
        if not ((-n_targets <= selected) & (selected < n_targets)).all():
            raise ValueError(f"dims must lie in 0..{n_targets - 1}; got {dims!r}")
        positions = [int(d) % n_targets for d in selected]
        if len(set(positions)) < len(positions):
            raise ValueError(f"dims must not repeat a target; got {dims!r}")
        return positions


def as_floats(name: str, values: npt.ArrayLike) -> Array:
    """A float64 array, or one line that names the argument."""
    try:
        if values is None or np.iscomplexobj(values):
            raise TypeError
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be a regular array of numbers; got {values!r:.60}"
        ) from None


def _listed(mixtures: Iterable[MixtureBatch]) -> list[MixtureBatch]:
    """Mixtures as a list, or one line that names the argument."""
    found = [*mixtures] if isinstance(mixtures, Iterable) else [mixtures]
    for other in found:
        if not isinstance(other, MixtureBatch):
            raise TypeError(f"mixtures must be NormalMixtures; got {other!r:.60}")
    return found


def weighted_mean(values: Array, weights: Array) -> Array:
    """The mean over rows (n, ...) by weights (n,) of any size.

    Sums of huge weights would overflow; and what a row of no weight has may be infinite.
    """
    there = weights > 0
    return np.asarray(np.average(values[there], axis=0, weights=weights[there] / weights.max()))


def check_count(name: str, value: int) -> int:
    """A positive integer, or one line that names the argument."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer; got {value!r}")
    return int(value)


def check_probability(name: str, values: npt.ArrayLike) -> Array:
    """Probabilities strictly between 0 and 1, or one line that names the argument."""
    checked = as_floats(name, values)
    if not ((checked > 0) & (checked < 1)).all():
        raise ValueError(f"{name} must lie strictly between 0 and 1; got {values!r:.60}")
    return checked


def check_coverage(coverage: float) -> float:
    """One probability strictly between 0 and 1, or one line that says so."""
    if check_probability("coverage", coverage).ndim:
        raise ValueError(f"coverage must be one number; got {coverage!r:.60}")
    return float(coverage)


def check_share(name: str, value: float) -> float:
    """One number from 0 to 1, or one line that says so."""
    checked = as_floats(name, value)
    if checked.ndim or not 0 <= checked <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1; got {value!r:.60}")
    return float(checked)


def broadcast(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> Array:
    """Finite values of this shape, or one line that names the argument."""
    checked = as_floats(name, values)
    if not np.isfinite(checked).all():
        raise ValueError(f"{name} must be finite")
    try:
        return np.broadcast_to(checked, shape)
    except ValueError:
        raise ValueError(f"{name} must broadcast to {shape}; got shape {checked.shape}") from None


def _read_only(values: Array) -> Array:
    view = values.view()
    view.flags.writeable = False
    return view


def _check_weights(weights: npt.ArrayLike, shape: tuple[int, ...]) -> Array:
    """Non-negative rows that sum to 1 within WEIGHT_TOLERANCE, made to sum to 1 exactly."""
    checked = as_floats("weights", weights)
    if checked.shape != shape:
        raise ValueError(f"weights must have the shape (n, K) = {shape}; got {checked.shape}")
    if not (checked >= 0).all():
        raise ValueError(f"weights must be non-negative numbers; the least is {checked.min()}")
    totals = checked.sum(axis=1, keepdims=True)
    if not (np.abs(totals - 1) <= WEIGHT_TOLERANCE).all():
        row = int(np.argmax(np.abs(totals - 1)))
        raise ValueError(f"weights must sum to 1 in each row; row {row} sums to {totals[row, 0]}")
    return np.asarray(checked / totals)


def _check_covariances(covariances: npt.ArrayLike, shape: tuple[int, ...], scalar: bool) -> Scale:
    checked = as_floats("covariances", covariances)
    expected = shape[:2] if scalar else (*shape, shape[-1])
    if checked.shape != expected:
        raise ValueError(f"covariances must have shape {expected}; got {checked.shape}")
    if not np.isfinite(checked).all():
        raise ValueError("covariances must be finite")
    if scalar:
        if not (checked > 0).all():
            raise ValueError(f"covariances must be positive; the least is {checked.min()}")
        return Diagonal(np.sqrt(checked)[..., None])
    return _factorised(checked)


def _factorised(covariances: Array) -> Scale:
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    asymmetry = np.abs(covariances - covariances.swapaxes(-1, -2))
    sds = np.sqrt(np.maximum(variances, 0.0))
    if not (asymmetry <= 1e-6 * sds[..., :, None] * sds[..., None, :]).all():
        raise ValueError("covariances must be symmetric with a positive diagonal")
    try:
        return from_covariances(covariances)
    except np.linalg.LinAlgError:
        raise ValueError("covariances must be positive definite") from None
