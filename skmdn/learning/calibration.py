"""What held-out rows tell: how good the members are together, and how wrong their variances.

A network fits its own rows more closely than new ones, and the variances it learns are those of
the former. The rows that members hold out tell the factor they are to be multiplied by (in the
spirit of temperature scaling, Guo et al. 2017); with it, means may go on learning long after the
variances alone would have stopped them. Members that err differently are better together than
alone, and best when each has learned more than is good for itself; so training is judged by what
their mixture would surely reach, as told by rows that two of them hold out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .rows import effective_number

if TYPE_CHECKING:
    from .objective import MixtureObjective

#: Rows a member is scored on at once.
_ROWS = 1024
#: By what the factors of the check before are multiplied to find those of the next: powers of
_STEP = 1.3
_SEARCHED = tuple(_STEP**power for power in (-2, -1, 0, 1, 2))
#: which of them stays where it is.
_STAY = 2
#: A search is over when it moves by less, as a share of the factors.
_SETTLED = 0.01
#: Nats that may be rounding.
_NO_GAIN = 1e-6
#: Most rows, of all members, that are looked at in a step of the search.
_MOST_ROWS = 2**14
#: Most rows of each member that the next one holds out, too, that are looked at.
_MOST_PAIRS = 512
#: Most steps of a search that is to end.
_MOST_SEARCHED = 50
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


class Judgement(NamedTuple):
    """What a step in the search for variance factors tells of the parameters judged.

    Attributes
    ----------
    score : float
        Mean log-likelihood of held-out rows by one member, and what mixing them all surely adds.
    factors : (float, float)
        The likeliest of one member, and of two mixed.
    gain : float
        What mixing all members surely adds to one: its mean less its standard error, 0 at least.
    """

    score: float
    factors: tuple[float, float]
    gain: float


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


def search_factors(
    objective: MixtureObjective, flat: Tensor, factors: tuple[float, float]
) -> Judgement:
    """Take one step in the search for the variance factors of one member, and of two mixed.

    Parameters
    ----------
    objective : MixtureObjective
    flat : Tensor
        The parameters judged.
    factors : (float, float)
        Where the search stands.

    Returns
    -------
    Judgement
    """
    alone, paired = ([factor * ratio for ratio in _SEARCHED] for factor in factors)
    most = max(1, _MOST_ROWS // len(objective.offsets))
    sums, totals = _sums_of_members(objective, flat, min(objective.n_held_out, most), alone)
    of_one = _vertex(sums.sum(1) / totals.sum(), _STAY)
    factor = factors[0] * _STEP**of_one.step
    if objective.n_shared == 0:
        return Judgement(of_one.height, (factor, factor), 0.0)
    densities, weights = _pair_densities(objective, flat, [alone[of_one.nearest], *paired])
    mixed = densities[:, 1:].logsumexp(0) - math.log(2.0)
    of_two = _vertex(mixed @ (weights / weights.sum()), _STAY)
    pair = densities[:, [0, 1 + of_two.nearest]]
    gains = _gains_of_mixing(pair, mixed[of_two.nearest], objective.n_mixed)
    gain = max(_surely(gains, weights), 0.0)
    return Judgement(of_one.height + gain, (factor, factors[1] * _STEP**of_two.step), gain)


def settled_factors(
    objective: MixtureObjective, flat: Tensor, factors: tuple[float, float]
) -> Judgement:
    """Search until steps hardly move."""
    for _ in range(_MOST_SEARCHED):
        before = factors
        judgement = search_factors(objective, flat, before)
        factors = judgement.factors
        if np.allclose(factors, before, rtol=_SETTLED, atol=0.0):
            break
    return judgement


class _Vertex(NamedTuple):
    """Where scores are highest, if they are a smooth function.

    Attributes
    ----------
    nearest : int
        The highest of the scores.
    step : float
        Where between these the function is highest, counted from one of them.
    height : float
        The function there.
    """

    nearest: int
    step: float
    height: float


def _vertex(scores: Tensor, stay: int) -> _Vertex:
    """Return the vertex of the parabola through the highest of scores (n,) and those beside it.

    The best of a few factors would be off by half a step, of which `pooled_factors` makes twice
    as much. Steps are counted from ``stay``, which is the best where none is clearly better.
    """
    best = int(scores.argmax())
    best = best if scores[best] > scores[stay] + _NO_GAIN else stay
    if 0 < best < len(scores) - 1:
        before, height, after = scores[best - 1 : best + 2].tolist()
        slope, bend = 0.5 * (after - before), before - 2.0 * height + after
        if math.isfinite(bend) and bend < -_NO_GAIN:
            return _Vertex(best, best - stay - slope / bend, height - 0.5 * slope**2 / bend)
    return _Vertex(best, float(best - stay), float(scores[best]))


def training_score(objective: MixtureObjective, flat: Tensor) -> float:
    """Return the mean log-likelihood of training rows (the first; they are in no order)."""
    n_rows = min(objective.n_rows, max(1, _MOST_ROWS // len(objective.offsets)))
    sums, totals = _sums_of_members(objective, flat, n_rows, [1.0])
    return float(sums.sum() / totals.sum())


def _gains_of_mixing(pair: Tensor, mixed: Tensor, n_members: int) -> Tensor:
    """Return by how much a mixture of all members is better than one of them, row by row.

    What two mixed gain is carried over to all (see `_carried`), but no row can be better off than
    with the better of the two: where they disagree by far, little is known of the others.

    Parameters
    ----------
    pair : Tensor of shape (2, 2, n)
        Log-densities by two members, with the factor of one and with that of two.
    mixed : Tensor of shape (n,)
        The log-density of the two mixed.
    """
    one = pair[:, 0].mean(0)
    carried = _carried(torch.stack([one, mixed]), n_members)
    return torch.minimum(carried, pair.amax((0, 1))) - one


def _sums_of_members(
    objective: MixtureObjective, flat: Tensor, n_positions: int, factors: list[float]
) -> tuple[Tensor, Tensor]:
    """Return log-likelihoods (len(factors), E) of rows that members hold out, and weights (E,)."""
    sums = []
    for positions in torch.arange(n_positions, device=flat.device).split(_ROWS):
        rows = objective.held_out_rows(positions)
        densities, weights = objective.log_densities(flat, rows, factors)
        ones = torch.ones_like(weights).unsqueeze(0)
        sums.append((torch.cat([densities, ones]) * weights).sum(2, dtype=torch.float64))
    total = torch.stack(sums).sum(0).cpu()
    return total[:-1], total[-1]


def calibrate(objective: MixtureObjective, flat: Tensor) -> Calibration:
    """Search for the factors of the final parameters, from those that training ended with."""
    if objective.n_held_out == 0:
        unknown = np.full(objective.loss.n_targets, np.nan)
        return Calibration(None, 1.0, np.ones(len(objective.offsets)), unknown)
    factor, _ = settled_factors(objective, flat, objective.factors or (1.0, 1.0)).factors
    sums, totals = _sums_of_members(objective, flat, objective.n_held_out, [factor])
    score = float(sums.sum() / totals.sum())
    pooled = pooled_factors(objective, flat, factor)
    return Calibration(score, factor, pooled, _squared_errors(objective, flat, factor))


def _squared_errors(objective: MixtureObjective, flat: Tensor, factor: float) -> np.ndarray:
    """Return those (D,) of what the members' means are wrong by on rows held out."""
    positions = torch.arange(min(objective.n_held_out, _MOST_PAIRS), device=flat.device)
    errors, *_ = objective.errors(flat, objective.held_out_rows(positions), factor)
    return trimmed_mean_squares(errors.mT.flatten(0, 1).double().cpu().numpy())


def trimmed_mean_squares(errors: np.ndarray) -> np.ndarray:
    """Return the mean squares (D,) of errors (n, D), but for the largest hundredth.

    The farthest outliers would be all that counts. Weights do not.
    """
    squares = np.sort(errors**2, axis=0)
    return squares[: math.ceil(_NOT_FAR * len(squares))].mean(axis=0)


def pooled_factors(objective: MixtureObjective, flat: Tensor, factor: float) -> np.ndarray:
    """Return the variance factors of the members of their equally weighted mixture.

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
    objective : MixtureObjective
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
    densities, weights = _pair_densities(objective, flat, grid)
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
    return float(weights @ _carried(found.scores - plain.scores, n_members))


def _share_left(plain: _BestSteps, n_members: int, by_moments: float, n_pairs: float) -> float:
    """Return ``f_M / f_1`` of `pooled_factors`; the more pairs there are, the less by moments."""
    of_two = _RATIO ** (plain.paired - plain.alone)
    by_pairs = max(1.0 - (_OF_MANY - _OF_FEW / n_members) * (1.0 - of_two), _LEAST_SHARE)
    trust = n_pairs / (n_pairs + _PAIRS_TO_TRUST)
    return min(by_pairs, 1.0) ** trust * max(by_moments, _LEAST_SHARE) ** (1.0 - trust)


def _carried(two: Tensor, n_members: int) -> Tensor:
    """Carry what holds for one member and for two mixed (2, ...) over to all members mixed."""
    return two[0] - 2.0 * (1.0 - 1.0 / n_members) * (two[0] - two[1])


def _surely(gains: Tensor, weights: Tensor) -> float:
    """Return the mean gain of rows less its standard error."""
    mean = (weights @ gains) / weights.sum()
    error = (weights * (gains - mean)).square().sum().sqrt() / weights.sum()
    return float(mean - error)


def _share_by_moments(objective: MixtureObjective, flat: Tensor, factor: float) -> float:
    """Return ``1 - (2 - 2/M) B / R``; see `pooled_factors`.

    Two members that hold a row out differ there by 2 B, in the mean square; R is the mean square
    of the errors on all rows held out, both in units of what the variances say.
    """
    positions = torch.arange(min(objective.n_held_out, _MOST_PAIRS), device=flat.device)
    errors, variances, weights = objective.errors(flat, objective.held_out_rows(positions), factor)
    rows = _shared_rows(objective, flat.device)
    both = slice(rows.shape[1])
    before = objective.errors(flat, rows.roll(-1, dims=0), factor)
    others, of_others = (part.roll(1, dims=0) for part in before[:2])
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


def _pair_densities(
    objective: MixtureObjective, flat: Tensor, factors: list[float]
) -> tuple[Tensor, Tensor]:
    """Return log-densities of rows by the two members that hold them out, and the rows' weights.

    Returns
    -------
    log_densities : Tensor of shape (2, len(factors), n)
    weights : Tensor of shape (n,)
    """
    rows = _shared_rows(objective, flat.device)
    # In one go: a call for few rows takes as long as one for twice as many.
    twice = torch.cat([rows, rows.roll(-1, dims=0)], dim=1)
    found, weights = objective.log_densities(flat, twice, factors)
    here, before = found.chunk(2, dim=2)
    both = torch.stack([here, before.roll(1, dims=1)])
    return both.flatten(2).double().cpu(), weights.chunk(2, dim=1)[0].flatten().double().cpu()


def _shared_rows(objective: MixtureObjective, device: torch.device) -> Tensor:
    """Return rows (E, n) that each member and the one before it hold out.

    They are the first ones of a member, and the last ones of the member before.
    """
    n_pairs = min(objective.n_shared, _MOST_PAIRS)
    return objective.held_out_rows(torch.arange(n_pairs, device=device))


def _best_steps(log_densities: Tensor, weights: Tensor, tail: int, share: float) -> _BestSteps:
    """Return the best factors, with a share in the tail or, where that is 0, without one."""
    n_factors = _LAST - _FIRST + 1
    body, wide = log_densities[:, :n_factors], log_densities[:, tail:][:, :n_factors]
    mixed = torch.logaddexp(body + math.log(1.0 - share), wide + math.log(share))
    both = torch.stack([mixed.mean(0), mixed.logsumexp(0) - math.log(2.0)])
    one, two = (_vertex(each @ (weights / weights.sum()), -_FIRST) for each in both)
    scores = torch.stack([both[0, one.nearest], both[1, two.nearest]])
    return _BestSteps(one.step, two.step, tail, scores)
