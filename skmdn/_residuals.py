"""`fit`: networks of the targets and, where a line explains much of them, of its residuals."""

from __future__ import annotations

import numpy as np

from skmdn._fitting import NO_NOISE, OF_FIT, NetworkFitting
from skmdn._line import is_drawable, line_through, normal_log_density
from skmdn._targets import TargetModel
from skmdn._validation import check_groups, shallow_copy
from skmdn.learning.calibration import trimmed_mean_squares
from skmdn.learning.rows import canonical_rows, dense

#: A line is near to networks if its residuals are, as if they were normal, not more than so many
#: nats a target less likely;
_NEAR = 0.3
#: or, however they are distributed, of at most so many times the squared error.
_AS_CLOSE = 1.25
#: Of several targets, it is far ahead for those of which it leaves so many times that, at most.
_FAR_CLOSER = 0.8
#: By how much held-out rows may favour either by chance, times the root of targets a row.
_BY_CHANCE = 0.5
#: Checks at each of which networks of residuals must be better than those of the targets were.
_LEADING_CHECKS = 4


class ResidualFitting(NetworkFitting):
    """Networks of the targets, or of the residuals of a line, whichever are surely better."""

    def _fit(self, X, y, sample_weight, groups, continued):
        X, y, weights = self._check_training(X, y, sample_weight, reset=not continued)
        rows = canonical_rows(X, y, weights, check_groups(groups, len(y)))
        targets = y[rows.first]
        self._forget("_optimizer", *OF_FIT)
        if continued:
            self._go_on()
            residuals = self._residuals(X, targets, rows)
            self._extend(residuals)
            _, training = self._begin(X, residuals, rows, self._given_plan())
            self._finish(training, rows, self._line_shift(X, targets, residuals, rows))
        else:
            self._start(X, targets, rows, are_all=True)
            plan = self._learn_targets(X, targets, rows)
            if self._may_be_linear(rows.weights):
                self._learn_residuals(X, targets, rows, plan)

    def _learn_targets(self, X, targets, rows):
        """Learn the targets themselves; return the plan, without the rows of what it began."""
        plan, training = self._begin(X, targets, rows)
        self._finish(training, rows)
        return plan._replace(begun=None)

    def _residuals(self, X, targets, rows):
        """Return what the line leaves, if there is one; drawn anew if these rows can tell."""
        if self.line_ is None:
            return targets
        if not is_drawable(self.n_features_in_, self.n_outputs_, rows.weights):
            return targets - self._on_line(X[rows.first])
        which = self.line_.which
        line, residuals = line_through(dense(X[rows.first]), targets, rows.weights)
        self.line_ = line.only(which)
        return np.where(which, residuals, targets)

    def _line_shift(self, X, targets, residuals, rows):
        """Return by how much lines that leave residuals are above ``line_``, (n, D), if any."""
        if self.line_ is None:
            return None
        return targets - residuals - self._on_line(X[rows.first])

    def _may_be_linear(self, weights):
        """Tell whether a line through the rows is worth a look."""
        return self.early_stopping and is_drawable(self.n_features_in_, self.n_outputs_, weights)

    def _learn_residuals(self, X, targets, rows, plan):
        """Learn the residuals of a line instead, if that makes held-out rows surely likelier."""
        score, before = self.best_validation_score_, self.validation_scores_[:_LEADING_CHECKS]
        are_coupled = self._noise.n_couplings(1, self.n_outputs_) > 0
        line, residuals = line_through(dense(X[rows.first]), targets, rows.weights)
        surely = _BY_CHANCE * np.sqrt(self.n_outputs_ / len(targets))
        least_gain = -np.inf if are_coupled else surely
        which = self._near(residuals, targets, rows.weights, least_gain)
        if not which.any():
            return
        residuals = np.where(which, residuals, targets)
        other = shallow_copy(self)
        del other.network_
        other._targets = TargetModel.of_residuals(
            residuals,
            rows.weights,
            self._noise,
            self.n_components_,
            whole=self._targets,
            which=which,
            reg_covar=self._reg_covar,
        )
        other._take_targets()
        other.line_ = line.only(which)
        _, training = other._begin(X, residuals, rows, plan)
        if not other._leads(training, np.minimum(np.maximum.accumulate(before) + surely, score)):
            return
        other._finish(training, rows, other._line_shift(X, targets, residuals, rows))
        # The first is a maximum over checks and includes the gain of mixing, which networks that
        # overfit few rows overstate; the second has neither fault.
        leads = other.best_validation_score_ - score, other.oof_score_ - self.oof_score_
        if np.mean(leads) > surely:
            self.__dict__.update(other.__dict__)

    def _leads(self, training, rivals):
        """Begin to train; return whether the first checks are better than the scores of rivals."""
        volume = self._targets.scaling.log_volume
        with training.objective.threads():
            # Rivals first: when they run out, no further check is taken.
            for rival, result in zip(rivals, training.hold(), strict=False):
                if result.best_score <= rival + volume:
                    return False
                self._report(result)
        return True

    def _near(self, residuals, targets, weights, least_gain):
        """Return the targets (D,) of which a line is near to the networks, or far ahead of them.

        It is near by the residuals of all, of which it explains so many nats at least: as if they
        were normal, or about as small as the networks' errors. Else those count of which it leaves
        far less than networks do.
        """
        model = self._targets
        floor = self._reg_covar * model.finest_unit**2
        without, within = (
            normal_log_density(part, weights, self._noise.coupled, floor)
            for part in (targets - model.scaling.mean, residuals)
        )
        if within <= without + least_gain:
            return np.full(self.n_outputs_, False)
        left = trimmed_mean_squares(model.scaling.standardised(residuals + model.scaling.mean))
        floor = self._reg_covar * model.floor
        ratio = (left + floor) / (self._squared_errors + floor)
        if not model.has_values.any():
            is_likely = within > self.best_validation_score_ - _NEAR * self.n_outputs_
            if is_likely or np.log(ratio).mean() < np.log(_AS_CLOSE):
                return np.full(self.n_outputs_, True)
        # Of values that many rows share, a line would leave nothing.
        found = np.where(model.has_values, left < NO_NOISE, ratio < _FAR_CLOSER)
        return found if self._noise.per_target else found & found.all()
