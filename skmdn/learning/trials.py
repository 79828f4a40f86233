"""Short trainings, and what they show."""

from __future__ import annotations

import math
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from .objective import MixtureObjective
from .training import LEAST_LEARNED, Training, TrainingOptions

#: A training that has learned something is all but over where its score has risen by less in so
#: many checks.
_HARDLY = 0.02
_RECENT = 5


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


class TrialScores(NamedTuple):
    """The scores at the first checks of a training, in nats a target.

    Attributes
    ----------
    mixed : ndarray of shape (c,)
        What training is judged by: the members' mean, and what mixing all surely adds.
    gains : ndarray of shape (c,)
        What mixing all surely adds.
    """

    mixed: np.ndarray
    gains: np.ndarray

    def learned(self) -> float:
        """Return by how much scores rose after the first check."""
        return float(self.mixed.max() - self.mixed[0])

    def rose(self, n_checks: int) -> float:
        """Return by how much scores rose in the last so many checks; infinity, if in all."""
        before = self.mixed[:-n_checks]
        return float(self.mixed.max() - before.max()) if len(before) else math.inf

    def gained(self) -> float:
        """Return what mixing all members surely adds to one of them, where the score is best."""
        return float(self.gains[self.mixed.argmax()])

    def late(self, n_checks: int) -> float:
        """Return the mean score at the later half of so many checks.

        Training that ended before would have gone back to its best.
        """
        checks = np.arange(n_checks // 2, n_checks)
        checks[checks >= len(self.mixed)] = self.mixed.argmax()
        return float(self.mixed[checks].mean())


class Trial:
    """A training that can be looked at, and gone on with.

    Parameters
    ----------
    smoothness : Smoothness
        What is tried.
    objective : MixtureObjective
        What is trained.
    options, generator
        As `Training` takes them.
    """

    def __init__(
        self,
        smoothness: Smoothness,
        objective: MixtureObjective,
        options: TrainingOptions,
        generator: torch.Generator,
    ):
        self.smoothness, self.objective = smoothness, objective
        with objective.threads():
            self.training = Training(objective, options, generator)
        self.results = self.training.hold()
        self.mixed: list[float] = []
        self.gains: list[float] = []
        #: Whether the training is known to have ended.
        self.is_over = False

    def scores(self, n_checks: int) -> TrialScores:
        """Return the scores at the first checks, if training does not end before."""
        with self.objective.threads():
            for result in islice(self.results, max(0, n_checks - len(self.mixed))):
                self.mixed.append(result.scores[-1])
                self.gains.append(self.objective.gain)
        self.is_over = self.is_over or len(self.mixed) < n_checks
        mixed, gains = (
            np.array(numbers[:n_checks]) / self.objective.loss.n_targets
            for numbers in (self.mixed, self.gains)
        )
        return TrialScores(mixed, gains)

    def lead(self, other: Trial, n_checks: int) -> float:
        """Return by how much this is better at the later half of so many checks.

        Of fewer, where both end before.
        """
        ours, theirs = self.scores(n_checks), other.scores(n_checks)
        n_checks = max(len(ours.mixed), len(theirs.mixed))
        return ours.late(n_checks) - theirs.late(n_checks)

    def gained(self) -> float:
        """Return what mixing all members surely adds in the end; infinity if that is not known.

        Training must be over, or have learned what it hardly adds to, and two members hold a row
        out to tell.
        """
        scores = self.scores(len(self.mixed))
        is_slow = scores.learned() >= LEAST_LEARNED and scores.rose(_RECENT) < _HARDLY
        is_known = (self.is_over or is_slow) and self.objective.n_shared > 0
        return scores.gained() if is_known else math.inf

    def judge_mixtures_of(self, n_members: int) -> None:
        """Judge by what mixtures of so many members are worth, from now on."""
        self.objective.n_mixed = n_members
        with self.objective.threads():
            self.training.judge_anew()
