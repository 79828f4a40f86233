"""From rows to fitted networks: what `MDNRegressor` does with its parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from skmdn._networks import NetworkMixtures, torch_device
from skmdn._out_of_fold import HeldOut
from skmdn._targets import TargetModel
from skmdn._validation import check_training_rows, check_weights, own_random_state
from skmdn.learning.calibration import calibrate
from skmdn.learning.features import NormalScores
from skmdn.learning.initialization import starting_point
from skmdn.learning.network import Architecture, MixtureNetwork
from skmdn.learning.noise import NOISE_MODELS
from skmdn.learning.objective import MixtureObjective, equal_batch_size, rows_held_out
from skmdn.learning.planning import USUAL, TrainingPlan, plan_training
from skmdn.learning.rows import blocks, canonical_rows, dense, sample_of
from skmdn.learning.sizes import (
    USUAL_MEMBERS,
    usual_components,
    usual_layers,
    usual_members,
    usual_patience,
    usual_share_held_out,
)
from skmdn.learning.training import (
    AveragedAdamW,
    Training,
    TrainingOptions,
    one_pass,
)
from skmdn.learning.trials import Smoothness

#: How many times as long networks wait for a better score where few suffice: they take little
#: time, and what little there is to learn may come late.
_WAIT_OF_FEW = 2
#: Mean squared errors that count as none, as a share of the variance of y.
NO_NOISE = 3e-3
#: Largest weight of the component that is there for gross errors then.
_MOST_OUTLIERS = 1e-3
#: Steps of `partial_fit` at the full size.
_STEADY_STEPS = 100
#: What networks keep while training goes on.
_OF_NETWORKS = ("network_", "alpha_", "n_estimators_", "n_components_", "hidden_layer_sizes_")
#: What only `fit` tells, from rows held out; gone when all networks have seen all rows.
OF_FIT = (
    "validation_scores_",
    "best_validation_score_",
    "oof_score_",
    "best_iter_",
    "stop_reason_",
    "_held_out",
    "_squared_errors",
)


def _or_usual(parameter, usual):
    """Return what a parameter is, or what is usual."""
    return usual if isinstance(parameter, str) else parameter


def _checked_sizes(sizes):
    """Return the widths of the hidden layers as a tuple."""
    try:
        found = np.atleast_1d(sizes)
    except ValueError:  # lists of different lengths
        found = np.array([])
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "iu" or (found < 1).any():
        raise ValueError(
            'hidden_layer_sizes must be "auto" or positive integers, at least one; '
            f"got {' '.join(repr(sizes).split())}"
        )
    return tuple(found.tolist())


class NetworkFitting(NetworkMixtures):
    """Networks trained as the parameters of `MDNRegressor` say, and kept as its attributes."""

    n_components: int | str
    noise_type: str
    fixed_noise_level: float
    hidden_layer_sizes: ArrayLike | str
    activation: str
    n_estimators: int | str
    max_iter: int
    batch_size: int | str
    learning_rate_init: float
    alpha: float | str
    early_stopping: bool
    validation_fraction: float | str
    n_iter_no_change: int | str
    tol: float
    reg_covar: float
    random_state: Any
    verbose: bool
    n_features_in_: int
    _validate_params: Callable[[], None]
    loss_curve_: list[float]
    _optimizer: AveragedAdamW

    @property
    def _noise(self):
        return NOISE_MODELS[self.noise_type]

    @property
    def _reg_covar(self):
        return float(self.reg_covar)  # a NumPy scalar is double precision

    def _forget(self, *names):
        """Have these attributes no more, if they were there."""
        for name in names:
            self.__dict__.pop(name, None)

    def _check_training(self, X, y, sample_weight, reset=True):
        """Return X, y (n, D) and the weights (n,), checked."""
        X, y = check_training_rows(self, X, y, reset)
        weights = check_weights(sample_weight, X)
        if not reset:
            return X, self._check_targets(X, y).reshape(len(y), -1), weights
        self._y_ndim = y.ndim
        y = y.reshape(len(y), -1)
        self.n_outputs_ = y.shape[1]
        return X, y, weights

    def _table(self, X, targets, rows):
        """Return features, targets and weights of the canonical rows, as networks take them."""
        n_scores = self._features.n_scores
        table = np.empty((len(targets), n_scores + targets.shape[1] + 1), dtype=np.float32)
        table[:, n_scores:-1] = self._targets.scaling.standardised(targets)
        table[:, -1] = rows.weights
        for block in blocks(len(table), X.shape[1]):
            table[block, :n_scores] = self._features.transform(dense(X[rows.first[block]]))
        return torch.from_numpy(table).to(torch_device(self.device))

    def _begin(self, X, targets, rows, plan=None):
        """Return the plan, which is what short trials tell if none is given, and its training."""
        table, generator = self._table(X, targets, rows), self._generator()
        plan = plan or self._plan(table, generator.initial_seed())
        return plan, self._training(table, generator, plan)

    def _finish(self, training, rows, line_shift=None):
        """Train to the end, and keep what was found; ``line_shift`` is as `HeldOut` has it."""
        objective = training.objective
        with objective.threads():
            result = training.finish(self._report)
            found = calibrate(objective, result.flat)
        self._keep(objective, result.flat, found.member_factor, found.pooled_factors)
        self._squared_errors = found.squared_errors
        self._outlier_share = self._share_of_outliers()
        self._keep_history(result, found.score)
        table = objective.table.cpu().numpy()
        marks = self._fingerprints(table[block] for block in blocks(*table.shape))
        self._held_out = HeldOut(rows.positions, marks, objective.n_held_out, line_shift)

    def _share_of_outliers(self):
        """Return the weight of a component for gross errors, although no held-out row was one.

        Where there is next to no noise, a slip of the pen would be thousands of standard
        deviations away. The component adds no more to a variance than its floor.
        """
        model = self._targets
        variance = model.unit_ratio**2
        if self._noise.per_component and (self._squared_errors < NO_NOISE * variance).any():
            return min(float(self._reg_covar * (model.floor / variance).min()), _MOST_OUTLIERS)
        return 0.0

    def _partial_fit(self, X, y, sample_weight):
        first = not hasattr(self, "network_")
        X, y, weights = self._check_training(X, y, sample_weight, reset=first)
        rows = canonical_rows(X, y, weights)
        if first:
            self._start(X, y[rows.first], rows, are_all=False)
            self._n_steps, self.n_iter_, self.loss_curve_ = 0, 0, []
        else:
            self._go_on()
        self._forget(*OF_FIT)  # all networks see these rows
        residuals = y[rows.first] - self._on_line(X[rows.first])
        self._extend(residuals)
        table, generator = self._table(X, residuals, rows), self._generator()
        optimizer = self._last_optimizer(table, generator)
        # As 1 / sqrt(t), with averaging: good wherever the blocks end (Moulines & Bach 2011).
        learning_rate = self.learning_rate_init / np.sqrt(1.0 + self._n_steps / _STEADY_STEPS)
        objective = self._objective(table, optimizer.flat, 0)
        with objective.threads():
            loss, n_steps = one_pass(objective, optimizer, learning_rate, generator)
        # What held-out rows told `fit` about the variances still holds.
        self._keep(objective, optimizer.average, self._member_factor, self._pooled_factors)
        self._optimizer = optimizer.on("cpu")  # where a pickle can be loaded on any machine
        self._n_steps += n_steps
        self.n_iter_ += 1
        self.loss_curve_ = [*self.loss_curve_, self._targets.scaling.log_volume + loss]

    def _last_optimizer(self, table, generator):
        """Return the optimizer of the call before, or a new one."""
        if hasattr(self, "_optimizer"):
            optimizer = self._optimizer.on(torch_device(self.device))
            optimizer.weight_decay = self.alpha_  # which may have been told anew
            return optimizer
        return AveragedAdamW(self._starting_flat(table, generator), self.alpha_)

    def _start(self, X, targets, rows, are_all):
        """Decide what a new model does not learn by gradients: scales, bounds and chance."""
        self._random_state = own_random_state(self.random_state)
        self.line_, self._outlier_share = None, 0.0
        self._member_factor = self._pooled_factors = 1.0
        self._forget(*_OF_NETWORKS)
        n_rows = len(rows.first) if are_all else np.inf
        self._resolve_auto(n_rows)
        sample = sample_of(len(rows.first))
        self._features = NormalScores(dense(X[rows.first[sample]]), rows.weights[sample])
        self._targets = TargetModel.of(
            targets,
            rows.weights,
            self._noise,
            self.n_components_,
            n_features=self.n_features_in_,
            reg_covar=self._reg_covar,
            are_all=are_all,
        )
        self._take_targets()
        if are_all and self.n_estimators == "auto":
            self.n_estimators_ = self._usual_members(n_rows)

    def _take_targets(self):
        """Take up what is settled about the targets."""
        atoms = self._targets.values
        self.atoms_ = atoms if self._y_ndim == 2 else atoms[:, 0]
        self._loss = self._mixture_loss()

    def _go_on(self):
        """Take up parameters changed since the last call; those that decide sizes may not be."""
        self._validate_params()  # scikit-learn does so before the first partial_fit alone
        self._resolve_auto(np.inf)
        sizes, self._loss = self._loss.sizes, self._mixture_loss()
        if (sizes, self.network_.architecture) != (self._loss.sizes, self._architecture()):
            raise ValueError(
                "warm_start and partial_fit go on with the networks there are, so n_components, "
                "noise_type, n_estimators, hidden_layer_sizes and activation must stay the same"
            )

    def _extend(self, targets):
        """Let components reach these targets, where training goes on with others than before."""
        self._targets = self._targets.extended(targets)
        self._loss = self._mixture_loss()

    def _mixture_loss(self):
        sizes = self._noise, self.n_components_
        return self._targets.loss(*sizes, self._reg_covar, self.fixed_noise_level)

    def _n_held_out(self, n_rows):
        if not self.early_stopping:
            return 0
        share = _or_usual(self.validation_fraction, usual_share_held_out(self.n_estimators_))
        return rows_held_out(n_rows, share)

    def _resolve_auto(self, n_rows):
        """Take what is told; where that is "auto", what it was before, or what is usual.

        Infinitely many rows stand for a number that is not known: there may be many to come.
        """
        before = self.__dict__.get
        usual = before("hidden_layer_sizes_", usual_layers(n_rows, self.n_outputs_))
        self.hidden_layer_sizes_ = _checked_sizes(_or_usual(self.hidden_layer_sizes, usual))
        usual = before("n_components_", usual_components(n_rows, self.n_outputs_, self._noise))
        self.n_components_ = _or_usual(self.n_components, usual)
        self.n_estimators_ = _or_usual(self.n_estimators, before("n_estimators_", USUAL_MEMBERS))
        self.alpha_ = float(_or_usual(self.alpha, before("alpha_", USUAL.weight_decay)))
        if self.alpha_ * self.learning_rate_init >= 1.0:
            raise ValueError(
                "alpha times learning_rate_init is what a step takes off every parameter and must "
                f"be below 1; got {self.alpha_:.3g} times {self.learning_rate_init:.3g}"
            )

    def _plan(self, table, seed):
        """Let short trainings tell what is "auto", where they can."""
        if self.alpha != "auto" or not self.early_stopping:
            return self._given_plan()
        given = self._architecture(), self._loss, table, self._options(len(table))
        plan = plan_training(*given, _or_usual(self.batch_size, None), seed)
        if self.n_estimators == self.validation_fraction == "auto":
            self.n_estimators_ = plan.n_members
        self.alpha_ = plan.smoothness.weight_decay
        return plan

    def _usual_members(self, n_rows):
        one = replace(self._architecture(), n_members=1)
        return usual_members(n_rows, one.n_parameters)

    def _given_plan(self):
        return TrainingPlan(Smoothness(self.alpha_, 1.0), self.n_estimators_)

    def _training(self, table, generator, plan):
        """Return the training to go on with to the end."""
        if self.verbose:
            chosen = f"{self.n_estimators_} networks, hidden layers {self.hidden_layer_sizes_}"
            learned = "" if self.line_ is None else ", of the residuals of a line"
            print(f"[MDNRegressor] {chosen}, weight decay {self.alpha_:.3g}{learned}")
        options, n_held_out = self._options(len(table)), self._n_held_out(len(table))
        if plan.begun is not None and self._is_whole(plan.begun.objective, n_held_out):
            plan.begun.options = options
            self._report(plan.begun.result)
            return plan.begun
        flat = self._starting_flat(table, generator, plan.smoothness.frequency_factor)
        objective = self._objective(table, flat, n_held_out)
        with objective.threads():
            return Training(objective, options, generator)

    def _is_whole(self, objective, n_held_out):
        """Tell whether what was begun trains all networks, on the rows that they should see."""
        return (objective.architecture, objective.n_held_out) == (self._architecture(), n_held_out)

    def _options(self, n_rows):
        patience = usual_patience(n_rows)
        if self.n_estimators == "auto" and self.n_estimators_ < self._usual_members(n_rows):
            patience *= _WAIT_OF_FEW
        return TrainingOptions(
            max_iter=self.max_iter,
            learning_rate=self.learning_rate_init,
            weight_decay=self.alpha_,
            n_iter_no_change=_or_usual(self.n_iter_no_change, patience),
            tol=self.tol,
        )

    def _generator(self):
        # A copy is moved on: after an error the old model's chance is as it was.
        self._random_state = copy.deepcopy(self._random_state)
        return torch.Generator().manual_seed(self._random_state.randint(2**31))

    def _starting_flat(self, table, generator, frequency_factor=1.0):
        """Return the parameters to start from, on the device: new ones, or those there are."""
        architecture = self._architecture()
        if hasattr(self, "network_"):
            flat = self.network_.flat().float()
        else:
            sample = table[sample_of(len(table))].cpu()
            flat = starting_point(architecture, self._loss, sample, generator, frequency_factor)
        return flat.to(torch_device(self.device))

    def _objective(self, table, flat, n_held_out):
        size = equal_batch_size(len(table) - n_held_out, _or_usual(self.batch_size, None))
        kept = []
        if hasattr(self, "network_"):
            kept = [(outputs, own.to(flat)) for outputs, own in self.network_.kept()]
        given = self._architecture(), self._loss, flat, table, n_held_out, size
        return MixtureObjective(*given, kept=kept)

    def _architecture(self):
        return Architecture(
            n_members=self.n_estimators_,
            n_features=self._features.n_scores,
            n_outputs=self._loss.n_outputs,
            hidden_layer_sizes=self.hidden_layer_sizes_,
            activation=self.activation,
            n_plain=self._features.n_plain,
        )

    def _keep(self, objective, flat, member_factor, pooled_factors):
        self._forget("conformity_scores_")  # of the networks there were
        # In float64, so that a row's answer does not depend on the rows beside it.
        kept = [(part.outputs, part.flat.double().cpu()) for part in objective.kept]
        self.network_ = MixtureNetwork(self._architecture(), flat.double().cpu(), kept)
        self._member_factor, self._pooled_factors = member_factor, pooled_factors

    def _keep_history(self, result, oof_score):
        """Keep how training went, and what it reached; scores are those of y, not of its units."""
        volume = self._targets.scaling.log_volume
        self.n_iter_, self.best_iter_ = result.n_iter, result.best_iter
        self._n_steps, self.stop_reason_ = result.n_steps, result.stop_reason
        self.loss_curve_ = [volume + loss for loss in result.loss_curve]
        self.validation_scores_ = []
        if oof_score is not None:
            self.validation_scores_ = [score - volume for score in result.scores]
            self.best_validation_score_ = result.best_score - volume
            self.oof_score_ = oof_score - volume

    def _report(self, result):
        if self.verbose:
            volume = self._targets.scaling.log_volume
            score, best = result.scores[-1] - volume, result.best_score - volume
            rows = "held-out" if self.early_stopping else "training"
            print(
                f"[MDNRegressor] iteration {result.n_iter}: {rows} log-likelihood "
                f"{score:.4f} (best {best:.4f})"
            )
