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
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .loss import MixtureLoss

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
MOST_PAIRS = 512
#: Most steps of a search that is to end.
_MOST_SEARCHED = 50


class HeldOutRows(Protocol):
    """What is asked of members and the rows they hold out; see `MixtureObjective`."""

    loss: MixtureLoss
    offsets: Tensor
    n_rows: int
    n_held_out: int
    n_shared: int
    n_mixed: int
    factors: tuple[float, float] | None

    def held_out_rows(self, positions: Tensor) -> Tensor:
        """Return rows (E, B) that the members hold out."""

    def log_densities(
        self, flat: Tensor, rows: Tensor, factors: list[float]
    ) -> tuple[Tensor, Tensor]:
        """Return the log-densities (len(factors), E, B) of rows, and their weights."""

    def errors(self, flat: Tensor, rows: Tensor, factor: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return what members' means are wrong by, the variances there, and the weights."""


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
    alone, paired = ([factor * ratio for ratio in _SEARCHED] for factor in factors)
    most = max(1, _MOST_ROWS // len(objective.offsets))
    sums, totals = sums_of_members(objective, flat, min(objective.n_held_out, most), alone)
    of_one = vertex(sums.sum(1) / totals.sum(), _STAY)
    factor = factors[0] * _STEP**of_one.step
    if objective.n_shared == 0:
        return Judgement(of_one.height, (factor, factor), 0.0)
    densities, weights = pair_densities(objective, flat, [alone[of_one.nearest], *paired])
    mixed = densities[:, 1:].logsumexp(0) - math.log(2.0)
    of_two = vertex(mixed @ (weights / weights.sum()), _STAY)
    pair = densities[:, [0, 1 + of_two.nearest]]
    gains = _gains_of_mixing(pair, mixed[of_two.nearest], objective.n_mixed)
    gain = max(_surely(gains, weights), 0.0)
    return Judgement(of_one.height + gain, (factor, factors[1] * _STEP**of_two.step), gain)


def settled_factors(
    objective: HeldOutRows, flat: Tensor, factors: tuple[float, float]
) -> Judgement:
    """Search until steps hardly move."""
    for _ in range(_MOST_SEARCHED):
        before = factors
        judgement = search_factors(objective, flat, before)
        factors = judgement.factors
        if np.allclose(factors, before, rtol=_SETTLED, atol=0.0):
            break
    return judgement


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
        rows = objective.held_out_rows(positions)
        densities, weights = objective.log_densities(flat, rows, factors)
        ones = torch.ones_like(weights).unsqueeze(0)
        sums.append((torch.cat([densities, ones]) * weights).sum(2, dtype=torch.float64))
    total = torch.stack(sums).sum(0).cpu()
    return total[:-1], total[-1]


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
    # In one go: a call for few rows takes as long as one for twice as many.
    twice = torch.cat([rows, rows.roll(-1, dims=0)], dim=1)
    found, weights = objective.log_densities(flat, twice, factors)
    here, before = found.chunk(2, dim=2)
    both = torch.stack([here, before.roll(1, dims=1)])
    return both.flatten(2).double().cpu(), weights.chunk(2, dim=1)[0].flatten().double().cpu()


def shared_rows(objective: HeldOutRows, device: torch.device) -> Tensor:
    """Return rows (E, n) that each member and the one before it hold out.

    They are the first ones of a member, and the last ones of the member before.
    """
    n_pairs = min(objective.n_shared, MOST_PAIRS)
    return objective.held_out_rows(torch.arange(n_pairs, device=device))
