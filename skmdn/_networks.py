"""From fitted networks to mixtures in the units of y."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import norm

from skmdn._conformal import PredictionSets
from skmdn._line import Line
from skmdn._out_of_fold import HeldOut, fingerprints
from skmdn._pooling import atom_weights, grids_of, pooled, rounded, values_of
from skmdn._prediction import row_blocks
from skmdn._targets import TargetModel
from skmdn.distribution.mixture import NormalMixture
from skmdn.distribution.scale import Array
from skmdn.learning.features import NormalScores
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.network import MixtureNetwork
from skmdn.learning.rows import blocks, dense
from skmdn.learning.threads import threads_for

#: Numbers of a pass through the network that stay in a core's cache.
_CACHED_NUMBERS = 2**18
#: Weights that take as much memory as a component with all that is asked of it.
_WEIGHTS_A_COMPONENT = 2


class VarianceDecomposition(NamedTuple):
    """Parts of the predictive variance, (n,) or (n, D) each, in squared units of y."""

    within_components: Array
    between_components: Array
    between_members: Array


class NetworkMixtures(PredictionSets):
    """Rows checked, and turned into mixtures by networks that `MDNRegressor` has fitted."""

    device: str
    atoms_: np.ndarray
    network_: MixtureNetwork
    line_: Line | None
    n_estimators_: int
    _loss: MixtureLoss
    _features: NormalScores
    _targets: TargetModel
    _member_factor: float
    _pooled_factors: float | Array
    _outlier_share: float
    _held_out: HeldOut

    def oof_mixture(self, X):
        """Return the distribution of each training row by the networks that held it out.

        Out-of-fold densities are honest: they can be scored, and prediction sets calibrated on
        them, without a second data set.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The rows `fit` was given, in the same order.

        Returns
        -------
        NormalMixture
            Of those that held a row out; components of the other networks have weight zero.

        Raises
        ------
        ValueError
            If these are not the rows `fit` was given, in the same order, `partial_fit` was called
            since, or some row was held out by no network: that takes ``early_stopping`` and a
            ``validation_fraction`` of at least ``1 / n_estimators_``.
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-1, 1, size=(60, 2))
        >>> y = np.sin(9 * X).sum(axis=1) + 0.1 * rng.normal(size=60)
        >>> model = MDNRegressor(n_estimators=5, random_state=0).fit(X, y)
        >>> bool(model.oof_mixture(X).logpdf(y).mean() < model.score(X, y))
        True
        """
        X = self._check_rows(X)
        holders, line_shift = self._holders(X), self._line_shift_left_out()
        return self._mixtures_from(X, self._raw(X), self._member_factor, holders, line_shift)

    def predict_atoms(self, X):
        """Return how likely each of ``atoms_`` is: how often y has just that value.

        In the mixture of a row, an atom is a Gaussian with the least variance that ``reg_covar``
        allows, half of which lies on either side. So never ask ``sf`` or ``cdf`` at an atom itself
        but beside it: for counts ``sf(0.5)``, not ``sf(0)``. A quantile inside an atom equals it
        up to a few of its widths, and an interval that ends at an atom may exclude part of it.

        Of several targets, an atom may leave some open (NaN). The probability that a target is
        zero is the sum over all atoms that have a zero there, (0, NaN) and (0, 0), say.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_atoms)

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as it was in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-1, 1, size=(300, 1))
        >>> y = np.where(rng.random(300) < 0.4, 0.0, np.exp(X[:, 0] + rng.normal(size=300)))
        >>> model = MDNRegressor(n_estimators=1, random_state=0).fit(X, y)
        >>> model.atoms_
        array([0.])
        >>> bool(abs(model.predict_atoms(X).mean() - 0.4) < 0.05)
        True
        """
        return self._answers(
            X, lambda m: atom_weights(m, self._loss, self._targets.grids, self.n_estimators_)
        )

    def predict_variance_decomposition(self, X):
        """Split the conditional variance by the law of total variance.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        VarianceDecomposition
            A tuple of ``within_components`` and ``between_components``, the noise that networks
            admit, within each of their components and between these, and ``between_members``,
            how far their means are apart, which more data would settle. Each is shaped like y, in
            squared units of y; their sum is `predict_var`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as it was in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skmdn import MDNRegressor
        >>> X = np.random.default_rng(0).uniform(-1, 1, size=(300, 1))
        >>> model = MDNRegressor(n_estimators=5, random_state=0).fit(X, np.sin(3 * X[:, 0]))
        >>> parts = model.predict_variance_decomposition(X)
        >>> bool(np.allclose(sum(parts), model.predict_var(X)))
        True
        """
        X = self._check_rows(X)
        rows = row_blocks(X.shape[0], self._numbers_per_row())
        parts = zip(*(self._variance_parts(X[block]) for block in rows), strict=True)
        return VarianceDecomposition(*(np.concatenate(part) for part in parts))

    def _variance_parts(self, X):
        """Return the parts of the variance of checked rows."""
        raw = self._raw(X)
        factors = np.broadcast_to(self._pooled_factors, len(raw))
        members = [
            self._mixtures_from(X, raw[[e]], factor) for e, factor in enumerate(factors[:, None])
        ]
        total = np.mean([mixture.var() for mixture in members], axis=0)
        within = np.mean([_mean_component_var(mixture) for mixture in members], axis=0)
        # Mixed, the members have one component for gross errors, at the mean of all.
        of_all = 1.0 - self._outlier_share
        apart = of_all * np.var([mixture.mean() for mixture in members], axis=0)
        return within, total - within, apart

    def _network_mixtures(self, X):
        """Return each network's own mixtures of checked rows, as of those it held out."""
        raw = self._raw(X)
        return [self._mixtures_from(X, raw[[e]], self._member_factor) for e in range(len(raw))]

    def _holders(self, X):
        """Return which networks never saw each training row, (n, E)."""
        held_out = getattr(self, "_held_out", None)
        if held_out is None:
            raise ValueError("partial_fit holds no rows out; that takes fit")
        if X.shape[0] != len(held_out.positions):
            raise ValueError(
                f"X has {X.shape[0]} rows, but fit was given {len(held_out.positions)}"
            )
        scores = (self._inputs(X[rows]).numpy() for rows in blocks(*X.shape))
        held_out.check_same(self._fingerprints(scores))
        holders = held_out.holders(self.network_.architecture.n_members)
        if not holders.any(axis=1).all():
            raise ValueError(
                "every row must be held out by some network: that takes early_stopping=True and a "
                f"validation_fraction of at least 1 / {self.n_estimators_}"
            )
        return holders

    def _judges(self, X):
        """Return which networks judge each training row, (n, E): rows of no weight are none."""
        return self._holders(X) & (self._held_out.positions >= 0)[:, None]

    def _fingerprints(self, parts):
        """Return those of rows of scores, in parts: a copy of all may take most of the memory.

        Contrasts of rows in single precision are others.
        """
        own = np.flatnonzero(self._features.is_own)
        return np.concatenate([fingerprints(scores[:, own]) for scores in parts])

    def _line_shift_left_out(self):
        """Return how far lines through all other rows lie above ``line_`` at each, (n, D)."""
        positions, line_shift = self._held_out.positions, self._held_out.line_shift
        if line_shift is None:
            return np.zeros((len(positions), self.n_outputs_))
        return np.where(positions[:, None] < 0, 0.0, line_shift[positions])

    def _numbers_per_row(self):
        n_learned, n_still = self._n_components()
        # Each network gives a weight to those that are the same in all.
        n_weights = self.network_.architecture.n_members * n_still
        return (n_learned + n_still) * self.n_outputs_**2 + n_weights // _WEIGHTS_A_COMPONENT

    def _n_components(self):
        """Return how many components of a mixture are learned, and how many stay."""
        loss = self._loss
        n_members = self.network_.architecture.n_members
        return n_members * loss.n_components, loss.n_still

    def _raw_blocks(self, X):
        """Yield blocks of checked rows and raw outputs (E, P, b) for them."""
        device, dtype = torch_device(self.device), _network_dtype(X)
        network = self.network_
        if (device, dtype) != ("cpu", torch.float64):
            network = copy.deepcopy(network).to(device, dtype)
        arch = network.architecture
        width = arch.n_members * (arch.n_frequencies * arch.n_features + sum(arch.layer_sizes))
        # Not gen_batches, whose checks of its arguments take as long as a row.
        size = max(64, _CACHED_NUMBERS // width)
        for start in range(0, X.shape[0], size):
            block = slice(start, start + size)
            inputs = self._inputs(X[block]).to(device, dtype)
            with threads_for(arch.n_parameters * len(inputs)):
                raw = network.answer(inputs)
            yield block, raw

    def _raw(self, X):
        """Return raw outputs (E, P, n) for checked rows."""
        arch = self.network_.architecture
        # In one place: small pieces kept between large temporaries hold all of the memory.
        raw = np.empty((arch.n_members, arch.n_outputs, X.shape[0]))
        for block, part in self._raw_blocks(X):
            raw[..., block] = part
        return raw

    def _means(self, X):
        """Return the conditional means of checked rows, without the rest of the mixture."""
        means, scaling = np.empty((X.shape[0], self.n_outputs_)), self._targets.scaling
        for block, raw in self._raw_blocks(X):
            of_members = self._loss.means(raw, self._pooled_factors)
            means[block] = scaling.restored(of_members.mean(0).T)
        if self.line_ is not None:
            means += self._on_line(X)
        return means[:, 0] if self._y_ndim == 1 else means

    def _on_line(self, X):
        """Return where on the line checked rows are, (n, D); zeros without one."""
        line = self.line_
        if line is None:
            return np.zeros((X.shape[0], self.n_outputs_))
        return np.concatenate([line.at(dense(X[rows])) for rows in blocks(*X.shape)])

    def _inputs(self, X):
        return torch.from_numpy(self._features.transform(dense(X)))

    def _mixtures(self, X):
        return self._mixtures_from(X, self._raw(X), self._pooled_factors)

    def _exact(self, mixture):
        """Return mixtures to draw from: values that many rows share have no width there."""
        if not self._targets.has_values.any():
            return mixture
        n_members = self.network_.architecture.n_members
        values = values_of(self._loss, self._targets.atoms, n_members, mixture.n_components)
        free = np.isnan(values) * 1.0
        return mixture._with(mixture._weights, mixture._means, mixture._scale.exact(free))

    def _at_atoms(self, mixture, y):
        """Return values y (..., n) of one target, quantiles inside an atom at it."""
        if len(self.atoms_) == 0:
            return y
        first, _ = self._n_components()
        nearest = np.abs(y[..., None] - self.atoms_).argmin(axis=-1)
        sds = np.sqrt(mixture.covariances[:, first])
        with np.errstate(divide="ignore"):  # a weight of zero
            log_weights = np.log(mixture.weights[np.arange(len(mixture)), first + nearest])
        own = log_weights + norm.logpdf(y, self.atoms_[nearest], sds)
        return np.where(own > mixture.logpdf(y) - np.log(2.0), self.atoms_[nearest], y)

    def _mixtures_from(self, X, raw, variance_factors, members=None, line_shift=0.0):
        """Return the members' mixtures pooled, in the units of y; of ``members`` (n, E) alone.

        Where there is a line, it is shifted by ``line_shift`` (n, D).
        """
        found = self._loss.parameters(raw, variance_factors)
        weights, means, scale = pooled(
            found,
            self._loss.still,
            self._targets.scaling,
            members,
            self._outlier_share,
            self._targets.unit_ratio,
        )
        if len(self._targets.atoms) > 0:  # without the rounding of units
            values = values_of(self._loss, self._targets.atoms, len(raw), weights.shape[1])
            means = np.where(np.isnan(values), means, values)
        if self.line_ is not None:
            means += (self._on_line(X) + line_shift)[:, None]
        if found.cells is not None:
            grids = grids_of(self._loss, self._targets)
            scale = rounded(scale, grids, found.cells, weights.shape[1])
        return NormalMixture._from_scale(weights, means, scale, self._y_ndim == 1)


def _mean_component_var(mixture):
    """Return the mean variance of the components of each mixture, (n,) or (n, D)."""
    return np.einsum("nk,nk...->n...", mixture.weights, mixture.component_var())


def _network_dtype(X):
    """Return the precision rows are predicted in: their own."""
    return torch.float32 if X.dtype == np.float32 else torch.float64


def torch_device(name):
    """Return the name of a device that torch has; "auto" takes the best."""
    if name == "cpu":
        return name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()
    except (AssertionError, ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device {name!r} is none that torch has here: {reason}") from None
    return name
