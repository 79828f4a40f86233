"""How much weight decay the data call for, told by short trainings of a few networks.

The best decay differs between data sets by a factor of a hundred: functions without noise want
next to none, smooth ones in many features much. Two networks tell which, at a fraction of what
sixteen take to train, where there are rows enough for what they tell to be more than chance.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from .initialization import starting_point
from .loss import MixtureLoss
from .network import Architecture
from .objective import MixtureObjective, equal_batch_size
from .threads import threads_for
from .training import TrainingOptions, TrainingResult, train

#: What suits most data, and what is tried besides.
USUAL_DECAY, _OTHERS = 0.02, (0.004, 0.1)
#: By how much another must be better, in nats. More networks mixed want less decay than two, so
#: where two are but little better with more of it, all would be worse.
_CLEARLY = 0.04
#: Rows from which on it is tried, and rows that suffice.
_FEWEST_ROWS, _MOST_ROWS = 2000, 2**14
#: Networks of a trial, and the share of the rows each holds out.
_N_MEMBERS, _HELD_OUT = 2, 0.1


def chosen_decay(
    architecture: Architecture,
    loss: MixtureLoss,
    table: Tensor,
    options: TrainingOptions,
    batch_size: int | None,
    seed: int,
) -> float:
    """Return the weight decay with which a few networks do clearly best on held-out rows.

    Parameters
    ----------
    architecture, loss
        Of the networks that are to be trained.
    table : Tensor of shape (n, F + D + 1)
        As `MixtureObjective` takes it, its rows in no order.
    options : TrainingOptions
        How to train, but for the decay.
    batch_size : int or None
        About how many rows a step takes; None leaves that to their number.
    seed : int
        Of the starts and the order of the rows.
    """
    if len(table) < _FEWEST_ROWS:
        return USUAL_DECAY
    few = replace(architecture, n_members=min(_N_MEMBERS, architecture.n_members))
    trial = partial(_trial, few, loss, table[:_MOST_ROWS], options, batch_size, seed)
    usual = trial(USUAL_DECAY)
    if usual.best_score < usual.scores[0] + _CLEARLY:
        return USUAL_DECAY  # there is little to learn, and all is learned by the first check
    scores = {decay: trial(decay).best_score for decay in _OTHERS}
    best = max(_OTHERS, key=scores.__getitem__)
    return best if scores[best] > usual.best_score + _CLEARLY else USUAL_DECAY


def _trial(
    architecture: Architecture,
    loss: MixtureLoss,
    table: Tensor,
    options: TrainingOptions,
    batch_size: int | None,
    seed: int,
    decay: float,
) -> TrainingResult:
    """Train with a decay, all else being equal."""
    generator = torch.Generator().manual_seed(seed)
    flat = starting_point(architecture, loss, table.cpu(), generator).to(table.device)
    n_held_out = int(_HELD_OUT * len(table))
    size = equal_batch_size(len(table) - n_held_out, batch_size)
    with threads_for(architecture.n_parameters * size):
        objective = MixtureObjective(architecture, loss, flat, table, n_held_out, size)
        return train(objective, replace(options, weight_decay=decay), generator)
