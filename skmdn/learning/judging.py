"""How good the members would be together, as rows that they hold out tell: what training goes by.

A network fits its own rows more closely than new ones, and the variances it learns are those of
the former. The rows that members hold out tell the factor they are to be multiplied by (in the
spirit of temperature scaling, Guo et al. 2017); with it, means may go on learning long after the
variances alone would have stopped them. Members that err differently are better together than
alone, and best when each has learned more than is good for itself; so training is judged by what
their mixture would surely reach, as told by rows that two of them hold out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .arrays import Array, as_tensor
from .loss import MixtureLoss
from .parts import n_parts, target_log_densities

#: Rows a member is scored on at once.
_ROWS = 1024
#: By what the factors of the check before are multiplied to find those of the next: at most the
#: square of it.
_STEP = 1.3
#: A search is over when it moves by less, as a share of the factors.
_SETTLED = 0.01
#: Nats that may be rounding.
_NO_GAIN = 1e-6
#: Most rows that are looked at in a step of the search,
_MOST_ROWS = 2**14
#: and the share of a member's that the one before holds out, too, at most.
_SHARE_PAIRED = 0.25
#: Most rows of each member that the one before holds out, too, that are looked at in the end.
MOST_PAIRS = 512
#: Most steps of a search that is to end.
_MOST_SEARCHED = 50


class Predictions(NamedTuple):
    """What members make of rows of their own.

    Attributes
    ----------
    loss : MixtureLoss
    raw : array of shape (E, P, B)
    y : array of shape (E, D, B)
    weights : Tensor of shape (E, B)
    """

    loss: MixtureLoss
    raw: Array
    y: Array
    weights: Tensor

    def log_densities(self, factors: list[float]) -> Tensor:
        """Return the log-densities (len(factors), E, B) with variances so many times as large."""
        return _numbers(self.loss.log_density(self.raw, self.y, factors))

    def part_scores(self, factor: float) -> tuple[float, ...]:
        """Return the mean log-density of each target, given those before it; of one, nothing."""
        if n_parts(self.loss) == 1:
            return ()
        found = _numbers(target_log_densities(self.loss, self.raw, self.y, factor))
        sums = (found * self.weights[:, None]).sum((0, 2), dtype=torch.float64)
        return tuple((sums / self.weights.sum()).tolist())

    def errors(self, factor: float) -> tuple[Tensor, Tensor]:
        """Return how far targets are from the members' means, and the variances there: (E, D, B).

        As `MixtureLoss.moments` has them.
        """
        means, variances = self.loss.moments(self.raw, factor)
        return as_tensor(self.y - means), as_tensor(variances)

    def first(self, n_rows: int) -> Predictions:
        """Return those of the first rows of each member."""
        rows = (part[..., :n_rows] for part in (self.raw, self.y, self.weights))
        return Predictions(self.loss, *rows)


class HeldOutRows(Protocol):
    """What is asked of members and the rows they hold out; see `MixtureObjective`."""

    loss: MixtureLoss
    offsets: Tensor
    n_rows: int
    n_held_out: int
    n_shared: int
    n_mixed: int
    factors: tuple[float, float] | None

    @property
    def judged(self) -> JudgedRows:
        """What `judged_rows` chooses."""

    def held_out_rows(self, positions: Tensor) -> Tensor:
        """Return rows (E, B) that the members hold out."""

    def gathered(self, rows: Tensor) -> Any:
        """Return features, targets and weights of rows (E, B)."""

    def predictions(self, flat: Tensor, gathered: Any) -> Predictions:
        """Return what the members make of rows gathered."""


class JudgedRows(NamedTuple):
    """The rows that members are judged on.

    Attributes
    ----------
    gathered : tuple
        Of each member: ``n_pairs`` that the one before it holds out, too, as many that the next
        one does, and others.
    n_pairs : int
    """

    gathered: Any
    n_pairs: int


def judged_rows(objective: HeldOutRows) -> JudgedRows:
    """Choose the rows that members are judged on: all that they hold out, if not too many."""
    offsets = objective.offsets
    most = min(objective.n_held_out, max(1, _MOST_ROWS // len(offsets)))
    to_next = (offsets.roll(-1, dims=0) - offsets) % objective.n_rows
    n_pairs = min(objective.n_shared, int(to_next.min()), int(_SHARE_PAIRED * most))
    n_judged = min(objective.n_held_out, most + n_pairs)
    shared = objective.held_out_rows(torch.arange(n_pairs, device=offsets.device))
    # What the next one holds out, too, begins where its own rows do.
    others = torch.arange(n_pairs, n_judged - n_pairs, device=offsets.device)
    others = objective.held_out_rows(others + n_pairs * (others >= to_next))
    rows = torch.cat([shared, shared.roll(-1, dims=0), others], dim=1)
    return JudgedRows(objective.gathered(rows), n_pairs)


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
    part_scores : tuple of float
        Mean log-likelihoods of each target, given those before it, where each has raw outputs of
        its own; else none.
    """

    score: float
    factors: tuple[float, float]
    gain: float
    part_scores: tuple[float, ...] = ()


def search_factors(
    objective: HeldOutRows, flat: Tensor, factors: tuple[float, float]
) -> Judgement:
    """Take one step in the search for the variance factors of one member, and of two mixed.

    Parameters
    ----------
    objective : HeldOutRows
    flat : Tensor
        The parameters judged.
    factors : (float, float)
        Where the search stands.

    Returns
    -------
    Judgement
    """
    return _step(objective, objective.predictions(flat, objective.judged.gathered), factors)


def settled_factors(
    objective: HeldOutRows, flat: Tensor, factors: tuple[float, float]
) -> Judgement:
    """Search until steps hardly move."""
    seen = objective.predictions(flat, objective.judged.gathered)
    for _ in range(_MOST_SEARCHED):
        before = factors
        judgement = _step(objective, seen, before)
        factors = judgement.factors
        if np.allclose(factors, before, rtol=_SETTLED, atol=0.0):
            break
    return judgement


def _step(objective: HeldOutRows, seen: Predictions, factors: tuple[float, float]) -> Judgement:
    """Take one step of the search, of what members make of the rows they are judged on."""
    n_pairs, total = objective.judged.n_pairs, seen.weights.sum(dtype=torch.float64)

    def score_alone(densities: Tensor) -> Tensor:
        """Return the mean of log-densities (n_factors, E, B), for each factor."""
        return (densities * seen.weights).sum((1, 2), dtype=torch.float64) / total

    of_one, densities = _climb(seen.log_densities, score_alone, factors[0])
    factor = factors[0] * _STEP**of_one.step
    if n_pairs == 0:
        return Judgement(of_one.height, (factor, factor), 0.0, seen.part_scores(factors[0]))
    both = seen.first(2 * n_pairs)
    weights = both.weights[:, :n_pairs].flatten().double().cpu()

    def score_mixed(densities: Tensor) -> Tensor:
        """Return that of two members mixed, of the rows that both hold out."""
        return _mixed(as_pairs(densities)) @ (weights / weights.sum())

    of_two, of_pairs = _climb(both.log_densities, score_mixed, factors[1])
    one = densities[[of_one.nearest], :, : 2 * n_pairs]
    pair = as_pairs(torch.cat([one, of_pairs[[of_two.nearest]]]))
    gains = _gains_of_mixing(pair, _mixed(pair)[1], objective.n_mixed)
    gain = max(_surely(gains, weights), 0.0)
    found = factor, factors[1] * _STEP**of_two.step
    return Judgement(of_one.height + gain, found, gain, seen.part_scores(factors[0]))


def _numbers(log_densities: Array) -> Tensor:
    """Return log-densities as numbers: infinitely far from every component, a softmax is none."""
    found = as_tensor(log_densities)
    return found.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def _climb(
    densities_of: Callable[[list[float]], Tensor],
    score: Callable[[Tensor], Tensor],
    factor: float,
) -> tuple[Vertex, Tensor]:
    """Take a step towards the likeliest factor; return where it is, and the densities seen.

    Three factors tell, mostly; a fourth, where the outer of them is the likeliest.
    """
    densities = densities_of([factor / _STEP, factor, factor * _STEP])
    side = vertex(score(densities), 1).nearest - 1
    if side != 0:
        farther = densities_of([factor * _STEP ** (2 * side)])
        densities = torch.cat([densities, farther] if side > 0 else [farther, densities])
    return vertex(score(densities), 2 if side < 0 else 1), densities


def _mixed(pairs: Tensor) -> Tensor:
    """Return the log-densities (n_factors, n) of the two members of pairs (2, n_factors, n)."""
    return pairs.logsumexp(0) - math.log(2.0)


class Vertex(NamedTuple):
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


def vertex(scores: Tensor, stay: int) -> Vertex:
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
            return Vertex(best, best - stay - slope / bend, height - 0.5 * slope**2 / bend)
    return Vertex(best, float(best - stay), float(scores[best]))


def training_score(objective: HeldOutRows, flat: Tensor) -> float:
    """Return the mean log-likelihood of training rows (the first; they are in no order)."""
    n_rows = min(objective.n_rows, max(1, _MOST_ROWS // len(objective.offsets)))
    sums, totals = sums_of_members(objective, flat, n_rows, [1.0])
    return float(sums.sum() / totals.sum())


def _gains_of_mixing(pair: Tensor, mixed: Tensor, n_members: int) -> Tensor:
    """Return by how much a mixture of all members is better than one of them, row by row.

    What two mixed gain is carried over to all (see `carried`), but no row can be better off than
    with the better of the two: where they disagree by far, little is known of the others.

    Parameters
    ----------
    pair : Tensor of shape (2, 2, n)
        Log-densities by two members, with the factor of one and with that of two.
    mixed : Tensor of shape (n,)
        The log-density of the two mixed.
    """
    one = pair[:, 0].mean(0)
    of_all = carried(torch.stack([one, mixed]), n_members)
    return torch.minimum(of_all, pair.amax((0, 1))) - one


def sums_of_members(
    objective: HeldOutRows, flat: Tensor, n_positions: int, factors: list[float]
) -> tuple[Tensor, Tensor]:
    """Return log-likelihoods (len(factors), E) of rows that members hold out, and weights (E,)."""
    sums = []
    for positions in torch.arange(n_positions, device=flat.device).split(_ROWS):
        seen = predicted(objective, flat, objective.held_out_rows(positions))
        densities = seen.log_densities(factors)
        ones = torch.ones_like(seen.weights).unsqueeze(0)
        sums.append((torch.cat([densities, ones]) * seen.weights).sum(2, dtype=torch.float64))
    total = torch.stack(sums).sum(0).cpu()
    return total[:-1], total[-1]


def predicted(objective: HeldOutRows, flat: Tensor, rows: Tensor) -> Predictions:
    """Return what the members make of rows (E, B)."""
    return objective.predictions(flat, objective.gathered(rows))


def carried(two: Tensor, n_members: int) -> Tensor:
    """Carry what holds for one member and for two mixed (2, ...) over to all members mixed."""
    return two[0] - 2.0 * (1.0 - 1.0 / n_members) * (two[0] - two[1])


def _surely(gains: Tensor, weights: Tensor) -> float:
    """Return the mean gain of rows less its standard error."""
    mean = (weights @ gains) / weights.sum()
    error = (weights * (gains - mean)).square().sum().sqrt() / weights.sum()
    return float(mean - error)


def pair_densities(
    objective: HeldOutRows, flat: Tensor, factors: list[float]
) -> tuple[Tensor, Tensor]:
    """Return log-densities of rows by the two members that hold them out, and the rows' weights.

    Returns
    -------
    log_densities : Tensor of shape (2, len(factors), n)
    weights : Tensor of shape (n,)
    """
    rows = shared_rows(objective, flat.device)
    both = predicted(objective, flat, torch.cat([rows, rows.roll(-1, dims=0)], dim=1))
    weights = both.weights.chunk(2, dim=1)[0].flatten().double().cpu()
    return as_pairs(both.log_densities(factors)), weights


def as_pairs(found: Tensor) -> Tensor:
    """Return what members find (n_factors, E, 2 n) as two for each row: (2, n_factors, E n).

    The first n rows of each are those that the one before it holds out, too; then come those that
    the next one does.
    """
    here, before = found.chunk(2, dim=2)
    return torch.stack([here, before.roll(1, dims=1)]).flatten(2).double().cpu()


def shared_rows(objective: HeldOutRows, device: torch.device) -> Tensor:
    """Return rows (E, n) that each member and the one before it hold out.

    They are the first ones of a member, and the last ones of the member before.
    """
    n_pairs = min(objective.n_shared, MOST_PAIRS)
    return objective.held_out_rows(torch.arange(n_pairs, device=device))
