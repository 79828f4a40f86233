"""The weight decay that short trainings of a few networks call for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.datasets import make_friedman1

from skmdn import MDNRegressor
from skmdn.learning import decay as decay_module
from skmdn.learning.decay import USUAL_DECAY, chosen_decay
from skmdn.learning.network import Architecture
from skmdn.learning.training import TrainingOptions

ARCHITECTURE = Architecture(16, 3, 5, (4,), "silu")
OPTIONS = TrainingOptions(10, 0.01, USUAL_DECAY, 2, 1e-3)


@pytest.fixture
def trials(monkeypatch):
    """Scores by decay, instead of trainings; and what each was asked for."""

    class Trials(dict):
        def __init__(self):
            super().__init__()
            self.asked = []

        def __call__(self, architecture, loss, table, options, batch_size, seed, decay):
            self.asked.append((architecture.n_members, len(table), batch_size, seed, decay))
            return SimpleNamespace(best_score=self[decay], scores=[-1.0, self[decay]])

    trials = Trials()
    monkeypatch.setattr(decay_module, "_trial", trials)
    return trials


def chosen(n_rows, architecture=ARCHITECTURE):
    return chosen_decay(architecture, None, torch.zeros(n_rows, 5), OPTIONS, 7, 3)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({0.004: 0.0, 0.02: 0.0, 0.1: 0.0}, 0.02),
        ({0.004: 0.03, 0.02: 0.0, 0.1: 0.03}, 0.02),  # better, but not clearly
        ({0.004: 0.05, 0.02: 0.0, 0.1: 0.03}, 0.004),
        ({0.004: -0.3, 0.02: 0.0, 0.1: 0.06}, 0.1),
        ({0.004: 0.2, 0.02: 0.0, 0.1: 0.1}, 0.004),
        ({0.004: 0.1, 0.02: 0.0, 0.1: 0.2}, 0.1),
        ({0.004: float("-inf"), 0.02: 0.0, 0.1: float("-inf")}, 0.02),
    ],
)
def test_another_decay_must_be_clearly_better(trials, scores, expected):
    trials.update(scores)
    assert chosen(5000) == expected
    assert trials.asked == [(2, 5000, 7, 3, decay) for decay in (0.02, 0.004, 0.1)]


def test_few_rows_are_not_asked(trials):
    assert chosen(1999) == USUAL_DECAY
    assert trials.asked == []


def test_where_there_is_nothing_to_learn_one_trial_is_enough(trials):
    """All that is learned is there at the first check, and no decay makes a difference."""
    trials[USUAL_DECAY] = -0.97
    assert chosen(5000) == USUAL_DECAY
    assert len(trials.asked) == 1


def test_trials_are_small(trials):
    trials.update({0.004: 0.0, 0.02: 0.0, 0.1: 0.0})
    chosen(10**5, Architecture(1, 3, 5, (4,), "silu"))
    assert {asked[:2] for asked in trials.asked} == {(1, 2**14)}


X, y = make_friedman1(2100, 10, noise=1.0, random_state=0)


def test_smooth_functions_of_many_features_want_more():
    model = MDNRegressor(n_estimators=2, max_iter=60, random_state=0).fit(X, y)
    assert model.alpha_ == 0.1
    told = MDNRegressor(n_estimators=2, max_iter=60, alpha=0.1, random_state=0).fit(X, y)
    assert_array_equal(model.predict(X[:5]), told.predict(X[:5]))  # trials leave no trace
    usual = MDNRegressor(n_estimators=2, max_iter=60, alpha=0.02, random_state=0).fit(X, y)
    fresh = make_friedman1(2000, 10, noise=1.0, random_state=1)
    assert model.score(*fresh) > usual.score(*fresh) + 0.01


def test_the_decay_is_kept_where_training_goes_on(trials):
    trials.update({0.004: 0.2, 0.02: 0.0, 0.1: 0.0})
    model = MDNRegressor(n_estimators=2, max_iter=1, warm_start=True, random_state=0)
    assert model.fit(X, y).alpha_ == 0.004
    assert model.fit(X, y).alpha_ == 0.004
    assert model.partial_fit(X, y).alpha_ == 0.004
    assert len(trials.asked) == 3
    assert model.set_params(alpha=0.5).fit(X, y).alpha_ == 0.5
    assert model.set_params(alpha=0.3).partial_fit(X, y).alpha_ == 0.3
    assert model.set_params(warm_start=False, alpha="auto").fit(X, y).alpha_ == 0.004


@pytest.mark.parametrize("parameters", [{"early_stopping": False}, {"alpha": 0.02}])
def test_without_held_out_rows_or_need_nothing_is_tried(trials, parameters):
    model = MDNRegressor(n_estimators=2, max_iter=1, random_state=0, **parameters)
    assert model.fit(X, y).alpha_ == USUAL_DECAY
    assert MDNRegressor(n_estimators=2).partial_fit(X, y).alpha_ == USUAL_DECAY
    assert trials.asked == []
