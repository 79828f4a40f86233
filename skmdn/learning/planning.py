"""How to train, and how many networks: short trainings tell before the long one begins.

The best weight decay differs between data sets by a factor of a hundred, and with it the best
frequencies to start from: smooth functions of many features want much decay and slow waves, ragged
ones hardly any and fast waves. How networks begin tells which, at a fraction of what it takes to
train them to the end; and, where rows are many, whether more than a few are worth training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from .initialization import starting_point
from .loss import MixtureLoss
from .network import Architecture
from .objective import MixtureObjective, equal_batch_size, rows_held_out
from .rows import sample_of
from .sizes import (
    FEW_TARGETS,
    FEWEST_SHARING,
    MANY_ROWS,
    USUAL_UNITS,
    usual_share_held_out,
)
from .training import LEAST_LEARNED, Training, TrainingOptions
from .trials import Smoothness, Trial


class TrainingPlan(NamedTuple):
    """How to train.

    Attributes
    ----------
    smoothness : Smoothness
        What suits the data.
    n_members : int
        As many networks as are worth training.
    begun : Training, default=None
        The trial that was chosen, if it has all these networks, and all rows: to go on with.
    """

    smoothness: Smoothness
    n_members: int
    begun: Training | None = None


class _Contest(NamedTuple):
    """How a training is compared with the first one. Leads are in nats a target.

    Attributes
    ----------
    n_early : int
        Checks after which the leads are first compared.
    least_early_lead : float
        The lead without which it is given up then; what it takes later rises in line.
    n_checks : int
        Checks after which it is decided, if either goes on for so long.
    least_lead : float
        By how much it must be better then.
    far_ahead : float, default=inf
        A lead that is not lost again, from `_TELLING` checks on.
    """

    n_early: int
    least_early_lead: float
    n_checks: int
    least_lead: float
    far_ahead: float = math.inf

    def is_won(self, trial: Trial, first: Trial) -> bool:
        """Tell whether a trial is better than the first one, as soon as that is clear."""
        rise = (self.least_lead - self.least_early_lead) / (self.n_checks - self.n_early)
        for n in range(self.n_early, self.n_checks):
            lead = trial.lead(first, n)
            if not lead >= self.least_early_lead + rise * (n - self.n_early):  # nor is NaN
                return False
            if n >= _TELLING and lead > self.far_ahead:
                return True
        return trial.lead(first, self.n_checks) > self.least_lead


#: How many times as high as usual the frequencies for smooth functions start.
_LOW = 0.25
#: What suits most data.
USUAL = Smoothness(0.02, 1.0)
#: What suits ragged functions, where rows are many enough to show one.
_ROUGH = Smoothness(0.004, 10.0)
#: Checks after which it is first asked how much is learned.
_EARLY = 5
#: Checks from which on one that is far ahead is taken.
_TELLING = 10
#: The contest of fast waves, which fall behind first, and catch up for good.
_OF_ROUGH = _Contest(5, -0.06, 15, 0.01, far_ahead=0.03)
#: The contest of slow waves on many rows. Where they suit, they lead from the start; and where
#: five members or more led by a thousandth in the end, the fit was better by several.
_OF_CALM = _Contest(3, -0.001, 15, 0.001)
#: The early lead that slow waves need where layers are wide, whose decay holds them back.
_HELD_BACK = -0.05
#: A lead that is not by chance, where members are fewer than five.
_CLEARLY = 0.01
#: The contest of slow waves on few rows of few targets, which all members tell very soon.
_OF_FEW_ROWS = _Contest(3, -0.03, 6, _CLEARLY)
#: That of slow waves where several targets share the layers: what suits these shows later.
_OF_SEVERAL = _Contest(5, -0.05, 15, 0.0)
#: Nats that few rows have learned early on where there is no noise. They go on learning for long,
#: by which the usual is better in the end: nothing else is tried.
_LEARNED_EARLY = 0.9
#: Rows for each feature, where rows are few: fewer call for smoothness in any case. Of one target,
#: a trial would take up to two fifths of the fit, and change little.
_ROWS_A_FEATURE = 20
#: What suits rows that are fewer than `_ROWS_A_FEATURE`.
_WIDE = Smoothness(0.1, _LOW)
#: Fewest and most rows that the decay of smooth functions follows.
_DECAY_ROWS = (256, 2**16)
#: The share of the decay of smooth functions that is enough where targets are few, and rows not
#: very many.
_SHARE_OF_DECAY = 0.5
#: Nats that mixing all members surely gains, below which a few do where rows are many: M of them
#: lack about 1/M of it.
_LITTLE = 0.01
#: Rows from which on a few members do even if there seems to be nothing to learn, or of several
#: targets: a fit takes that long.
_LONG_FIT = 10_000


def smooth(n_rows: int, n_units: int = USUAL_UNITS, share: float = 1.0) -> Smoothness:
    """Return what suits smooth functions of many features, or has that share of its decay.

    A decay of 8 / sqrt(n) is about the best there, from 0.4 for 400 rows to 0.1 for 7,000. It is
    at most 0.5, and 1/32 at the least; times the root of how much wider than usual layers are.
    """
    fewest, most = _DECAY_ROWS
    decay = 8.0 / math.sqrt(min(max(n_rows, fewest), most))
    return Smoothness(share * decay * math.sqrt(max(1.0, n_units / USUAL_UNITS)), _LOW)


def _candidates(
    n_rows: int, n_targets: int, n_members: int, n_units: int
) -> list[tuple[Smoothness, _Contest]]:
    """Return what may be better than the usual smoothness, the first to be tried first.

    They lie on either side of it: where one is better, the other hardly is.
    """
    if n_rows >= (MANY_ROWS if n_targets == 1 else _LONG_FIT):
        early = _OF_CALM.least_early_lead if n_units <= USUAL_UNITS else _HELD_BACK
        of_calm = _sure(_OF_CALM._replace(least_early_lead=early), n_members)
        return [(smooth(n_rows, n_units), of_calm), (_ROUGH, _OF_ROUGH)]
    are_few = n_targets <= FEW_TARGETS
    calm = smooth(n_rows, n_units, _SHARE_OF_DECAY if are_few else 1.0)
    if n_rows < MANY_ROWS:
        return [(calm, _OF_FEW_ROWS if are_few else _OF_SEVERAL)]
    return [(calm, _sure(_OF_SEVERAL, n_members)), (_ROUGH, _OF_ROUGH)]


def _sure(contest: _Contest, n_members: int) -> _Contest:
    """Return a contest that a lead of a few members, which is chance, does not win."""
    return contest if n_members >= FEWEST_SHARING else contest._replace(least_lead=_CLEARLY)


@dataclass(frozen=True)
class _Trials:
    """Trainings of ``n_members`` networks, all else than the smoothness being equal.

    Parameters
    ----------
    architecture, loss, table, options, batch_size, seed
        As `plan_training` takes them.
    n_members : int
    """

    architecture: Architecture
    loss: MixtureLoss
    table: Tensor
    options: TrainingOptions
    batch_size: int | None
    seed: int
    n_members: int

    def of(self, tried: Smoothness) -> Trial:
        """Return the training with a smoothness, not yet begun."""
        few, table = replace(self.architecture, n_members=self.n_members), self.table
        generator = torch.Generator().manual_seed(self.seed)
        flat = starting_point(few, self.loss, table.cpu(), generator, tried.frequency_factor)
        n_held_out = rows_held_out(len(table), usual_share_held_out(self.n_members))
        size = equal_batch_size(len(table) - n_held_out, self.batch_size)
        given = self.loss, flat.to(table.device), table, n_held_out, size
        options = replace(self.options, weight_decay=tried.weight_decay)
        objective = MixtureObjective(few, *given, n_mixed=self.architecture.n_members)
        return Trial(tried, objective, options, generator)


def plan_training(
    architecture: Architecture,
    loss: MixtureLoss,
    table: Tensor,
    options: TrainingOptions,
    batch_size: int | None,
    seed: int,
) -> TrainingPlan:
    """Return how to train, and how many networks, as short trainings tell.

    Another smoothness than the usual one must suit held-out rows better, as networks tell from
    how well they begin: a few where rows are many, else all. Where five or more share all rows
    among them to hold out, what mixing them gains is carried over to the members that are to
    be trained. Ragged ones, which err each its own way, gain most. Trials end as soon as they
    tell which is better. If rows are many, the chosen one all but converges within fifteen
    checks, and mixing surely gains hardly anything, its few networks are enough. If it has all
    networks and all rows, training goes on from it.

    Parameters
    ----------
    architecture, loss
        Of the networks that are to be trained.
    table : Tensor of shape (n, F + D + 1)
        As `MixtureObjective` takes it, its rows in their canonical order.
    options : TrainingOptions
        How to train; the decay is what is tried.
    batch_size : int or None
        About how many rows a step takes; None leaves that to their number.
    seed : int
        Of the starts and the order of the rows.
    """
    n_rows, n_members = len(table), architecture.n_members
    are_few = n_rows < MANY_ROWS
    is_wide = n_rows < min(_ROWS_A_FEATURE * architecture.n_features, MANY_ROWS)
    start = _WIDE if is_wide else USUAL
    is_clear = is_wide and loss.n_targets == 1
    if is_clear or (are_few and n_members < FEWEST_SHARING):
        return TrainingPlan(start, n_members)
    few = n_members if are_few else min(FEWEST_SHARING, n_members)
    looked_at = table[sample_of(n_rows)]
    trials = _Trials(architecture, loss, looked_at, options, batch_size, seed, few)
    first = trials.of(start)
    n_units = max(architecture.hidden_layer_sizes)
    candidates = _candidates(n_rows, loss.n_targets, n_members, n_units)
    if is_wide:
        candidates = [c for c in candidates if c[0].weight_decay > start.weight_decay]
    suited = _suited(first, trials.of, candidates) if _tells(first, n_rows) else first
    if n_members > few and not are_few and _is_enough(suited, n_rows):
        n_members = few
        suited.judge_mixtures_of(few)
    whole = few == n_members and len(looked_at) == n_rows
    return TrainingPlan(suited.smoothness, n_members, suited.training if whole else None)


def _suited(
    first: Trial,
    trial_of: Callable[[Smoothness], Trial],
    candidates: list[tuple[Smoothness, _Contest]],
) -> Trial:
    """Return the trial of the first candidate that is better than the first trial, or that."""
    for smoothness, contest in candidates:
        trial = trial_of(smoothness)
        if contest.is_won(trial, first):
            return trial
    return first


def _is_enough(trial: Trial, n_rows: int) -> bool:
    """Tell whether the few networks of a trial are as good as many would be.

    Where nothing shows for long, more of them find it more often; and how several targets vary
    together may show later than in a trial.
    """
    has_learned = trial.scores(len(trial.mixed)).learned() >= LEAST_LEARNED
    is_simple = has_learned and trial.objective.loss.n_targets == 1
    if not (is_simple or n_rows >= _LONG_FIT) or trial.gained() >= _LITTLE:
        return False
    trial.scores(_OF_ROUGH.n_checks)  # a trial that ended sooner may have more to learn
    return trial.gained() < _LITTLE


def _tells(first: Trial, n_rows: int) -> bool:
    """Tell whether how a training begins says how others would end.

    Where rows are many, there must be something to learn, which may be seen early on or late.
    """
    if n_rows >= MANY_ROWS:
        checks = _EARLY, _OF_ROUGH.n_checks
        return any(first.scores(n).learned() >= LEAST_LEARNED for n in checks)
    return first.scores(_EARLY).learned() <= _LEARNED_EARLY
