"""By which factor variances learned on training rows are too small for new ones.

A network fits its own rows more closely than new ones, and the variances it learns are those of
the former. The rows that members hold out tell the factor they are to be multiplied by (in the
spirit of temperature scaling, Guo et al. 2017); with it, means may go on learning long after the
variances alone would have stopped them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .objective import MixtureObjective

#: Rows a member is scored on at once, and steps of the search from check to check.
_ROWS, _STEPS = 1024, (1.0, 1.2, 1.0 / 1.2, 2.0, 0.5)
#: Most pairs of one member and the next that the pooled factor is read off.
_MOST_PAIRS = 4096
#: Share of a factor left by pooling: what it usually is, and is at the least; and the pairs at
#: which what they tell counts as much as what is usual.
_USUAL_SHARE, _LEAST_SHARE, _PAIRS_TO_TRUST = math.exp(-1.0), 0.15, 500
#: Factors tried, relative to the members' own, in equal steps of the logarithm.
_GRID = tuple(1.1**step for step in range(-24, 9))


def search_factor(objective: MixtureObjective, flat: Tensor, factor: float) -> tuple[float, float]:
    """Take one step in the search for the members' variance factor.

    Parameters
    ----------
    objective : MixtureObjective
    flat : Tensor
        The parameters judged.
    factor : float
        Where the search stands.

    Returns
    -------
    score : float
        Mean log-likelihood over members of the rows each holds out; larger is better.
    factor : float
        The factor it is reached with.
    """
    factors = [factor * step for step in _STEPS]
    total = torch.zeros(len(factors) + 1, dtype=torch.float64)
    for positions in torch.arange(objective.n_held_out, device=flat.device).split(_ROWS):
        rows = objective.held_out_rows(positions)
        log_densities, weights = objective.log_densities(flat, rows, factors)
        ones = torch.ones_like(weights).unsqueeze(0)
        sums = (torch.cat([log_densities, ones]) * weights).sum((1, 2), dtype=torch.float64)
        total += sums.cpu()
    scores = total[:-1] / total[-1]
    best = int(scores.argmax())
    return float(scores[best]), factors[best]


def pooled_factor(objective: MixtureObjective, flat: Tensor, factor: float) -> float:
    """Return the variance factor of the equally weighted mixture of all members.

    Let R be the mean squared error of a member's mean, in units of its own variance, and B the
    part of it that differs between members. Alone, a member needs the factor f_1 = R. The mean of
    M members errs by R - B (1 - 1/M), and their mixture is wider than each by B (1 - 1/M), so it
    needs f_M = R - 2 B (1 - 1/M). Rows that two members hold out give f_2 and with it B:

        f_M = f_1 - 2 (1 - 1/M) (f_1 - f_2).

    Where such pairs are few, the share f_M / f_1 is drawn towards what is likely without them.

    Parameters
    ----------
    objective : MixtureObjective
    flat : Tensor
        The parameters.
    factor : float
        The members' own.

    Returns
    -------
    float
    """
    n_members = len(objective.offsets)
    n_pairs = min(objective.n_shared, _MOST_PAIRS)
    if n_pairs == 0:
        return factor  # nothing says that less would do
    alone, paired = _best_factors(objective, flat, n_pairs, factor)
    share = 1.0 - 2.0 * (1.0 - 1.0 / n_members) * (1.0 - paired / alone)
    share = min(max(share, _LEAST_SHARE), 1.0)
    # Few pairs tell little: the share is drawn, in the logarithm, to what is likely without them.
    n_pairs *= n_members
    trust = n_pairs / (n_pairs + _PAIRS_TO_TRUST)
    return factor * share**trust * _likely_share(objective, flat) ** (1.0 - trust)


def _likely_share(objective: MixtureObjective, flat: Tensor) -> float:
    """Return the share left by pooling as far as single held-out rows tell.

    A member that holds a row out differs there from one that learned it by no less than two that
    hold it out do, so twice B is at most the mean square of that difference. Where members have
    learned the noise, that bound is R itself and says nothing; the usual share is then as good.
    """
    positions = torch.arange(min(objective.n_held_out, _MOST_PAIRS), device=flat.device)
    rows = objective.held_out_rows(positions)
    half = len(rows) // 2
    here, weights = objective.residuals(flat, rows)
    far = objective.residuals(flat, rows.roll(-half, dims=0))[0].roll(half, dims=0)
    weights = weights.unsqueeze(1)
    difference, error = (weights * (here - far).square()).sum(), (weights * here.square()).sum()
    return max(1.0 - float(difference / error), _USUAL_SHARE)


def _best_factors(
    objective: MixtureObjective, flat: Tensor, n_pairs: int, factor: float
) -> tuple[float, float]:
    """Return the best factors of one member, and of two mixed, on rows that both hold out."""
    factors = [factor * step for step in _GRID]
    total = torch.zeros(2, len(factors), dtype=torch.float64)
    for positions in torch.arange(n_pairs, device=flat.device).split(_ROWS):
        # The first rows that a member holds out are the last ones of the member before.
        rows = objective.held_out_rows(positions)
        here, weights = objective.log_densities(flat, rows, factors)
        before, _ = objective.log_densities(flat, rows.roll(-1, dims=0), factors)
        before = before.roll(1, dims=1)
        both = torch.stack([0.5 * (here + before), torch.logaddexp(here, before)])
        total += (both * weights).sum((2, 3), dtype=torch.float64).cpu()
    alone, paired = total.argmax(1).tolist()
    return factors[alone], factors[paired]
