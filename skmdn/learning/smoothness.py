"""How smooth a function the data call for, told by short trainings of a few networks.

The best weight decay differs between data sets by a factor of a hundred, and with it the best
frequencies to start from: smooth functions of many features want much decay and slow waves, ragged
ones hardly any and fast waves. How a few networks begin tells which, at a fraction of what sixteen
take to train, and whether more of them are worth training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from .initialization import starting_point
from .loss import MixtureLoss
from .network import Architecture
from .objective import MixtureObjective, equal_batch_size, held_out_share
from .threads import threads_for
from .training import LEAST_LEARNED, TrainingOptions, TrainingResult, begin


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


class Outlook(NamedTuple):
    """What short trainings tell of the one to come.

    Attributes
    ----------
    smoothness : Smoothness
        What suits the data.
    n_members : int
        As many networks as are worth training.
    """

    smoothness: Smoothness
    n_members: int


class _Trials(NamedTuple):
    """How to tell whether another smoothness than the usual one is better.

    Attributes
    ----------
    n_members : int
        Networks that are trained for a while.
    n_checks : int
        Checks of their training after which they are compared.
    n_errors : float
        By how many standard errors another must be better.
    most_learned : float
        By how much scores may rise after the first check for their order to be the final one.
    """

    n_members: int
    n_checks: int
    n_errors: float
    most_learned: float


#: What suits most data, and ragged functions, where rows are many enough to show one.
USUAL, _ROUGH = Smoothness(0.02, 1.0), Smoothness(0.004, 10.0)
#: The check at which a trial is given up that is not so far ahead of the usual one by then: slow
#: waves that suit the data lead from the start, fast ones fall behind first. Where all are given
#: up, the usual one need not go on, either.
_EARLY, _ROUGH_LEAD, _SMOOTH_LEAD = 5, -0.1, 0.0
#: With few rows, a fit takes not much longer than a trial, and differences may be chance. Without
#: noise, scores rise for long, and those that rose first may be left behind.
_OF_FEW_ROWS = _Trials(8, 4, n_errors=2.5, most_learned=0.6)
_OF_MANY_ROWS = _Trials(5, 15, n_errors=0.0, most_learned=math.inf)
#: Fewest members that tell how much of what they say is chance.
_FEWEST_MEMBERS = 5
#: Where rows begin to be many; most that are looked at.
_MANY_ROWS, _MOST_ROWS = 2000, 2**14
#: Few rows that are fewer than this for each feature call for smoothness without a trial, but not
#: for as much decay as rows that show noise.
_ROWS_A_FEATURE, _OF_WIDE_DATA = 20, Smoothness(0.1, 0.25)
#: By how much another must be better. Here all gains are in nats a target.
_CLEARLY = 0.01
#: What mixing all members gains at most where a few suffice: M of them lack about a share of 1/M.
_LITTLE = 0.01


def smooth(n_rows: int) -> Smoothness:
    """Return what suits smooth functions of many features.

    A decay of 8 / sqrt(n) is about the best there, from 0.4 for 400 rows to 0.1 for 7,000. It is
    at most 0.5, and 1/16 at the least.
    """
    return Smoothness(8.0 / math.sqrt(min(max(n_rows, 256), _MOST_ROWS)), 0.25)


class _Scores(NamedTuple):
    """What a trial shows, in nats a target.

    Attributes
    ----------
    mixed : Tensor of shape (c,)
        The score at each check.
    members : Tensor of shape (c, E)
        The members' own.
    """

    mixed: Tensor
    members: Tensor

    def learned(self) -> float:
        """Return by how much scores rose after the first check."""
        return float(self.mixed.max() - self.mixed[0])

    def gained(self) -> float:
        """Return what mixing all members adds to one of them, where the score is best."""
        best = self.mixed.argmax()
        return float(self.mixed[best] - self.members[best].mean())

    def clearly_better(self, other: _Scores, how: _Trials) -> bool:
        """Tell whether it is ahead once the start is past, and by more than chance."""
        n_checks = max(len(self.mixed), len(other.mixed))
        lead = self.lead(other, n_checks)
        if how.n_errors == 0.0:
            return lead > _CLEARLY
        members = self._late(self.members, n_checks) - other._late(other.members, n_checks)
        error = float(members.std()) / math.sqrt(len(members))
        return lead > _CLEARLY and lead > how.n_errors * error

    def lead(self, other: _Scores, n_checks: int) -> float:
        """Return by how much the mean score at the later half of so many checks is better."""
        late = self._late(self.mixed, n_checks) - other._late(other.mixed, n_checks)
        return float(late)

    def _late(self, scores: Tensor, n_checks: int) -> Tensor:
        """Return the mean of scores (c, ...) at the later half of so many checks.

        Training that ended before would have gone back to its best.
        """
        checks = torch.arange(n_checks // 2, n_checks, device="cpu")
        checks[checks >= len(self.mixed)] = self.mixed.argmax()
        return scores[checks].mean(0)


class _Trial:
    """A training of a few networks that can be looked at, and gone on with."""

    def __init__(self, objective: MixtureObjective, results: Iterator[TrainingResult]):
        self.objective, self.results = objective, results
        self.mixed: list[float] = []
        self.members: list[Tensor] = []
        #: Whether the training is known to have ended.
        self.is_over = False

    def to(self, n_checks: int) -> _Scores:
        """Return the scores at the first checks, if training does not end before."""
        with threads_for(self.objective.architecture.n_parameters * self.objective.batch_size):
            for result in islice(self.results, max(0, n_checks - len(self.mixed))):
                self.mixed.append(result.scores[-1])
                self.members.append(self.objective.member_scores)
        self.is_over = self.is_over or len(self.mixed) < n_checks
        mixed = torch.tensor(self.mixed[:n_checks], dtype=torch.float64, device="cpu")
        n_targets = self.objective.loss.n_targets
        return _Scores(mixed / n_targets, torch.stack(self.members[:n_checks]) / n_targets)

    def suffices(self) -> bool:
        """Tell whether no more networks than these are worth training, if that is known."""
        return self.is_over and self.to(len(self.mixed)).gained() < _LITTLE


@dataclass(frozen=True)
class _Beginnings:
    """Trainings of a few networks that end soon, all else than the smoothness being equal.

    Parameters
    ----------
    architecture, loss, table, options, batch_size, seed
        As `outlook` takes them.
    how : _Trials
    """

    architecture: Architecture
    loss: MixtureLoss
    table: Tensor
    options: TrainingOptions
    batch_size: int | None
    seed: int
    how: _Trials

    def of(self, tried: Smoothness) -> _Trial:
        """Return the training with a smoothness, not yet begun."""
        generator = torch.Generator().manual_seed(self.seed)
        options = replace(self.options, weight_decay=tried.weight_decay)
        objective = self._objective(tried.frequency_factor, generator)
        return _Trial(objective, begin(objective, options, generator))

    def _objective(self, frequency_factor: float, generator: torch.Generator) -> MixtureObjective:
        n_members, loss, table = self.architecture.n_members, self.loss, self.table
        few = replace(self.architecture, n_members=min(self.how.n_members, n_members))
        n_held_out = int(held_out_share(few.n_members) * len(table))
        size = equal_batch_size(len(table) - n_held_out, self.batch_size)
        flat = starting_point(few, loss, table.cpu(), generator, frequency_factor)
        with threads_for(few.n_parameters * size):
            return MixtureObjective(
                few, loss, flat.to(table.device), table, n_held_out, size, n_members
            )


def outlook(
    architecture: Architecture,
    loss: MixtureLoss,
    table: Tensor,
    options: TrainingOptions,
    batch_size: int | None,
    seed: int,
) -> Outlook:
    """Return the smoothness that suits held-out rows clearly better, or the usual one.

    A few networks tell, from how well they begin. Each holds out rows; where five or more share
    all rows among them, what mixing them gains is carried over to the members that are to be
    trained. Ragged ones, which err each its own way, gain most. Where training is over soon and
    mixing gains hardly anything, no more than these few are worth training.

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
    n_rows, n_members = len(table), architecture.n_members
    how = _OF_FEW_ROWS if n_rows < _MANY_ROWS else _OF_MANY_ROWS
    if n_rows < min(_ROWS_A_FEATURE * architecture.n_features, _MANY_ROWS):
        return Outlook(_OF_WIDE_DATA, n_members)
    if how.n_errors and n_members < _FEWEST_MEMBERS:
        return Outlook(USUAL, n_members)
    table = table[:_MOST_ROWS]
    trials = _Beginnings(architecture, loss, table, options, batch_size, seed, how)
    usual = trials.of(USUAL)
    suited = _suited(usual, trials, n_rows)
    few_suffice = suited == USUAL and usual.suffices()
    return Outlook(suited, min(how.n_members, n_members) if few_suffice else n_members)


def _suited(usual: _Trial, trials: _Beginnings, n_rows: int) -> Smoothness:
    """Return the smoothness that is clearly better than the usual one, or that."""
    how = trials.how
    early = min(_EARLY, how.n_checks)
    learned = (usual.to(n_checks).learned() for n_checks in (early, how.n_checks))
    if not any(LEAST_LEARNED <= nats <= how.most_learned for nats in learned):
        return USUAL

    def is_better(tried: Smoothness, early_lead: float) -> bool:
        """Try it, but give it up without so much of a lead early on."""
        trial = trials.of(tried)
        if trial.to(early).lead(usual.to(early), early) < early_lead:
            return False
        return trial.to(how.n_checks).clearly_better(usual.to(how.n_checks), how)

    # They lie on either side of the usual: where one is better, the other hardly is.
    if how is _OF_MANY_ROWS and is_better(_ROUGH, _ROUGH_LEAD):
        return _ROUGH
    return smooth(n_rows) if is_better(smooth(n_rows), _SMOOTH_LEAD) else USUAL
