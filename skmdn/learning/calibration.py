"""What held-out rows tell of final networks: how wrong their variances are, alone and mixed."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .judging import (
    MOST_PAIRS,
    HeldOutRows,
    carried,
    pair_densities,
    predicted,
    settled_factors,
    shared_rows,
    sums_of_members,
    vertex,
)
from .rows import effective_number

#: Pooling M lowers a factor by ``_OF_MANY - _OF_FEW / M`` times as much as pooling two does; see
#: `pooled_factors`.
_OF_MANY = 2.4
_OF_FEW = 2.8
#: Least share of a factor that pooling may leave.
_LEAST_SHARE = 0.15
#: Pairs at which what their likelihoods tell counts as much as what their moments do.
_PAIRS_TO_TRUST = 60
#: Ratio of neighbours on the grid of factors.
_RATIO = 1.1
#: First and last of the grid, in steps from a member's own factor: 0.1 to 2.1 times that.
_FIRST = -24
_LAST = 8
#: One member in so many may speak for the tails,
_TAIL_MEMBERS = 16
#: or one of fewer, but of at least so many.
_FEWEST_WITH_TAILS = 8
#: By how many steps of the grid its variances may be larger: 1, 10, 31 or 97 times.
_TAIL_STEPS = (0, 24, 36, 48)
#: Share of squared errors that are not far out.
_NOT_FAR = 0.99
#: Fewest pairs that can tell of tails.
_PAIRS_FOR_TAILS = 30


class Calibration(NamedTuple):
    """What the rows held out tell of final parameters.

    Attributes
    ----------
    score : float or None
        Mean log-likelihood of these rows by the members that hold them out.
    member_factor : float
        What the members' variances are to be multiplied by.
    pooled_factors : ndarray of shape (E,)
        The same, for the mixture of all members.
    squared_errors : ndarray of shape (D,)
        `trimmed_mean_squares` of what the members' means are wrong by, or NaN.
    """

    score: float | None
    member_factor: float
    pooled_factors: np.ndarray
    squared_errors: np.ndarray


def calibrate(objective: HeldOutRows, flat: Tensor) -> Calibration:
    """Search for the factors of the final parameters, from those that training ended with."""
    if objective.n_held_out == 0:
        unknown = np.full(objective.loss.n_targets, np.nan)
        return Calibration(None, 1.0, np.ones(len(objective.offsets)), unknown)
    factor, _ = settled_factors(objective, flat, objective.factors or (1.0, 1.0)).factors
    sums, totals = sums_of_members(objective, flat, objective.n_held_out, [factor])
    score = float(sums.sum() / totals.sum())
    pooled = pooled_factors(objective, flat, factor)
    return Calibration(score, factor, pooled, _squared_errors(objective, flat, factor))


def _squared_errors(objective: HeldOutRows, flat: Tensor, factor: float) -> np.ndarray:
    """Return those (D,) of what the members' means are wrong by on rows held out."""
    positions = torch.arange(min(objective.n_held_out, MOST_PAIRS), device=flat.device)
    seen = predicted(objective, flat, objective.held_out_rows(positions))
    errors, _ = seen.errors(factor)
    return trimmed_mean_squares(errors.mT.flatten(0, 1).double().cpu().numpy())


def trimmed_mean_squares(errors: np.ndarray) -> np.ndarray:
    """Return the mean squares (D,) of errors (n, D), but for the largest hundredth.

    The farthest outliers would be all that counts. Weights do not.
    """
    squares = np.sort(errors**2, axis=0)
    return squares[: math.ceil(_NOT_FAR * len(squares))].mean(axis=0)


def pooled_factors(objective: HeldOutRows, flat: Tensor, factor: float) -> np.ndarray:
    """Return the variance factors of the members in their equally weighted mixture.

    Let R be the mean squared error of a member's mean, in units of its own variance, and B the
    part of it that differs between members. Alone, a member needs the factor f_1 = R. The mean of
    M members errs by R - B (1 - 1/M), and their mixture is wider than each by B (1 - 1/M), so it
    needs f_M = R - 2 B (1 - 1/M). Rows that two members hold out give f_2 and with it B:

        f_M = f_1 - (2 - 2/M) (f_1 - f_2).

    That is by moments; but two mixed are less normal than many, and so their likeliest factor is
    larger than moments say. 2.4 - 2.8/M, too, is 1 for two; it is as likely for M up to 12 and
    likelier beyond (simulated, errors normal and with heavier tails), and its central intervals
    are less too wide.

    Where such pairs are few, f_2 is mostly chance, as it depends on their targets; how far their
    two members differ is not, and with the errors on all rows held out tells R and B by moments.
    So the share f_M / f_1 is drawn towards the one that follows from these.

    Where errors have heavier tails than the members learned from rows they fit too closely, one
    member in sixteen is given much larger variances, the others smaller ones: a scale mixture, as
    in the contaminated normal distribution (Tukey 1960). What it gains is carried over from one
    member and two to all as by moments.

    Parameters
    ----------
    objective : HeldOutRows
    flat : Tensor
        The parameters.
    factor : float
        The members' own.

    Returns
    -------
    ndarray of shape (E,)
    """
    n_members = len(objective.offsets)
    if objective.n_shared == 0:
        return np.full(n_members, factor)  # nothing says that less would do
    grid = [factor * _RATIO**step for step in range(_FIRST, _LAST + max(_TAIL_STEPS) + 1)]
    densities, weights = pair_densities(objective, flat, grid)
    n_pairs = effective_number(weights)
    enough = n_members >= _FEWEST_WITH_TAILS and n_pairs >= _PAIRS_FOR_TAILS
    tails, every = _TAIL_STEPS if enough else (0,), min(n_members, _TAIL_MEMBERS)
    plain, *others = (_best_steps(densities, weights, tail, 1.0 / every) for tail in tails)
    best = max([plain, *others], key=lambda found: _gain_of_all(found, plain, weights, n_members))
    by_moments = _share_by_moments(objective, flat, factor)
    share = _share_left(plain, n_members, by_moments, n_pairs)
    factors = np.full(n_members, factor * share * _RATIO ** (best.paired - plain.paired))
    factors[every - 1 :: every] *= _RATIO**best.tail
    return factors


class _BestSteps(NamedTuple):
    """The likeliest factors of one member and of two mixed, in steps of the grid.

    Attributes
    ----------
    alone, paired : float
    tail : int
        By how many more the variances of a share of every density are larger.
    scores : Tensor of shape (2, n)
        The log-densities of the pairs' rows by one and by two, with the nearest of the grid.
    """

    alone: float
    paired: float
    tail: int
    scores: Tensor


def _gain_of_all(found: _BestSteps, plain: _BestSteps, weights: Tensor, n_members: int) -> float:
    """Return what tails gain for all members mixed, summed over rows."""
    return float(weights @ carried(found.scores - plain.scores, n_members))


def _share_left(plain: _BestSteps, n_members: int, by_moments: float, n_pairs: float) -> float:
    """Return ``f_M / f_1`` of `pooled_factors`; the more pairs there are, the less by moments."""
    of_two = _RATIO ** (plain.paired - plain.alone)
    by_pairs = max(1.0 - (_OF_MANY - _OF_FEW / n_members) * (1.0 - of_two), _LEAST_SHARE)
    trust = n_pairs / (n_pairs + _PAIRS_TO_TRUST)
    return min(by_pairs, 1.0) ** trust * max(by_moments, _LEAST_SHARE) ** (1.0 - trust)


def _share_by_moments(objective: HeldOutRows, flat: Tensor, factor: float) -> float:
    """Return ``1 - (2 - 2/M) B / R``; see `pooled_factors`.

    Two members that hold a row out differ there by 2 B, in the mean square; R is the mean square
    of the errors on all rows held out, both in units of what the variances say.
    """
    positions = torch.arange(min(objective.n_held_out, MOST_PAIRS), device=flat.device)
    seen = predicted(objective, flat, objective.held_out_rows(positions))
    errors, variances = seen.errors(factor)
    rows = shared_rows(objective, flat.device)
    both, weights = slice(rows.shape[1]), seen.weights
    before = predicted(objective, flat, rows.roll(-1, dims=0)).errors(factor)
    others, of_others = (part.roll(1, dims=0) for part in before)
    apart = (errors[..., both] - others).square()
    differing = apart / (0.5 * (variances[..., both] + of_others))
    wrong = _mean(errors.square() / variances, weights)
    if wrong == 0.0:
        return 1.0  # nothing to share
    n_members = len(objective.offsets)
    return 1.0 - (1.0 - 1.0 / n_members) * _mean(differing, weights[..., both]) / wrong


def _mean(values: Tensor, weights: Tensor) -> float:
    """Return the sum over targets of (E, D, B), in the mean over rows of such weights (E, B)."""
    return float((values.sum(1) * weights).sum() / weights.sum())


def _best_steps(log_densities: Tensor, weights: Tensor, tail: int, share: float) -> _BestSteps:
    """Return the best factors, with a share in the tail or, where that is 0, without one."""
    n_factors = _LAST - _FIRST + 1
    body, wide = log_densities[:, :n_factors], log_densities[:, tail:][:, :n_factors]
    mixed = torch.logaddexp(body + math.log(1.0 - share), wide + math.log(share))
    both = torch.stack([mixed.mean(0), mixed.logsumexp(0) - math.log(2.0)])
    one, two = (vertex(each @ (weights / weights.sum()), -_FIRST) for each in both)
    scores = torch.stack([both[0, one.nearest], both[1, two.nearest]])
    return _BestSteps(one.step, two.step, tail, scores)
