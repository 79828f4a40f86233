"""From rows to fitted networks: what `MDNRegressor` does with its parameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from skmdn._networks import NetworkMixtures, own_random_state, torch_device
from skmdn._out_of_fold import HeldOut, fingerprints
from skmdn._scaling import effective_number, fixed_variance, target_scaling
from skmdn.learning.atoms import Pins, StillComponents, at_atoms, elsewhere, find_atoms
from skmdn.learning.calibration import calibrate
from skmdn.learning.features import NormalScores
from skmdn.learning.initialization import starting_point
from skmdn.learning.link import JohnsonLink
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.network import Architecture, MixtureNetwork
from skmdn.learning.noise import NOISE_MODELS, coupling_unit
from skmdn.learning.objective import MixtureObjective, equal_batch_size, held_out_share
from skmdn.learning.planning import USUAL, plan_training
from skmdn.learning.rows import canonical_rows, dense
from skmdn.learning.threads import threads_for
from skmdn.learning.training import AveragedAdamW, TrainingOptions, one_pass, train, usual_patience

#: Networks, where nothing says that fewer suffice.
_USUAL_MEMBERS = 16
#: Steps of `partial_fit` at the full size.
_STEADY_STEPS = 100
#: What only `fit` tells, from rows held out; gone when all networks have seen all rows.
_OF_FIT = (
    *("validation_scores_", "best_validation_score_", "oof_score_", "_held_out"),
    *("best_iter_", "stop_reason_"),
)


def _told(parameter, usual):
    """Return what a parameter is, or what is usual."""
    return usual if isinstance(parameter, str) else parameter


class NetworkFitting(NetworkMixtures):
    """Networks trained as the parameters of `MDNRegressor` say, and kept as its attributes."""

    n_components: int
    noise_type: str
    fixed_noise_level: float
    hidden_layer_sizes: ArrayLike
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
    _optimizer: AveragedAdamW

    def _fit(self, X, y, sample_weight, continued):
        X, y, weights = self._check_training(X, y, sample_weight, reset=not continued)
        rows = canonical_rows(X, y, weights)
        if continued:
            self._go_on()
        else:
            self._start(X, y, rows, effective_number(rows.weights))
        for name in ("_optimizer", *_OF_FIT):
            self.__dict__.pop(name, None)
        table, generator = self._table(X, y, rows), self._generator()
        factor = 1.0 if continued else self._plan(table, generator.initial_seed())
        n_held_out = self._n_held_out(len(table))
        flat = self._starting_flat(table, generator, factor)
        size = equal_batch_size(len(table) - n_held_out, _told(self.batch_size, None))
        with threads_for(self._architecture().n_parameters * size):
            objective = self._objective(table, flat, n_held_out, size)
            result = train(objective, self._options(len(table)), generator, self._report)
            found = calibrate(objective, result.flat)
        self._keep(result.flat, found.member_factor, found.pooled_factors)
        self.n_iter_, self.best_iter_ = result.n_iter, result.best_iter
        self._n_steps, self.stop_reason_ = result.n_steps, result.stop_reason
        self.loss_curve_ = [self._scaling.log_volume + loss for loss in result.loss_curve]
        self.validation_scores_ = []
        if found.score is not None:
            self.validation_scores_ = [s - self._scaling.log_volume for s in result.scores]
            self.best_validation_score_ = result.best_score - self._scaling.log_volume
            self.oof_score_ = found.score - self._scaling.log_volume
        marks = fingerprints(table[:, : X.shape[1]].cpu().numpy())
        self._held_out = HeldOut(rows.positions, marks, n_held_out)

    def _partial_fit(self, X, y, sample_weight):
        first = not hasattr(self, "network_")
        X, y, weights = self._check_training(X, y, sample_weight, reset=first)
        rows = canonical_rows(X, y, weights)
        if first:
            self._start(X, y, rows, math.inf)
            self._n_steps, self.n_iter_, self.loss_curve_ = 0, 0, []
        else:
            self._go_on()
        for name in _OF_FIT:  # all networks see these rows
            self.__dict__.pop(name, None)
        table, generator = self._table(X, y, rows), self._generator()
        optimizer = (
            self._optimizer.on(torch_device(self.device))
            if hasattr(self, "_optimizer")
            else AveragedAdamW(self._starting_flat(table, generator), self.alpha_)
        )
        optimizer.weight_decay = self.alpha_  # which may have been told anew
        # As 1 / sqrt(t), with averaging: good wherever the blocks end (Moulines & Bach 2011).
        learning_rate = self.learning_rate_init / np.sqrt(1.0 + self._n_steps / _STEADY_STEPS)
        size = equal_batch_size(len(table), _told(self.batch_size, None))
        with threads_for(self._architecture().n_parameters * size):
            objective = self._objective(table, optimizer.flat, 0, size)
            loss, n_steps = one_pass(objective, optimizer, learning_rate, generator)
        # What held-out rows told `fit` about the variances still holds.
        factors = (getattr(self, name, 1.0) for name in ("_member_factor", "_pooled_factors"))
        self._keep(optimizer.average, *factors)
        self._optimizer = optimizer.on("cpu")  # where a pickle can be loaded on any machine
        self._n_steps += n_steps
        self.n_iter_ += 1
        self.loss_curve_ = [*self.loss_curve_, self._scaling.log_volume + loss]

    def _start(self, X, y, rows, n_expected):
        """Decide what a new model does not learn by gradients: scales, bounds and chance."""
        self._random_state = own_random_state(self.random_state)
        for name in ("network_", "alpha_", "n_estimators_"):
            self.__dict__.pop(name, None)
        self._resolve_auto()
        noise = NOISE_MODELS[self.noise_type]
        self._scaling = target_scaling(y[rows.first], rows.weights, noise.one_unit)
        # Rows are in an order that is none: the first are a sample of all.
        first, weights = rows.first[: NormalScores.max_rows], rows.weights[: NormalScores.max_rows]
        self._features = NormalScores(dense(X[first]), weights)
        # Blocks do not say how many rows there will be, nor whether all are alike.
        self._look_at_targets(y[rows.first], weights, noise, math.isfinite(n_expected))
        n_couplings = noise.n_couplings(self.n_components, self.n_outputs_)
        self._coupling_unit = coupling_unit(n_expected, n_couplings)
        self._loss = self._mixture_loss()

    def _look_at_targets(self, y, weights, noise, are_all):
        """Find atoms, curves and outliers of the distinct targets; the first have weights."""
        sample = y[: len(weights)]
        atoms = sample[:0]
        if noise.per_component:
            atoms = find_atoms(sample, weights, may_be_open=noise.per_target)
        self.atoms_ = atoms if self._y_ndim == 2 else atoms[:, 0]
        at = at_atoms(sample, atoms)
        if noise.coupled and are_all:
            # Of those with atoms, a value that many rows share must stay one.
            without_atoms = np.isnan(atoms).all(axis=0)
            self._scaling = self._scaling.untied(sample, weights, without_atoms)
        self._pins = self._pins_at(atoms, weights @ at / weights.sum())
        free = [elsewhere(at[:, said]) for said in ~np.isnan(atoms.T)]  # target by target
        standardised = self._scaling.standardised(y)
        curve = JohnsonLink.fit(standardised[: len(sample)], weights[:, None] * np.transpose(free))
        self._link = curve if noise.all_free(self.n_components, self.n_outputs_) else None
        self._has_widest = noise.per_component and (
            len(atoms) > 0 or curve.has_outliers(standardised)
        )

    def _pins_at(self, atoms, shares):
        """Return the pins of atoms that leave targets open, if there are any.

        One that all rows are at has as many components as there are free ones, others fewer.
        """
        is_open = np.isnan(atoms).any(axis=1)
        if not is_open.any():
            return None
        atoms = self._scaling.in_units(atoms[is_open])
        # Shares are sums: one of a fifth may be a little more.
        counts = np.ceil(self.n_components * shares[is_open] - 1e-6).clip(min=1)
        coupled = NOISE_MODELS[self.noise_type].coupled
        return Pins.at(atoms, counts.astype(int).tolist(), self.n_components, coupled)

    def _go_on(self):
        """Take up parameters changed since the last call; those that decide sizes may not be."""
        self._validate_params()  # scikit-learn does so before the first partial_fit alone
        self._resolve_auto()
        sizes, self._loss = self._loss.sizes, self._mixture_loss()
        if (sizes, self.network_.architecture) != (self._loss.sizes, self._architecture()):
            raise ValueError(
                "warm_start and partial_fit go on with the networks there are, so n_components, "
                "noise_type, n_estimators, hidden_layer_sizes and activation must stay the same"
            )

    def _mixture_loss(self):
        noise = NOISE_MODELS[self.noise_type]
        reg_covar = float(self.reg_covar)  # a NumPy scalar is double precision
        atoms = self._scaling.in_units(self.atoms_.reshape(-1, self.n_outputs_))
        still = StillComponents.at(atoms[~np.isnan(atoms).any(axis=1)], reg_covar)
        n_pinned = 0 if self._pins is None else sum(self._pins.counts)
        return MixtureLoss(
            n_components=self.n_components + n_pinned,
            n_targets=self.n_outputs_,
            noise=noise,
            reg_covar=reg_covar,
            link=self._link,
            still=still if self._has_widest else None,
            pins=self._pins,
            coupling_unit=self._coupling_unit,
            fixed_variance=1.0
            if noise.learned
            else fixed_variance(self.fixed_noise_level, self._scaling.unit[0]),
        )

    def _n_held_out(self, n_rows):
        if not self.early_stopping:
            return 0
        share = _told(self.validation_fraction, held_out_share(self.n_estimators_))
        return min(max(1, int(np.ceil(share * n_rows))), n_rows - 1)

    def _resolve_auto(self):
        """Take what is told; where that is "auto", what it was before, or what is usual."""
        before = self.__dict__.get
        self.n_estimators_ = _told(self.n_estimators, before("n_estimators_", _USUAL_MEMBERS))
        self.alpha_ = float(_told(self.alpha, before("alpha_", USUAL.weight_decay)))

    def _plan(self, table, seed):
        """Let short trainings tell what is "auto"; return the factor of the frequencies."""
        if self.alpha != "auto" or not self.early_stopping:
            return 1.0
        given = self._architecture(), self._loss, table, self._options(len(table))
        plan = plan_training(*given, _told(self.batch_size, None), seed)
        if self.n_estimators == self.validation_fraction == "auto":
            self.n_estimators_ = plan.n_members
        self.alpha_ = plan.smoothness.weight_decay
        if self.verbose:
            decay = f"weight decay {self.alpha_:.3g}"
            print(f"[MDNRegressor] {self.n_estimators_} networks, {decay}")
        return plan.smoothness.frequency_factor

    def _options(self, n_rows):
        return TrainingOptions(
            max_iter=self.max_iter,
            learning_rate=self.learning_rate_init,
            weight_decay=self.alpha_,
            n_iter_no_change=_told(self.n_iter_no_change, usual_patience(n_rows)),
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
            sample = table[: NormalScores.max_rows].cpu()
            flat = starting_point(architecture, self._loss, sample, generator, frequency_factor)
        return flat.to(torch_device(self.device))

    def _objective(self, table, flat, n_held_out, size):
        return MixtureObjective(self._architecture(), self._loss, flat, table, n_held_out, size)

    def _architecture(self):
        sizes = np.atleast_1d(self.hidden_layer_sizes)
        if sizes.ndim != 1 or sizes.size == 0 or sizes.dtype.kind not in "iu" or (sizes < 1).any():
            raise ValueError(
                "hidden_layer_sizes must be positive integers, at least one; "
                f"got {self.hidden_layer_sizes!r}"
            )
        return Architecture(
            n_members=self.n_estimators_,
            n_features=self.n_features_in_,
            n_outputs=self._loss.n_outputs,
            hidden_layer_sizes=tuple(sizes.tolist()),
            activation=self.activation,
            n_plain=self._features.n_plain,
        )

    def _keep(self, flat, variance_factor, pooled):
        self.__dict__.pop("conformity_scores_", None)  # of the networks there were
        # In float64, so that a row's answer does not depend on the rows beside it.
        self.network_ = MixtureNetwork(self._architecture(), flat.double().cpu())
        self._member_factor, self._pooled_factors = variance_factor, pooled

    def _report(self, result):
        if self.verbose:
            score, best = (
                s - self._scaling.log_volume for s in (result.scores[-1], result.best_score)
            )
            rows = "held-out" if self.early_stopping else "training"
            print(
                f"[MDNRegressor] iteration {result.n_iter}: {rows} log-likelihood "
                f"{score:.4f} (best {best:.4f})"
            )
