"""The training loop: batches, step sizes, averaging, early stopping. It knows no model.

Adam with decoupled weight decay (Loshchilov & Hutter 2019) moves the parameters; what is judged
and kept is an exponential average of them (Polyak & Juditsky 1992), which is as good as a smaller
step without its slowness. When the held-out score stops rising, training goes back to the best
average and on from there with a smaller step; after a few such rounds it ends.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor


class Objective(Protocol):
    """What the loop asks of the thing it trains."""

    flat: Tensor
    gradient: Tensor
    n_held_out: int

    def batches(self, generator: torch.Generator) -> Iterator[Any]:
        """Yield the batches of a shuffled pass over the training rows."""

    def step(self, batch: Any) -> Tensor:
        """Set ``gradient`` for a batch; return its mean loss."""

    def judge(self, flat: Tensor) -> tuple[float, float]:
        """Return the held-out score of ``flat``, larger is better, and its variance factor."""


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
        Checks without a better score until the step is reduced, or training ends.
    tol : float
        What counts as better, in nats.
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
    variance_factor : float
        What their variances are to be multiplied by.
    stop_reason : str
        ``"converged"`` or ``"max_iter"``.
    loss_curve, validation_scores : list of float
        Mean training loss of each pass; held-out score at each check (its pass is in ``checks``).
    """

    flat: Tensor
    stop_reason: str = "max_iter"
    n_iter: int = 0
    best_iter: int = 0
    best_score: float = -math.inf
    variance_factor: float = 1.0
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    checks: list[int] = field(default_factory=list)


#: Weight of the newest parameters in the average, after the first steps.
_AVERAGING_RATE = 0.005
#: Times the step is reduced, and by which factor.
_REDUCTIONS, _REDUCTION = 2, 0.2
#: Steps over which the step size rises from zero.
_WARM_UP = 20
#: Fewest steps between two checks: on little data a pass is too short to show anything.
_STEPS_PER_CHECK = 50


class AveragedAdamW:
    """Adam with decoupled weight decay on one flat vector, and the average of its path.

    A step whose gradient is not finite is not taken.
    """

    def __init__(self, flat: Tensor, weight_decay: float):
        self.flat, self.average = flat, flat.clone()
        self.weight_decay = weight_decay
        self.restart()

    def restart(self) -> None:
        """Go back to the average, and forget the gradients seen."""
        self.flat.copy_(self.average)
        self.moments = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.n_steps = self.flat.new_zeros(())
        self.count = 0

    def on(self, device: torch.device | str) -> AveragedAdamW:
        """Return a copy on a device."""
        twin = copy.copy(self)
        first, second = self.moments
        twin.flat, twin.average, twin.n_steps, *moments = (
            tensor.to(device, copy=True)
            for tensor in (self.flat, self.average, self.n_steps, first, second)
        )
        twin.moments = moments[0], moments[1]
        return twin

    def step(self, gradient: Tensor, learning_rate: float) -> None:
        """Take one step."""
        self.count += 1
        total = gradient.sum()
        not_finite = (total - total).nan_to_num_(nan=1.0)  # inf - inf is NaN
        torch._fused_adamw_(
            [self.flat],
            [gradient],
            [self.moments[0]],
            [self.moments[1]],
            [],
            [self.n_steps.add_(1)],
            lr=learning_rate * min(1.0, self.count / _WARM_UP),
            beta1=0.9,
            beta2=0.99,
            weight_decay=self.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
            found_inf=not_finite,
        )
        self.average.lerp_(self.flat, max(_AVERAGING_RATE, 1.0 / (self.count + 1.0)))


def one_pass(
    objective: Objective,
    optimizer: AveragedAdamW,
    learning_rate: float,
    generator: torch.Generator,
) -> tuple[float, int]:
    """Take one pass over the training rows; return its mean loss and its number of steps."""
    losses = []
    for batch in objective.batches(generator):
        losses.append(objective.step(batch))
        optimizer.step(objective.gradient, learning_rate)
    return torch.stack(losses).mean().item(), len(losses)


def train(
    objective: Objective,
    options: TrainingOptions,
    generator: torch.Generator,
    report: Callable[[TrainingResult], None] = lambda result: None,
) -> TrainingResult:
    """Train until the held-out score no longer rises, or for ``max_iter`` passes.

    Parameters
    ----------
    objective : Objective
    options : TrainingOptions
    generator : torch.Generator
        Shuffles the rows.
    report : callable
        Called after each check with the result so far.

    Returns
    -------
    TrainingResult
    """
    optimizer = AveragedAdamW(objective.flat, options.weight_decay)
    result = TrainingResult(objective.flat.clone())
    learning_rate, stale, reductions, unchecked = options.learning_rate, 0, 0, 0
    for result.n_iter in range(1, options.max_iter + 1):
        loss, n_steps = one_pass(objective, optimizer, learning_rate, generator)
        result.loss_curve.append(loss)
        unchecked += n_steps
        if unchecked < _STEPS_PER_CHECK and result.n_iter < options.max_iter:
            continue
        unchecked = 0
        stale = 0 if _check(objective, optimizer.average, result, options.tol) else stale + 1
        report(result)
        if stale < options.n_iter_no_change:
            continue
        if reductions == _REDUCTIONS:
            result.stop_reason = "converged"
            break
        reductions, stale, learning_rate = reductions + 1, 0, learning_rate * _REDUCTION
        optimizer.average.copy_(result.flat)
        optimizer.restart()
    return result


def _check(objective: Objective, flat: Tensor, result: TrainingResult, tol: float) -> bool:
    """Judge the parameters, keep them if they are the best so far; tell if they clearly are."""
    score, factor = -result.loss_curve[-1], 1.0
    if objective.n_held_out:
        score, factor = objective.judge(flat)
    result.checks.append(result.n_iter)
    result.validation_scores.append(score)
    clearly = score > result.best_score + tol
    if score > result.best_score:
        result.best_score, result.best_iter, result.variance_factor = score, result.n_iter, factor
        result.flat.copy_(flat)
    return clearly
