"""Where the components start: apart from each other, where the targets are."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .atoms import at_atoms, elsewhere
from .loss import MixtureLoss
from .network import ACTIVATIONS, Architecture

#: Variance of every component at the start, in squared units of the standardised targets (times
#: the squared slope of the curve).
_STARTING_VARIANCE = 0.25
#: Rows up to which frequencies start where the architecture says; beyond, they grow as the root of
#: their number,
_PLAIN_ROWS = 2000
#: but not to more than so many times as high.
_MOST_REFINED = 2.0
#: Share of the rows that are at an atom, and that are at none, at least, as far as the starting
#: weights go.
_LEAST_SHARE = 1e-3
#: How likely the widest component is beside another, its logarithm.
WIDEST_LOG_ODDS = math.log(0.01)
#: Size of the last layer's outputs at the start: members start apart, and no component runs off.
_HEAD_GAIN = 0.4


def slab_means(y: Tensor, weights: Tensor, n_components: int) -> Tensor:
    """Return one starting mean (K, D) a component.

    The rows are ordered along the first principal axis of the targets and cut into slabs of equal
    weight; each component starts at the mean of its slab. For one target these are the means
    between quantiles. Neither chance nor an outlier moves more than one of them far.
    """
    weights = weights.to(torch.float64) / weights.sum(dtype=torch.float64)
    centred = y.to(torch.float64) - weights @ y.to(torch.float64)
    axis = torch.linalg.eigh(centred.mT @ (centred * weights[:, None])).eigenvectors[:, -1]
    order = torch.argsort(centred @ axis, stable=True)
    ends = weights[order].cumsum(0)
    starts = ends - weights[order]
    edges = torch.arange(n_components + 1, dtype=torch.float64, device="cpu") / n_components
    # The share of each row that lies in each slab: a heavy row may lie in several.
    share = torch.minimum(ends[:, None], edges[1:]) - torch.maximum(starts[:, None], edges[:-1])
    share = share.clamp_(min=0.0) * n_components
    return (share.mT @ y[order].to(torch.float64)).to(y.dtype)


def starting_point(
    architecture: Architecture,
    loss: MixtureLoss,
    table: Tensor,
    generator: torch.Generator,
    frequency_factor: float = 1.0,
) -> Tensor:
    """Return the flat vector a training on ``table`` (features, targets, weight) starts from."""
    head_bias = starting_mixture(loss, table[:, architecture.n_features : -1], table[:, -1])
    frequency_factor *= refinement(len(table))
    return starting_parameters(architecture, head_bias, generator, frequency_factor)


def starting_mixture(loss: MixtureLoss, y: Tensor, weights: Tensor) -> np.ndarray:
    """Return the raw outputs (P,) of a mixture that is about where the targets y (n, D) are."""
    at = at_atoms(y.numpy(), loss.atoms.astype(np.float32))
    if loss.rounding is not None:
        y = torch.from_numpy(loss.rounding.scores(y.numpy()))
    n_free = loss.n_components - sum(loss.open_counts)
    means = []
    # Not strict: the atoms that leave nothing open, which are last, have no means to learn.
    for rows, count in zip([elsewhere(at), *at.T], [n_free, *loss.open_counts], strict=False):
        own = torch.from_numpy(rows if rows.any() else ~rows)
        means.append(slab_means(y[own], weights[own], count))
    log_odds = atom_log_odds(at, weights.numpy(), n_free) - np.log(loss.counts)
    log_odds = np.repeat(log_odds, loss.counts)
    if loss.still is not None:
        log_odds = np.append(log_odds, WIDEST_LOG_ODDS)
    return starting_head_bias(loss, torch.cat(means).numpy(), log_odds)


def refinement(n_rows: int) -> float:
    """Return how many times as high frequencies should start: more rows tell of sharper bends."""
    return min(max(math.sqrt(n_rows / _PLAIN_ROWS), 1.0), _MOST_REFINED)


def atom_log_odds(at: np.ndarray, weights: np.ndarray, n_components: int) -> np.ndarray:
    """Return the logarithm (A,) of how many times as likely as a component each atom is.

    The components share the rows that are at none of the atoms; ``at`` (n, A) is of `at_atoms`.
    """
    least = _LEAST_SHARE * weights.sum()
    rest = max(weights[~at.any(axis=1)].sum(), least)
    return np.log(np.maximum(weights @ at, least) * n_components / rest)


def starting_head_bias(loss: MixtureLoss, means: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
    """Return the raw outputs (P,) of equally weighted components at ``means`` (K, D).

    The last ones are so many times as likely, by the logarithms ``log_odds`` (A,).
    """
    bias = np.zeros((1, loss.n_outputs, 1))
    logits, locations, raw_variances, _, numbers = loss.split(bias)
    k, n_pinned = loss.n_components, len(log_odds) - loss.n_still
    logits[0, k - n_pinned : k, 0] = log_odds[:n_pinned]
    if loss.still is not None:
        loss.still.start(log_odds[n_pinned:], logits[0, k:, 0], numbers[0, ..., 0])
    means = means[None, :, :, None]
    locations[:] = means if loss.curve is None else loss.curve.inverse(means)
    raw_variances[:] = math.log(_STARTING_VARIANCE)  # see `excess_variance`
    return bias[0, :, 0]


def starting_parameters(
    architecture: Architecture,
    head_bias: np.ndarray,
    generator: torch.Generator,
    frequency_factor: float = 1.0,
) -> Tensor:
    """Draw the flat vector a training starts from; the members differ by chance alone.

    Dense layers keep the size of their signal (He et al. 2015). The last one starts small, so that
    every row first has the mixture in ``head_bias`` (P,).
    """
    flat = torch.zeros(architecture.n_parameters, dtype=torch.float32, device="cpu")
    p = architecture.views(flat)
    gain = ACTIVATIONS[architecture.activation].gain
    sizes = architecture.layer_sizes
    # Frequencies of several octaves: smooth trends and sharp steps are both within reach.
    p["frequency"].log_normal_(0.0, 1.0, generator=generator)
    p["frequency"].mul_(torch.empty_like(p["frequency"]).normal_(generator=generator))
    p["frequency"].mul_(architecture.frequency_scale * frequency_factor)
    deviation = architecture.n_frequencies**-0.5  # cos^2 + sin^2 = 1
    p["embedding"].normal_(0.0, deviation, generator=generator)
    *layers, head = (p[f"layer_{i}"] for i in range(len(sizes)))
    for layer, fan_in in zip(layers, sizes, strict=False):
        layer[..., :-1].normal_(0.0, math.sqrt(gain / fan_in), generator=generator)
        layer[..., -1].uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
    head[..., :-1].normal_(0.0, _HEAD_GAIN * sizes[-1] ** -0.5, generator=generator)
    head[..., -1] = torch.from_numpy(head_bias)
    return flat
