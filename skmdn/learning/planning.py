"""How to train, and how many networks: short trainings of a few tell before the long one begins.

The best weight decay differs between data sets by a factor of a hundred, and with it the best
frequencies to start from: smooth functions of many features want much decay and slow waves, ragged
ones hardly any and fast waves. How a few networks begin tells which, at a fraction of what sixteen
take to train, and whether more of them are worth training.
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
from .noise import NoiseModel
from .objective import MixtureObjective, equal_batch_size, held_out_share, rows_held_out
from .rows import MOST_SAMPLED, sample_of
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


class _Rule(NamedTuple):
    """How to tell whether another smoothness than the usual one is better.

    Attributes
    ----------
    n_members : int
        Networks that are trained for a while.
    n_early, n_checks : int
        Checks of their training after which what is behind is given up, and the rest compared.
    n_errors : float
        By how many standard errors another must be better.
    most_learned : float
        By how much scores may rise after the first check for their order to be the final one.
    """

    n_members: int
    n_early: int
    n_checks: int
    n_errors: float
    most_learned: float


class _Candidate(NamedTuple):
    """What may be better than the usual one.

    Attributes
    ----------
    smoothness : Smoothness
    least_early_lead : float
        The lead on the usual one without which it is given up early on.
    least_lead : float
        By how much it must be better in the end. Here all gains are in nats a target.
    """

    smoothness: Smoothness
    least_early_lead: float
    least_lead: float


#: What suits most data.
USUAL = Smoothness(0.02, 1.0)
#: What suits ragged functions, where rows are many enough to show one.
_ROUGH = Smoothness(0.004, 10.0)
#: With few rows, a fit takes not much longer than a trial, and differences may be chance. Without
#: noise, scores rise for long, and those that rose first may be left behind.
_OF_FEW_ROWS = _Rule(8, 4, 4, n_errors=2.5, most_learned=0.6)
_OF_MANY_ROWS = _Rule(5, 5, 15, n_errors=0.0, most_learned=math.inf)
#: Several targets share the layers, so that what suits these shows later, and matters more.
_OF_SEVERAL_TARGETS = _OF_FEW_ROWS._replace(n_checks=8, n_errors=1.5)
#: Fewest members that tell how much of what they say is chance.
_FEWEST_MEMBERS = 5
#: Where rows begin to be many.
_MANY_ROWS = 2000
#: Few rows that are fewer than this for each feature call for smoothness without a trial,
_ROWS_A_FEATURE = 20
#: but not for as much decay as rows that show noise.
_OF_WIDE_DATA = Smoothness(0.1, 0.25)
#: What is clearly better, in nats a target;
_CLEARLY = 0.01
#: and hardly better.
_HARDLY = 0.001
#: Rows from which on a fit takes so long that a few members may do.
_LONG_FIT = 10_000
#: They will where mixing all surely gains less than this: M of them lack about 1/M of it.
_LITTLE = 0.01
#: Networks where nothing says that fewer suffice.
USUAL_MEMBERS = 16
#: Multiplications of a pass of all rows through all networks beyond which these are fewer: so many
#: took two cores 4 s, a fit minutes.
_MOST_WORK = 2.7e10
#: Units of a hidden layer for each root of the rows.
_UNITS = 1.25
#: Fewest units of a hidden layer,
_FEWEST_UNITS = 24
#: and most of them for few targets; more targets, which share the layers, fill more.
_MOST_UNITS = 48
#: Targets that are few.
_FEW_TARGETS = 3
#: Components of a network for one target, and of several if rows are enough, whatever they cost.
_COMPONENTS = 5
#: Fewest components for several targets,
_FEWEST_COMPONENTS = 3
#: and most of them,
_MOST_COMPONENTS = 12
#: where there are so many rows for each raw output, or more,
_ROWS_AN_OUTPUT = 3
#: and more than five take no more raw outputs than so many: steps would take long.
_MOST_OUTPUTS = 240


def usual_layers(n_rows: float, n_targets: int) -> tuple[int, ...]:
    """Return the widths of hidden layers: few rows fill few units, many fill a third layer."""
    most = _MOST_UNITS * math.sqrt(max(n_targets / _FEW_TARGETS, 1.0))
    about = min(_UNITS * math.sqrt(n_rows), most)
    width = max(8 * math.ceil(about / 8), _FEWEST_UNITS)
    return (width,) * (2 if n_rows < _MANY_ROWS else 3)


def usual_components(n_rows: float, n_targets: int, noise: NoiseModel) -> int:
    """Return how many components a network has: several targets vary together in more ways."""
    if n_targets == 1:
        return _COMPONENTS
    n_outputs = sum(noise.sizes(1, n_targets))
    most = min(max(_MOST_OUTPUTS / n_outputs, _COMPONENTS), _MOST_COMPONENTS)
    return int(min(max(n_rows / (_ROWS_AN_OUTPUT * n_outputs), _FEWEST_COMPONENTS), most))


def usual_members(n_rows: float, n_parameters: int) -> int:
    """Return how many networks of so many parameters to train on so many rows: 5 to 16."""
    affordable = int(_MOST_WORK / (n_rows * n_parameters))
    return min(max(affordable, _FEWEST_MEMBERS), USUAL_MEMBERS)


def smooth(n_rows: int, n_units: int = _MOST_UNITS) -> Smoothness:
    """Return what suits smooth functions of many features.

    A decay of 8 / sqrt(n) is about the best there, from 0.4 for 400 rows to 0.1 for 7,000. It is
    at most 0.5, and 1/32 at the least; times the root of how much wider than usual layers are.
    """
    decay = 8.0 / math.sqrt(min(max(n_rows, 256), MOST_SAMPLED))
    return Smoothness(decay * math.sqrt(max(1.0, n_units / _MOST_UNITS)), 0.25)


def _candidates(n_rows: int, n_members: int, n_units: int) -> list[_Candidate]:
    """Return what may be better than the usual smoothness, the first to be tried first.

    They lie on either side of it: where one is better, the other hardly is. Slow waves that suit
    the data lead from the start, if it is not held back by the decay of wide layers; fast ones
    fall behind first. Where rows are many, slow ones of which a few members lead by a thousandth
    were better by several in the end; how far one member leads is chance.
    """
    calm = smooth(n_rows, n_units)
    if n_rows < _MANY_ROWS:
        return [_Candidate(calm, 0.0, _CLEARLY)]
    enough = _HARDLY if n_members >= _FEWEST_MEMBERS else _CLEARLY
    early = 0.0 if n_units <= _MOST_UNITS else -0.05
    return [_Candidate(_ROUGH, -0.1, _CLEARLY), _Candidate(calm, early, enough)]


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
        n_held_out = rows_held_out(len(table), held_out_share(self.n_members))
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
    """Return how to train, and how many networks, as short trainings of a few tell.

    Another smoothness than the usual one must suit held-out rows clearly better. A few networks
    tell, from how well they begin. Each holds out rows; where five or more share
    all rows among them, what mixing them gains is carried over to the members that are to be
    trained. Ragged ones, which err each its own way, gain most. Where rows are many, the usual
    trial ends within its checks and what mixing surely gains is hardly anything, no more than
    these few are worth training. Where the trial that is chosen has all networks, and all rows are
    looked at, it is the beginning of their training, which goes on from there.

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
    rule = _rule_for(n_rows, loss.n_targets)
    if n_rows < min(_ROWS_A_FEATURE * architecture.n_features, _MANY_ROWS):
        return TrainingPlan(_OF_WIDE_DATA, n_members)
    if rule.n_errors and n_members < _FEWEST_MEMBERS:
        return TrainingPlan(USUAL, n_members)
    few = min(rule.n_members, n_members)
    looked_at = table[sample_of(n_rows)]
    trials = _Trials(architecture, loss, looked_at, options, batch_size, seed, few)
    usual = trials.of(USUAL)
    candidates = _candidates(n_rows, few, max(architecture.hidden_layer_sizes))
    suited = _suited(usual, trials.of, candidates, rule)
    is_long = n_rows >= _LONG_FIT and n_members > few
    if is_long and suited is usual and usual.gained() < _LITTLE:
        n_members = few
        usual.judge_mixtures_of(few)
    whole = few == n_members and len(looked_at) == n_rows
    return TrainingPlan(suited.smoothness, n_members, suited.training if whole else None)


def _rule_for(n_rows: int, n_targets: int) -> _Rule:
    """Return how to tell, with so many distinct rows of so many targets."""
    if n_rows >= _MANY_ROWS:
        return _OF_MANY_ROWS
    return _OF_FEW_ROWS if n_targets == 1 else _OF_SEVERAL_TARGETS


def _suited(
    usual: Trial,
    trial_of: Callable[[Smoothness], Trial],
    candidates: list[_Candidate],
    rule: _Rule,
) -> Trial:
    """Return the trial of the first candidate that is better than the usual, or that."""
    if not _tells(usual, rule):
        return usual
    for candidate in candidates:
        trial = trial_of(candidate.smoothness)
        early = trial.scores(rule.n_early).lead(usual.scores(rule.n_early), rule.n_early)
        # Where all are given up early on, the usual training need not go on, either.
        is_behind = early < candidate.least_early_lead
        if not is_behind and _is_better(trial, usual, rule, candidate.least_lead):
            return trial
    return usual


def _tells(usual: Trial, rule: _Rule) -> bool:
    """Tell whether how the usual training begins says how others would end.

    There must be something to learn, which may be seen early on or at the end of the trial only.
    """
    for n_checks in (rule.n_early, rule.n_checks):
        if LEAST_LEARNED <= usual.scores(n_checks).learned() <= rule.most_learned:
            return True
    return False


def _is_better(trial: Trial, usual: Trial, rule: _Rule, least_lead: float) -> bool:
    """Tell whether one training is ahead once the start is past, and by more than chance."""
    ours, theirs = trial.scores(rule.n_checks), usual.scores(rule.n_checks)
    n_checks = max(len(ours.mixed), len(theirs.mixed))
    lead = ours.lead(theirs, n_checks)
    if rule.n_errors == 0.0:  # the members may be one, which has no standard error
        return lead > least_lead
    return lead > least_lead and lead > rule.n_errors * ours.lead_error(theirs, n_checks)
