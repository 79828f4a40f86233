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
#: Most pairs of one member and the next that the pooled factors are read off.
_MOST_PAIRS = 512
#: Share of a factor left by pooling: what it usually is, and is at the least; and the pairs at
#: which what they tell counts as much as what is usual.
_USUAL_SHARE, _LEAST_SHARE, _PAIRS_TO_TRUST = math.exp(-1.0), 0.15, 500
#: Steps of the logarithm in which factors are tried; the first and last, relative to a member's.
_STEP, _FIRST, _LAST = math.log(1.1), -24, 8
#: One member in so many may speak for the tails: by how many steps its variances are larger.
_TAIL_MEMBERS, _TAIL_STEPS = 8, (0, 12, 24, 36)
#: Fewest pairs that can tell of tails.
_PAIRS_FOR_TAILS = 30


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


def pooled_factors(objective: MixtureObjective, flat: Tensor, factor: float) -> Tensor:
    """Return the variance factors of the members of their equally weighted mixture.

    Let R be the mean squared error of a member's mean, in units of its own variance, and B the
    part of it that differs between members. Alone, a member needs the factor f_1 = R. The mean of
    M members errs by R - B (1 - 1/M), and their mixture is wider than each by B (1 - 1/M), so it
    needs f_M = R - 2 B (1 - 1/M). Rows that two members hold out give f_2 and with it B:

        f_M = f_1 - 2 (1 - 1/M) (f_1 - f_2).

    Where such pairs are few, the share f_M / f_1 is drawn towards what is likely without them.

    Where errors have heavier tails than the members learned from rows they fit too closely, one
    member in eight is given larger variances, the others smaller ones: a scale mixture, as in the
    contaminated normal distribution (Tukey 1960). What it gains is carried over from one member
    and two to all by the formula above, and must be more than its own standard error.

    Parameters
    ----------
    objective : MixtureObjective
    flat : Tensor
        The parameters.
    factor : float
        The members' own.

    Returns
    -------
    Tensor of shape (E,)
    """
    n_members = len(objective.offsets)
    factors = torch.full((n_members,), factor, dtype=torch.float64)
    n_pairs = min(objective.n_shared, _MOST_PAIRS)
    if n_pairs == 0:
        return factors  # nothing says that less would do
    density, weights = _pair_densities(objective, flat, n_pairs, factor)
    n_effective = float(weights.sum().square() / weights.square().sum())  # Kish 1965
    enough = n_members >= _TAIL_MEMBERS and n_effective >= _PAIRS_FOR_TAILS
    tails = _TAIL_STEPS if enough else _TAIL_STEPS[:1]
    found = [_best_factors(density, weights, steps) for steps in tails]
    gains = [_carried(scores - found[0][1], n_members) for _, scores in found]
    chosen = max(range(len(tails)), key=lambda i: _surely(gains[i], weights))
    (alone, paired), (_, paired_body) = found[0][0], found[chosen][0]
    both = torch.tensor([1.0, math.exp(_STEP * (paired - alone))], dtype=torch.float64)
    share = float(_carried(both, n_members))
    share = min(max(share, _LEAST_SHARE), 1.0)
    # Few pairs tell little: the share is drawn, in the logarithm, to what is likely without them.
    trust = n_effective / (n_effective + _PAIRS_TO_TRUST)
    factors *= share**trust * _likely_share(objective, flat) ** (1.0 - trust)
    factors *= math.exp(_STEP * (paired_body - paired))
    factors[_TAIL_MEMBERS - 1 :: _TAIL_MEMBERS] *= math.exp(_STEP * tails[chosen])
    return factors


def _carried(two: Tensor, n_members: int) -> Tensor:
    """Carry what holds for one member and for two mixed (2, ...) over to all members mixed."""
    return two[0] - 2.0 * (1.0 - 1.0 / n_members) * (two[0] - two[1])


def _surely(gains: Tensor, weights: Tensor) -> float:
    """Return the mean gain of rows less its standard error."""
    mean = (weights @ gains) / weights.sum()
    error = (weights * (gains - mean)).square().sum().sqrt() / weights.sum()
    return float(mean - error)


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


def _pair_densities(
    objective: MixtureObjective, flat: Tensor, n_pairs: int, factor: float
) -> tuple[Tensor, Tensor]:
    """Return log-densities of rows by the two members that hold them out, and the rows' weights.

    Returns
    -------
    log_densities : Tensor of shape (2, n_factors, n)
        With factors from ``_FIRST`` to ``_LAST`` steps, and on to the widest tail.
    weights : Tensor of shape (n,)
    """
    last = _LAST + max(_TAIL_STEPS)
    factors = [factor * math.exp(_STEP * step) for step in range(_FIRST, last + 1)]
    densities, weights = [], []
    for positions in torch.arange(n_pairs, device=flat.device).split(_ROWS):
        # The first rows that a member holds out are the last ones of the member before.
        rows = objective.held_out_rows(positions)
        here, row_weights = objective.log_densities(flat, rows, factors)
        before, _ = objective.log_densities(flat, rows.roll(-1, dims=0), factors)
        densities.append(torch.stack([here, before.roll(1, dims=1)]).flatten(2).double().cpu())
        weights.append(row_weights.flatten().double().cpu())
    return torch.cat(densities, dim=2), torch.cat(weights)


def _best_factors(
    log_densities: Tensor, weights: Tensor, tail_steps: int
) -> tuple[tuple[int, int], Tensor]:
    """Return the best factors of one member and of two mixed, in steps, and the rows' scores.

    With ``tail_steps``, an eighth of every density has its variances that many steps larger.
    """
    n_factors = _LAST - _FIRST + 1
    body, tail = log_densities[:, :n_factors], log_densities[:, tail_steps:][:, :n_factors]
    share = 1.0 / _TAIL_MEMBERS
    mixed = torch.logaddexp(body + math.log(1.0 - share), tail + math.log(share))
    both = torch.stack([mixed.mean(0), mixed.logsumexp(0) - math.log(2.0)])
    best = (both @ weights).argmax(1)
    alone, paired = best.tolist()
    return (alone, paired), torch.stack([both[0, alone], both[1, paired]])
