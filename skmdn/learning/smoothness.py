"""How smooth a function the data call for, told by short trainings of a few networks.

The best weight decay differs between data sets by a factor of a hundred, and with it the best
frequencies to start from: smooth functions of many features want much decay and slow waves, ragged
ones hardly any and fast waves. The first scores of four networks tell which, at a fraction of what
sixteen take to train, where there are rows enough for what they tell to be more than chance.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from .initialization import starting_point
from .loss import MixtureLoss
from .network import Architecture
from .objective import MixtureObjective, equal_batch_size
from .threads import threads_for
from .training import TrainingOptions, first_scores


class Smoothness(NamedTuple):
    """What training takes for granted about the function it is to find.

    Attributes
    ----------
    weight_decay : float
        See `TrainingOptions`.
    frequency_factor : float
        How many times as high the frequencies of the embedding start.
    """

    weight_decay: float
    frequency_factor: float


#: What suits most data, and what is tried besides.
USUAL = Smoothness(0.02, 1.0)
_ROUGH, _SMOOTH = Smoothness(0.004, 10.0), Smoothness(0.1, 0.25)
#: By how much another must be better, in nats.
_CLEARLY = 0.01
#: By how much scores must rise after the first check, for there to be something to tell.
_LEARNED = 0.04
#: Rows from which on others are tried, and rows that suffice.
_FEWEST_ROWS, _MOST_ROWS = 2000, 2**14
#: Where nothing is tried: fewest rows a feature for the usual.
_ROWS_A_FEATURE = 20
#: Networks of a trial, the share of the rows that all of them hold out, and the checks it takes.
_N_MEMBERS, _HELD_OUT, _N_CHECKS = 4, 0.1, 15


def chosen_smoothness(
    architecture: Architecture,
    loss: MixtureLoss,
    table: Tensor,
    options: TrainingOptions,
    batch_size: int | None,
    seed: int,
) -> Smoothness:
    """Return the smoothness that suits held-out rows clearly better, or the usual one.

    Where rows are too few to tell, it is the smooth one if they are few for the features.

    A few networks tell, which all hold out the same rows: what mixing them gains there is carried
    over to the members that are to be trained. Ragged ones, which err each its own way, gain most.

    Parameters
    ----------
    architecture, loss
        Of the networks that are to be trained.
    table : Tensor of shape (n, F + D + 1)
        As `MixtureObjective` takes it, its rows in no order.
    options : TrainingOptions
        How to train; the decay is what is tried.
    batch_size : int or None
        About how many rows a step takes; None leaves that to their number.
    seed : int
        Of the starts and the order of the rows.
    """
    if len(table) < _FEWEST_ROWS:
        return USUAL if len(table) >= _ROWS_A_FEATURE * architecture.n_features else _SMOOTH
    few = replace(architecture, n_members=min(_N_MEMBERS, architecture.n_members))
    table = table[:_MOST_ROWS]
    n_held_out = int(_HELD_OUT * len(table))
    size = equal_batch_size(len(table) - n_held_out, batch_size)

    def trial(tried: Smoothness) -> list[float]:
        """Return the first scores of the few, all else being equal."""
        generator = torch.Generator().manual_seed(seed)
        flat = starting_point(few, loss, table.cpu(), generator, tried.frequency_factor)
        with threads_for(few.n_parameters * size):
            objective = MixtureObjective(
                few, loss, flat.to(table.device), table, n_held_out, size, architecture.n_members
            )
            trying = replace(options, weight_decay=tried.weight_decay)
            return first_scores(objective, trying, generator, _N_CHECKS)

    usual = trial(USUAL)
    if max(usual) < usual[0] + _LEARNED:
        return USUAL  # there is little to learn, and all is learned by the first check
    # They lie on either side of the usual: where one is better, the other hardly is.
    others = (_ROUGH, _SMOOTH)
    return next((tried for tried in others if _lead(trial(tried), usual) > _CLEARLY), USUAL)


def _lead(scores: list[float], others: list[float]) -> float:
    """Return by how much scores are ahead, once both are past what the start decides."""
    n_checks = min(len(scores), len(others))
    late = slice(n_checks // 2, n_checks)
    return fmean(scores[late]) - fmean(others[late])
