"""The mixture negative log-likelihood (Bishop 1994) and its gradient in closed form.

Notation, for one row of one member: K components, D targets,

    r_k = y - mu_k,   e_k = T_k r_k,   z_k = e_k / sigma_k^2,
    l_k = log w_k - 1/2 sum_d (z_kd e_kd + log sigma_kd^2) - D/2 log 2 pi,
    nll = -logsumexp_k l_k,            p_k = exp(l_k + nll)   (responsibilities).

Then d nll / d l_k = -p_k, and the chain rule gives, with w = softmax(logits) and a the raw
variance, sigma^2 = reg_covar + exp(a):

    d nll / d logits_k = w_k - p_k
    d nll / d mu_k     = -p_k T_k' z_k
    d nll / d a_kd     = p_k (1 - z_kd e_kd) / 2 * exp(a_kd) / sigma_kd^2
    d nll / d c_kij    = -p_k z_ki r_kj        (T_ij = -c_ij below the diagonal)

A raw coupling is c in a unit of its own; its gradient is the one above times that unit.

With a curve m (see `skmdn.learning.curve`) the raw location is u, mu = m(u), and a component is
what a normal distribution of u becomes to first order. With M_k = diag(m'(u_k)), else as before,

    r_k = M_k^-1 (y - mu_k),   e_k = M_k T_k r_k,   sigma^2 = reg_covar + m'(u)^2 exp(a).

With g_k = p_k T_k' M_k z_k, what r_k is blamed for, and b = m'' / m',

    d nll / d c_kij    = -p_k m'_ki z_ki r_kj
    d nll / d u_kd     = -g_kd + b_kd (p_k z_kd e_kd - g_kd r_kd + 2 d nll / d a_kd),

as r_kd falls by 1 + b_kd r_kd for each unit of u_kd, e_kd grows with m'_kd, and log m'^2 adds to
a. Where T = I, the first two terms in brackets cancel.

A variance shared by several components or targets collects the sum of their gradients.
Behind the K components there may be some that stay where they are, at atoms say (see
`skmdn.learning.atoms`): they have a logit alone; or grades, of which a row's atom has a share
(see `skmdn.learning.grades`): d nll / d of the numbers this depends on is -p_k d log share. The
last of the K may be at open atoms: targets that these pin have a given mu, the variance reg_covar,
and no coupling. A target on a grid has no coupling, either. With the share q of its cell (see
`skmdn.learning.rounding`), of location mu and scale sigma, -2 log q, and what its value adds
whatever these are, take the place of z e + log sigma^2; so that above d log q / d mu takes that of
z, and 1 + d log q / d log sigma that of z e.
Arrays are laid out (members E, components K, targets D, rows B).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np

from .arrays import Array, ArrayParts, converted, namespace, softmax
from .atoms import Pins, StillComponents, StillTerms
from .bounds import Bounds
from .components import Components, MixtureParameters
from .curve import JohnsonCurve
from .noise import NoiseModel, covariance_factor, decorrelated, excess_variance, regressions
from .rounding import RoundedTargets, Rounding

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
#: Logarithm of the least responsibility. Below 1e-38, numbers of single precision are subnormal,
#: and a product takes a hundred times as long: a fit took up to half as long again.
_LEAST_LOG_SHARE = -60.0


#: Logits, locations, raw variances, couplings and numbers of what stays, as views of raw outputs.
Parts: TypeAlias = tuple[Array, Array, Array, Array, Array]
#: What all variances, or each member's, are multiplied by.
Factors: TypeAlias = float | np.ndarray


@dataclass(frozen=True)
class MixtureLoss(ArrayParts):
    """Negative log-likelihood of Gaussian mixtures whose parameters are raw network outputs.

    Parameters
    ----------
    n_components, n_targets : int
        The components are those of which more than the weight is learned.
    noise : NoiseModel
        Which variances are free; see `skmdn.learning.noise.NOISE_MODELS`.
    reg_covar : float or array of shape (D, 1)
        Floor on the variances, in squared units of the targets given to the loss; of each target,
        where it is not the same for all.
    fixed_variance : float, default=1.0
        The variance, where the noise model does not learn it.
    curve : JohnsonCurve, default=None
        Takes raw locations to means; None where they are the same. Every component and target must
        have a variance of its own.
    still : StillComponents, default=None
        More components, of which the weight alone is learned, one by one or by few numbers; A of
        them below.
    pins : Pins, default=None
        What of the components is not learned; None for nothing.
    rounding : Rounding, default=None
        What targets on grids are rounded to, where there are several targets; None for nothing.
        Every component and target must have a variance of its own.
    coupling_units : array of shape (D (D - 1) / 2, 1), default=None
        The couplings that raw ones of one stand for, zero where two targets are not coupled; None
        for ones. See `skmdn.learning.noise.NoiseModel.coupling_unit`.
    bounds : Bounds, default=None
        How far finished components may reach. The gradient knows none: what is beyond is pulled
        back as if it were there.
    """

    n_components: int
    n_targets: int
    noise: NoiseModel
    reg_covar: float | Array
    fixed_variance: float = 1.0
    curve: JohnsonCurve | None = None
    still: StillComponents | None = None
    pins: Pins | None = None
    rounding: Rounding | None = None
    coupling_units: Array | None = None
    bounds: Bounds | None = None

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many raw outputs there are for each of the `Parts`."""
        return tuple(map(math.prod, self._shapes))

    @property
    def n_still(self) -> int:
        """How many components of a mixture stay where they are."""
        return 0 if self.still is None else len(self.still.means)

    @property
    def atoms(self) -> np.ndarray:
        """Where components are at atoms, in their order, NaN where these are open: (A, D)."""
        found = [part.atoms for part in (self.pins, self.still) if part is not None]
        return np.concatenate([np.zeros((0, self.n_targets)), *found])

    @property
    def open_counts(self) -> Sequence[int]:
        """How many components are at each of the open ``atoms``, which come first."""
        return () if self.pins is None else self.pins.counts

    @property
    def counts(self) -> list[int]:
        """How many components are at each of the ``atoms``."""
        return [*self.open_counts] + [1] * (len(self.atoms) - len(self.open_counts))

    @property
    def n_outputs(self) -> int:
        """How many numbers the network must give for one row."""
        return sum(self.sizes)

    @cached_property
    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        k, d, still = self.n_components, self.n_targets, self.still
        n_logits, numbers = (0, (0,)) if still is None else (still.n_logits, still.numbers_shape)
        couplings = (k, self.noise.n_couplings(1, d))
        return (k + n_logits,), (k, d), self.noise.variance_shape(k, d), couplings, numbers

    def split(self, raw: Array) -> Parts:
        """View raw outputs (E, P, B) as what they say."""
        cuts = pairwise(accumulate(self.sizes, initial=0))
        logits, locations, variances, couplings, numbers = (
            raw[:, start:stop].reshape(len(raw), *shape, raw.shape[2])
            for (start, stop), shape in zip(cuts, self._shapes, strict=True)
        )
        return logits, locations, variances, couplings, numbers

    def weights(self, logits: Array, numbers: Array, factors: Factors = 1.0) -> Array:
        """Return the weights (E, K + A, B) of all components; factors as in `variances`."""
        shares = softmax(logits)[0]
        if self.still is None:
            return shares
        learned, still = shares[:, : self.n_components], shares[:, self.n_components :]
        still = self.still.weights(still, numbers, factors)
        return namespace(shares).concatenate([learned, still], axis=1)

    def components(self, locations: Array, raw_variances: Array, couplings: Array) -> Components:
        """Return what components are, and what the chain rule needs of how they came about."""
        if self.coupling_units is not None:
            couplings = couplings * self.coupling_units
        if not self.noise.learned:
            one = locations[:1, :1, :1, :1]
            fixed = namespace(one).full_like(one, self.fixed_variance)
            return Components(locations, fixed, couplings)
        excess = excess_variance(raw_variances)
        if self.curve is None:
            found = Components(locations, excess, couplings)
        else:
            means, slope, bend = self.curve.at(locations)
            found = Components(means, excess * slope * slope, couplings, slope, bend)
        if self.rounding is not None:
            found = found.rounded(self.rounding, locations, excess)
        return found if self.pins is None else found.pinned(self.pins)

    def finished(self, *raw: Array) -> Components:
        """Return the components within their bounds."""
        found = self.components(*raw)
        return found if self.bounds is None else found.within(self.bounds, self.noise.learned)

    def variances(self, excess: Array, factors: Factors | None = None) -> Array:
        """Return the variances of components, those above the floor so many times as large.

        Factors (E,) are the members' own; None leaves them all as they are.
        """
        if not self.noise.learned:
            return excess
        if factors is None:
            return excess + self.reg_covar
        if np.ndim(factors):
            factors = converted(np.reshape(factors, (-1, 1, 1, 1)), excess)
        return excess * factors + self.reg_covar

    def errors(self, y: Array, found: Components) -> tuple[Array, Array]:
        """Return r, of which the couplings' gradient is made, and e (E, K, D, B)."""
        residuals = y[:, None] - found.means
        if found.couplings.shape[2] == 0:
            return residuals, residuals
        if found.slope is None:
            return residuals, decorrelated(found.couplings, residuals)
        residuals /= found.slope
        return residuals, decorrelated(found.couplings, residuals) * found.slope

    def log_density(self, raw: Array, y: Array, factors: Sequence[float] = (1.0,)) -> Array:
        """Return the log-densities (len(factors), E, B) of ``y`` (E, D, B), in nats.

        One for each factor that the variances may be multiplied by; autograd goes through it.
        """
        logits, terms_at, still = self.terms(raw, y)
        constant = softmax(logits)[1] + self.n_targets * HALF_LOG_2PI
        joined = (_joined(terms_at(factor).sum(2), still, factor) for factor in factors)
        found = [softmax(logits - 0.5 * terms)[1] - constant for terms in joined]
        return namespace(raw).stack(found)

    def terms(
        self, raw: Array, y: Array
    ) -> tuple[Array, Callable[[float], Array], StillTerms | None]:
        """Return what densities of ``y`` (E, D, B) are made of, of all components.

        Logits, a function that returns ``z e + log sigma^2`` (E, K, D, B) for a variance factor,
        and what stays.
        """
        xp = namespace(raw)
        logits, *parts, numbers = self.split(raw)
        logits = logits - xp.amax(logits, axis=1, keepdims=True)  # large ones swallow digits
        found = self.finished(*parts)
        _, e = self.errors(y, found)
        squares, rounded = e * e, self._rounded(y)

        def terms_at(factor: float) -> Array:
            """Return the terms with variances so many times as large."""
            variances = self.variances(found.excess, factor)
            terms = squares / variances + xp.log(variances)
            if rounded is not None:
                terms[:, :, rounded.columns] = rounded.cells(found.means, variances).terms()
            return terms

        return logits, terms_at, self._still_terms(y, numbers)

    def gradient(self, raw: Parts, y: Array, out: Parts) -> Array:
        """Write the gradient of each row's negative log-likelihood by ``raw`` into ``out``.

        Parameters
        ----------
        raw, out : tuple of array
            As `split` views them.
        y : array of shape (E, D, B)

        Returns
        -------
        array of shape (E, B)
            The negative log-likelihoods.
        """
        xp = namespace(y)
        logits, *parts, numbers = raw
        d_logits, d_locations, d_variances, d_couplings, d_numbers = out
        found = self.components(*parts)
        variances = self.variances(found.excess)

        r, e = self.errors(y, found)
        z, ze, terms = self._terms(y, e, found, variances)
        still = self._still_terms(y, numbers)
        joint = logits - 0.5 * _joined(terms, still)
        # The softmax of l, too, which `joint` is but for what is the same for all k: in one go.
        shares, totals = softmax(xp.concatenate([logits, joint]), _LEAST_LOG_SHARE)
        (w, p), (of_w, of_p) = ((both[: len(y)], both[len(y) :]) for both in (shares, totals))
        xp.subtract(w, p, out=d_logits)
        if still is not None:
            still.write_gradient(p[:, self.n_components :], out=d_numbers)
        p = p[:, : self.n_components, None]
        pze = ze * p
        if self.noise.learned:
            # exp(a) / sigma^2 = 1 - reg_covar / sigma^2, written without the cancellation.
            surplus = _summed_to(d_variances, p - pze) * (found.excess / variances)
            xp.multiply(surplus, 0.5, out=d_variances)
        pz = p * z if found.slope is None else p * z * found.slope
        xp.negative(pz, out=d_locations)
        coupled = found.couplings.shape[2] > 0
        for i, own in regressions(self.n_targets if coupled else 1):
            d_locations[:, :, :i] += found.couplings[:, :, own] * pz[:, :, i : i + 1]
            d_couplings[:, :, own] = -pz[:, :, i : i + 1] * r[:, :, :i]
        if found.bend is not None:
            bent = 2.0 * d_variances
            if coupled:
                bent += pze + d_locations * r
            d_locations += found.bend * bent
        if self.coupling_units is not None:
            d_couplings *= self.coupling_units
        if self.pins is not None:
            d_locations *= self.pins.free
            d_couplings *= self.pins.coupled
        return self.n_targets * HALF_LOG_2PI + of_w - of_p

    def _terms(
        self, y: Array, e: Array, found: Components, variances: Array
    ) -> tuple[Array, Array, Array]:
        """Return z and ``z e`` (E, K, D, B), and ``sum_d (z_d e_d + log sigma_d^2)``."""
        xp = namespace(y)
        z = e / variances
        ze = z * e
        terms = xp.log(variances) + ze
        rounded = self._rounded(y)
        if rounded is not None:
            at, cells = rounded.columns, rounded.cells(found.means, variances)
            terms[:, :, at] = cells.terms()
            by_location, by_log_scale = cells.gradient().swapaxes(0, 1)
            z[:, :, at], ze[:, :, at] = by_location, 1.0 + by_log_scale
        return z, ze, terms.sum(2)

    def _rounded(self, y: Array) -> RoundedTargets | None:
        """Return what the density of y (E, D, B) is made of where targets are on grids."""
        return None if self.rounding is None else self.rounding.rounded(y, self.reg_covar)

    def means(self, raw: Array, factors: Factors = 1.0) -> Array:
        """Return the mean (E, D, B) of each member's mixtures; factors as in `variances`.

        As `components` has it, but without the variances and couplings.
        """
        if self.rounding is not None:
            return self.moments(raw, factors)[0]
        logits, means, _, _, numbers = self.split(raw)
        if self.curve is not None:
            means = self.curve.means(means)
        if self.pins is not None:
            means = self.pins.means(means)
        if self.bounds is not None:
            means = self.bounds.means(means)
        still = None if self.still is None else self.still.means
        return self._pooled(self.weights(logits, numbers, factors), means, still)

    def moments(self, raw: Array, factor: Factors) -> tuple[Array, Array]:
        """Return the mean and variance (E, D, B) of each member's mixtures.

        Where targets are coupled, each component's variance is that given the targets before.
        """
        logits, *parts, numbers = self.split(raw)
        found, still = self.finished(*parts), self.still
        weights = self.weights(logits, numbers, factor)
        means, variances = found.means, self.variances(found.excess, factor)
        if self.rounding is not None:
            means, variances = self.rounding.moments(means, variances, self.reg_covar)
        mean = self._pooled(weights, means, None if still is None else still.means)
        spread = variances + (means - mean[:, None]) ** 2
        of_still = None
        if still is not None:
            of_still = still.variances + (still.means - mean[:, None]) ** 2
        return mean, self._pooled(weights, spread, of_still)

    def _pooled(self, weights: Array, learned: Array, still: Array | None) -> Array:
        """Return means of what components have (..., D, B), by their weights (E, K + A, B)."""
        weights, k = weights[:, :, None], self.n_components
        found = (weights[:, :k] * learned).sum(1)
        return found if still is None else found + (weights[:, k:] * still).sum(1)

    def _still_terms(self, y: Array, numbers: Array) -> StillTerms | None:
        """Return what the density of y (E, D, B) is made of where components stay."""
        return None if self.still is None else self.still.terms(y, numbers)

    def parameters(self, raw: np.ndarray, factors: Factors = 1.0) -> MixtureParameters:
        """Return the mixtures that raw outputs (E, P, B) stand for; factors as in `variances`.

        Components that stay where they are have a weight here, and all else in ``still``.
        """
        logits, *parts, numbers = self.split(raw)
        found = self.finished(*parts)
        means, variances, cells = found.means, self.variances(found.excess, factors), None
        if self.rounding is not None:
            cells = self.rounding.cells(means, variances)
            means, variances = self.rounding.moments(means, variances, self.reg_covar)
        sds = np.sqrt(np.broadcast_to(variances, means.shape))
        return MixtureParameters(
            weights=np.moveaxis(self.weights(logits, numbers, factors), -1, 1),
            means=np.moveaxis(means, -1, 1),
            sds=np.moveaxis(sds, -1, 1),
            factor=self._factor(found, sds),
            cells=cells,
        )

    @staticmethod
    def _factor(found: Components, sds: np.ndarray) -> np.ndarray | None:
        """Return Cholesky factors (E, B, K, D, D) of components, if targets are coupled."""
        if found.couplings.shape[2] == 0:
            return None
        if found.slope is None:
            return covariance_factor(found.couplings, sds)
        of_locations = covariance_factor(found.couplings, sds / found.slope)
        return of_locations * np.moveaxis(found.slope, -1, 1)[..., None]


def _joined(terms: Array, still: StillTerms | None, factor: float = 1.0) -> Array:
    """Return terms (E, K, B), and behind them those of what stays."""
    if still is None:
        return terms
    return namespace(terms).concatenate([terms, still.scaled(factor)], axis=1)


def _summed_to(shared: Array, terms: Array) -> Array:
    """Return terms (E, K, D, B) summed over what shares one variance."""
    axes = tuple(i for i in (1, 2) if shared.shape[i] < terms.shape[i])
    return terms.sum(axes, keepdims=True) if axes else terms
