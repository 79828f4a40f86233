"""Scores of predicted mixtures, in the manner of `sklearn.metrics`.

Most scores are functions ``(y_true, mixture, *, sample_weight=None, aggregate=True)`` that return
the weighted mean over rows, a float; ``aggregate=False`` returns the rows' own values (n,). Scores
of one target are taken on each target's marginal where there are several: their rows' values are
(n, D), and the mean runs over targets too. Losses are smaller where the prediction is better.

What does not fit the mixture raises a `ValueError` that names the argument.
``SCORERS`` holds those that rank models, larger is better, for ``GridSearchCV(scoring=...)``.
"""

from skmdn.metrics.calibration import (
    calibration_error,
    interval_coverage,
    pit_values,
    region_coverage,
    sharpness,
)
from skmdn.metrics.scorers import SCORERS, MixtureScorer, make_mixture_scorer
from skmdn.metrics.scores import (
    crps,
    energy_score,
    interval_score,
    negative_log_likelihood,
    pinball_loss,
)

__all__ = [
    "SCORERS",
    "MixtureScorer",
    "calibration_error",
    "crps",
    "energy_score",
    "interval_coverage",
    "interval_score",
    "make_mixture_scorer",
    "negative_log_likelihood",
    "pinball_loss",
    "pit_values",
    "region_coverage",
    "sharpness",
]
