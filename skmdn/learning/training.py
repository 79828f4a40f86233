"""The training loop: batches, step sizes, averaging, early stopping. It knows no model.

Adam with decoupled weight decay (Loshchilov & Hutter 2019) moves the parameters; what is judged
and kept is an exponential average of them (Polyak & Juditsky 1992), which is as good as a smaller
step without its slowness. When the held-out score stops rising, training goes back to the best
average, and the step falls to zero from there on, over about as many steps as were taken before;
over a few, where hardly anything was learned after the first check. Where much was learned late in
the fall, large steps had done harm alone (peaks of very different widths): it falls again, from
less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .arrays import Array, as_tensor
from .optimizer import AveragedAdamW


class Objective(Protocol):
    """What the loop asks of the thing it trains."""

    flat: Tensor
    gradient: Tensor
    n_batches: int
    #: Parts that the score last given is the sum of, but for what members mixed add; if several.
    part_scores: tuple[float, ...]

    def batches(self, generator: torch.Generator) -> Iterator[Any]:
        """Yield the batches of a shuffled pass over the training rows."""

    def step(self, batch: Any) -> Array:
        """Set ``gradient`` for a batch; return its mean loss."""

    def judge(self, flat: Tensor) -> float:
        """Return the score of ``flat``, of held-out rows if there are any; larger is better."""

    def open_parts(self) -> list[int]:
        """Return which parts of the score may be kept as they are with some parameters."""

    def keep(self, parts: dict[int, Tensor]) -> None:
        """Let parts be told as with these parameters from now on, whatever else is learned.

        Scores before and after are not alike: what judging had settled is settled anew. Those
        after ``keep({})`` are those before it, but for that.
        """

    def let_go(self) -> None:
        """Learn again what was kept last."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Attributes
    ----------
    max_iter : int
        Most passes over the training rows.
    learning_rate : float
        Largest step size.
    weight_decay : float
        Decoupled: each step takes ``learning_rate * weight_decay`` off every parameter.
    n_iter_no_change : int
        Checks without a clearly better score until the step begins to fall.
    tol : float
        What counts as clearly better, in nats.
    """

    max_iter: int
    learning_rate: float
    weight_decay: float
    n_iter_no_change: int
    tol: float


@dataclass
class TrainingResult:
    """What came out, and why it ended.

    Attributes
    ----------
    flat : Tensor
        The parameters to use.
    stop_reason : str
        ``"converged"`` or ``"max_iter"``.
    n_iter, n_steps : int
        Passes begun, and steps taken.
    best_iter : int
        The pass in which ``flat`` was found; 0 if nothing was better than the start.
    best_score : float
        The score of ``flat``.
    loss_curve, scores : list of float
        At each check, the mean training loss since the one before, and the score.
    """

    flat: Tensor
    stop_reason: str = "max_iter"
    n_iter: int = 0
    n_steps: int = 0
    best_iter: int = 0
    best_score: float = -math.inf
    loss_curve: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


#: Steps between two checks, at least; else a pass.
_STEPS_PER_CHECK = 50
#: Share of the checks so far that must pass without a better score, too, before the step falls.
_PATIENCE = 0.05
#: Where the step falls from, relative to where it stood before.
_FALL_FROM = 0.4
#: Over how many steps it falls: this share of those taken,
_FALL_SHARE = 1.2
#: and so many at least.
_LEAST_FALL = 200
#: Nats that scores must rise, after the first check or in the later half of a fall, for there to
#: be something left to learn. Where they rose by less after the first check, a fall of more than a
#: pass gains a thousandth, and takes as long as all did.
LEAST_LEARNED = 0.04
#: Checks without a better score that end training while the step falls: many, as scores often rise
#: again at its end;
_LATE_PATIENCE = 10
#: but few where the score is clearly below the best: such a loss is not made up for.
_PATIENCE_WITH_LOSS = 2
#: The share of what was learned that is a clear loss.
_CLEAR_LOSS = 0.05
#: Nats that a part of the score must have lost, to be kept as it was: less is won back as the step
#: falls.
_LOST = 0.03
#: Nats that all must be better by then.
_BETTER = 0.01


class BestPart(NamedTuple):
    """With what a part of the score was best so far.

    Attributes
    ----------
    flat : Tensor
        The parameters.
    scores : tuple of float
        All parts with these.
    n_iter : int
        The pass in which it was found.
    """

    flat: Tensor
    scores: tuple[float, ...]
    n_iter: int


def take_step(
    objective: Objective, optimizer: AveragedAdamW, batch: Any, learning_rate: float
) -> Array:
    """Take one step; return the batch's loss before it."""
    loss = objective.step(batch)
    optimizer.step(objective.gradient, learning_rate)
    return loss


def mean_of(losses: list[Array]) -> float:
    """Return the mean over batches of one size."""
    return torch.stack([as_tensor(part) for part in losses]).mean().item()


def one_pass(
    objective: Objective,
    optimizer: AveragedAdamW,
    learning_rate: float,
    generator: torch.Generator,
) -> tuple[float, int]:
    """Take one pass over the training rows; return its mean loss and its number of steps."""
    losses = [
        take_step(objective, optimizer, batch, learning_rate)
        for batch in objective.batches(generator)
    ]
    return mean_of(losses), len(losses)


def _counted(
    objective: Objective, max_iter: int, generator: torch.Generator, result: TrainingResult
) -> Iterator[Any]:
    """Yield the batches of all passes, which the result counts."""
    for _ in range(max_iter):
        result.n_iter += 1
        yield from objective.batches(generator)


class Training:
    """Train until the held-out score no longer rises, or for ``max_iter`` passes.

    It can be looked at on its way: what `hold` and `anneal` yield is there at each check, and
    nothing is done before the next one is asked for.

    Parameters
    ----------
    objective : Objective
    options : TrainingOptions
        Another ``n_iter_no_change`` may be given on the way.
    generator : torch.Generator
        Shuffles the rows.
    """

    def __init__(self, objective: Objective, options: TrainingOptions, generator: torch.Generator):
        self.objective, self.options = objective, options
        self.optimizer = AveragedAdamW(objective.flat, options.weight_decay)
        self.steps_per_check = max(_STEPS_PER_CHECK, objective.n_batches)
        start = objective.judge(objective.flat)
        # A start that is no number, or beyond float, is worse than any score.
        best_score = start if math.isfinite(start) else -math.inf
        self.result = TrainingResult(objective.flat.clone(), best_score=best_score)
        #: Whether there were batches to the end.
        self.has_batches = True
        #: With what each part of the score was best so far, if it has several.
        self.best_parts: list[BestPart] = []
        #: The score that others must beat, and the checks since it was reached.
        self.mark, self.stale = best_score, 0
        # Of a function: a method's would refer back to this, and keep the rows from being freed.
        self._batches = _counted(objective, options.max_iter, generator, self.result)

    def finish(
        self, report: Callable[[TrainingResult], None] = lambda result: None
    ) -> TrainingResult:
        """Go on to the end; ``report`` is called after each check on the way."""
        for result in chain(self.hold(), self.hold_without(), self.anneal()):
            report(result)
        if self.has_batches:
            self.result.stop_reason = "converged"
        return self.result

    def hold(self) -> Iterator[TrainingResult]:
        """Go on until the step should begin to fall; yield the result so far at each check."""
        return self.take_steps(repeat(self.options.learning_rate), self.options.tol, self.patience)

    def hold_without(self) -> Iterator[TrainingResult]:
        """Hold on with fewer parts of the score, as long as some was better told before.

        The noisiest target overfits the layers it shares with others, which may have much to learn
        yet: it is told as when it was told best, and they go on, as does what all have in common.
        """
        while self.has_batches and self.keep_parts():
            self.return_to_best()
            yield from self.hold()

    def keep_parts(self) -> bool:
        """Keep parts as they were when they were best, if all is clearly better by that.

        The one that was best last goes on, from where it was.
        """
        if not self.best_parts:
            return False
        best = {part: self.best_parts[part] for part in self.objective.open_parts()}
        latest = max(best.values(), key=lambda found: found.n_iter)
        lost = {
            part: found.flat
            for part, found in best.items()
            if found.scores[part] - latest.scores[part] > _LOST
        }
        if not lost:
            return False
        self.objective.keep({})  # nothing more, but judged as what is kept will be
        least = self.objective.judge(self.result.flat) + _BETTER
        self.objective.let_go()
        each = [{part: flat} for part, flat in lost.items()] if len(lost) > 1 else []
        return any(self.keep(parts, latest, least) for parts in [lost, *each])

    def keep(self, parts: dict[int, Tensor], latest: BestPart, least: float) -> bool:
        """Keep parts as they are with these parameters, if that makes more than the least score.

        It is the score of the latest parameters, from which all else goes on.
        """
        self.objective.keep(parts)
        score = self.objective.judge(latest.flat)
        if not score > least:  # nor is NaN
            self.objective.let_go()
            return False
        self.result.flat.copy_(latest.flat)
        self.result.best_iter, self.result.best_score = latest.n_iter, score
        return True

    def anneal(self) -> Iterator[TrainingResult]:
        """Go back to the best, and let the step fall to zero from there on.

        Again, from less and for longer, where its later half still found something clearly better.
        """
        size, still_learning = self.options.learning_rate, True
        while still_learning and self.has_batches:
            self.return_to_best()
            size, n_steps = size * _FALL_FROM, self.fall_length()
            falling = (size * (1.0 - i / n_steps) ** 2 for i in range(n_steps))
            best, n_before = self.result.best_score, len(self.result.scores)
            yield from self.take_steps(falling, 0.0, self.late_patience)
            scores = self.result.scores[n_before:]
            of_half = max([best, *scores[: len(scores) // 2]])
            still_learning = self.result.best_score > of_half + LEAST_LEARNED

    def patience(self) -> float:
        """Return how many checks to wait for a better score before the step falls."""
        return max(self.options.n_iter_no_change, _PATIENCE * len(self.result.scores))

    def late_patience(self) -> float:
        """Return how many checks to wait for a better score while the step falls."""
        lost = max(self.result.scores) - self.result.scores[-1]
        return _PATIENCE_WITH_LOSS if lost > _CLEAR_LOSS * self.learned() else _LATE_PATIENCE

    def learned(self) -> float:
        """Return by how much scores rose after the first check."""
        return max(self.result.scores) - self.result.scores[0]

    def fall_length(self) -> int:
        """Return over how many steps the step size should fall to zero."""
        share = _FALL_SHARE if self.learned() >= LEAST_LEARNED else 0.0
        return max(_LEAST_FALL, self.steps_per_check, int(share * self.result.n_steps))

    def take_steps(
        self, sizes: Iterable[float], tol: float, patience: Callable[[], float]
    ) -> Iterator[TrainingResult]:
        """Take steps of these sizes until the score has not risen by ``tol`` for a while.

        Yields the result so far after each check. It is over before when there are no batches.
        """
        losses: list[Array] = []
        for size in sizes:
            if not losses and self.stale >= patience():  # losses are those since the last check
                break
            batch = next(self._batches, None)
            self.has_batches = batch is not None
            if not self.has_batches:
                break
            losses.append(take_step(self.objective, self.optimizer, batch, size))
            if len(losses) == self.steps_per_check:
                score, losses = self.check(losses), []
                self.stale += 1
                if score > self.mark + tol:
                    self.stale, self.mark = 0, score
                yield self.result
        if losses:
            self.check(losses)
            yield self.result

    def check(self, losses: list[Array]) -> float:
        """Judge the average and keep it if it is the best so far; return its score."""
        result, flat = self.result, self.optimizer.average
        result.n_steps += len(losses)
        result.loss_curve.append(mean_of(losses))
        score = self.objective.judge(flat)
        result.scores.append(score)
        self.see_parts(flat)
        if score > result.best_score:
            result.best_score, result.best_iter = score, result.n_iter
            result.flat.copy_(flat)
        return score

    def see_parts(self, flat: Tensor) -> None:
        """Note with which parameters each part of the score was best so far."""
        scores = self.objective.part_scores
        this = BestPart(flat.clone(), scores, self.result.n_iter)
        best = self.best_parts or [this] * len(scores)
        self.best_parts = [
            this if score > part.scores[i] else part
            for i, (score, part) in enumerate(zip(scores, best, strict=True))
        ]

    def return_to_best(self) -> None:
        """Go on from the best parameters so far."""
        self.optimizer.average.copy_(self.result.flat)
        self.optimizer.restart()
        self.mark, self.stale = self.result.best_score, 0

    def judge_anew(self) -> None:
        """Judge the best parameters so far once more, as others will be from now on.

        By as much as their score is another now, all before are taken to be.
        """
        result = self.result
        shift = self.objective.judge(result.flat) - result.best_score
        if math.isfinite(shift):
            result.scores = [score + shift for score in result.scores]
            result.best_score, self.mark = result.best_score + shift, self.mark + shift
