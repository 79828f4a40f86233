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

With a link (see `skmdn.learning.link`) the raw location is u, mu = m(u), and components are as
wide as the curve is steep, sigma^2 = reg_covar + m'(u)^2 exp(a). As log m'^2 adds to a,

    d nll / d u_kd     = m'(u_kd) d nll / d mu_kd + 2 m''(u_kd) / m'(u_kd) d nll / d a_kd

A variance shared by several components or targets collects the sum of their gradients.
Arrays are laid out (members E, components K, targets D, rows B).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from .link import JohnsonLink
from .noise import NoiseModel, covariance_factor, excess_variance, unit_triangular

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


#: Logits, locations, raw variances and couplings, as views of raw outputs.
Parts: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class MixtureLoss:
    """Negative log-likelihood of Gaussian mixtures whose parameters are raw network outputs.

    Parameters
    ----------
    n_components, n_targets : int
    noise : NoiseModel
        Which variances are free; see `skmdn.learning.noise.NOISE_MODELS`.
    reg_covar : float
        Floor on the variances, in squared units of the targets given to the loss.
    fixed_variance : float, default=1.0
        The variance, where the noise model does not learn it.
    link : JohnsonLink, default=None
        Takes raw locations to means; None where they are the same. Every component and target must
        have a variance of its own.
    """

    n_components: int
    n_targets: int
    noise: NoiseModel
    reg_covar: float
    fixed_variance: float = 1.0
    link: JohnsonLink | None = None

    @cached_property
    def sizes(self) -> tuple[int, int, int, int]:
        """Raw outputs for the weights, means, variances and couplings, in this order."""
        k, d = self.n_components, self.n_targets
        return k, k * d, self.noise.n_variances(k, d), self.noise.n_couplings(k, d)

    @property
    def n_outputs(self) -> int:
        """How many numbers the network must give for one row."""
        return sum(self.sizes)

    def split(self, raw: Tensor) -> Parts:
        """View raw outputs (E, P, B) as logits, locations, raw variances and couplings."""
        k, d = self.n_components, self.n_targets
        logits, locations, variances, couplings = raw.split(self.sizes, dim=1)
        shape = self.noise.variance_shape(k, d) if self.noise.learned else (0, 1)
        return (
            logits,
            locations.unflatten(1, (k, d)),
            variances.unflatten(1, shape),
            couplings.unflatten(1, (k, -1)) if self.noise.coupled and d > 1 else couplings,
        )

    def components(self, locations: Tensor, raw_variances: Tensor) -> Components:
        """Return means and variances, and what the chain rule needs of how they came about."""
        if not self.noise.learned:
            variances = locations.new_full((1, 1, 1, 1), self.fixed_variance)
            return Components(locations, variances, variances)
        if self.link is None:
            excess = excess_variance(raw_variances)
            return Components(locations, excess + self.reg_covar, excess)
        means, slope, bend = self.link.curve(locations)
        excess = excess_variance(raw_variances) * slope * slope
        return Components(means, excess + self.reg_covar, excess, slope, bend)

    def triangular(self, couplings: Tensor) -> Tensor | None:
        """Return T (E, K, D, D, B), or None where it is the identity."""
        return unit_triangular(couplings, self.n_targets) if couplings.shape[1] else None

    def joint(self, raw: Tensor, y: Tensor) -> Tensor:
        """Return l (E, K, B), the log-density of ``y`` (E, D, B) together with each component."""
        logits, locations, raw_variances, couplings = self.split(raw)
        found, triangular = self.components(locations, raw_variances), self.triangular(couplings)
        residuals = y.unsqueeze(1) - found.means
        if triangular is not None:
            residuals = (triangular * residuals.unsqueeze(2)).sum(3)
        terms = residuals.square() / found.variances + found.variances.log()
        return logits.log_softmax(1) - 0.5 * terms.sum(2) - self.n_targets * _HALF_LOG_2PI

    def nll(self, raw: Tensor, y: Tensor) -> Tensor:
        """Return the negative log-likelihood (E, B), in nats; autograd goes through it."""
        return -self.joint(raw, y).logsumexp(1)

    def gradient(self, raw: Parts, y: Tensor, out: Parts) -> Tensor:
        """Write the gradient of each row's negative log-likelihood by ``raw`` into ``out``.

        Parameters
        ----------
        raw, out : tuple of Tensor
            As `split` views them.
        y : Tensor of shape (E, D, B)

        Returns
        -------
        Tensor of shape (E, B)
            The negative log-likelihoods.
        """
        logits, locations, raw_variances, couplings = raw
        d_logits, d_locations, d_variances, d_couplings = out
        log_w = logits.log_softmax(1)
        found, triangular = self.components(locations, raw_variances), self.triangular(couplings)

        r = y.unsqueeze(1) - found.means
        e = r if triangular is None else (triangular * r.unsqueeze(2)).sum(3)
        z = e / found.variances
        ze = z * e
        joint = torch.sub(log_w, (found.variances.log() + ze).sum(2), alpha=0.5)
        log_p = joint.log_softmax(1)
        nll = (log_p[:, 0] - joint[:, 0]).add_(self.n_targets * _HALF_LOG_2PI)

        p = log_p.exp_()
        torch.sub(log_w.exp_(), p, out=d_logits)
        p = p.unsqueeze(2)
        if self.noise.learned:
            surplus = torch.addcmul(p, ze, p, value=-1.0).sum_to_size(raw_variances.shape)
            # exp(a) / sigma^2 = 1 - reg_covar / sigma^2, written without the cancellation.
            share = torch.div(found.excess, found.variances)
            torch.mul(surplus, share, out=d_variances)
            d_variances.mul_(0.5)
        pz = z.mul_(p)
        if triangular is None:
            torch.neg(pz, out=d_locations)
        else:
            torch.sum(triangular * pz.unsqueeze(3), 2, out=d_locations).neg_()
            size, device = self.n_targets, y.device
            rows, columns = torch.tril_indices(size, size, -1, device=device)
            torch.mul(pz[:, :, rows], r[:, :, columns], out=d_couplings).neg_()
        if found.slope is not None and found.bend is not None:
            d_locations.mul_(found.slope).addcmul_(found.bend, d_variances, value=2.0)
        return nll

    def like(self, tensor: Tensor) -> MixtureLoss:
        """Return the same loss for raw outputs in the dtype and on the device of a tensor."""
        return self if self.link is None else replace(self, link=self.link.like(tensor))

    def tempered(self, raw: Tensor, factors: float | Tensor) -> Tensor:
        """Return raw outputs whose variances above the floor are this many times as large.

        Factors (E,) are the members' own.
        """
        if not self.noise.learned:
            return raw
        raw = raw.clone()
        logarithms = torch.as_tensor(factors, dtype=torch.float64).log().to(raw)
        self.split(raw)[2].add_(logarithms.view(-1, 1, 1, 1))
        return raw

    def means(self, raw: Tensor) -> Tensor:
        """Return the mean (E, D, B) of each member's mixtures."""
        logits, means, _, _ = self.split(raw)
        if self.link is not None:
            means = self.link.means(means)
        return (logits.softmax(1).unsqueeze(2) * means).sum(1)

    def parameters(self, raw: Tensor) -> MixtureParameters:
        """Return the mixtures that raw outputs (E, P, B) stand for."""
        logits, locations, raw_variances, couplings = self.split(raw)
        found, triangular = self.components(locations, raw_variances), self.triangular(couplings)
        means, variances = found.means, found.variances.expand(found.means.shape)
        return MixtureParameters(
            weights=logits.softmax(1).movedim(-1, 1),
            means=means.movedim(-1, 1),
            sds=variances.sqrt().movedim(-1, 1),
            factor=None if triangular is None else covariance_factor(triangular, variances),
        )


class Components(NamedTuple):
    """Means and variances of components, broadcastable to (E, K, D, B), and how they came about.

    Attributes
    ----------
    means, variances : Tensor
    excess : Tensor
        The variances above their floor.
    slope, bend : Tensor or None
        m' and m'' / m' of the link, where there is one.
    """

    means: Tensor
    variances: Tensor
    excess: Tensor
    slope: Tensor | None = None
    bend: Tensor | None = None


@dataclass(frozen=True)
class MixtureParameters:
    """What raw outputs stand for.

    Attributes
    ----------
    weights : Tensor of shape (E, B, K)
    means : Tensor of shape (E, B, K, D)
    sds : Tensor of shape (E, B, K, D)
        Conditional standard deviations; the marginal ones where ``factor`` is None.
    factor : Tensor of shape (E, K, B, D, D) or None
        Lower Cholesky factors of the covariances, where targets are correlated.
    """

    weights: Tensor
    means: Tensor
    sds: Tensor
    factor: Tensor | None
