"""How smooth a function short trainings of a few networks call for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.datasets import make_friedman1

from skmdn import MDNRegressor
from skmdn.learning import smoothness as module
from skmdn.learning.network import Architecture
from skmdn.learning.smoothness import USUAL, chosen_smoothness
from skmdn.learning.training import TrainingOptions

ARCHITECTURE = Architecture(16, 3, 5, (4,), "silu")
OPTIONS = TrainingOptions(10, 0.01, 0.5, 2, 1e-3)
ROUGH, SMOOTH = (0.004, 10.0), (0.1, 0.25)


@pytest.fixture
def trials(monkeypatch):
    """Scores by smoothness, instead of trainings; and what each was asked for."""

    class Trials(dict):
        def __init__(self):
            super().__init__()
            self.asked = []

        def start(self, architecture, loss, table, generator, factor):
            self.members, self.factor = architecture.n_members, factor
            self.seed = generator.initial_seed()
            return torch.zeros(1)

        def objective(self, few, loss, flat, table, n_held_out, batch_size, speaking_for):
            self.rows = len(table), n_held_out, batch_size
            self.speaking_for = speaking_for

        def first_scores(self, objective, options, generator, n_checks):
            tried = options.weight_decay, self.factor
            self.asked.append((tried, self.members, self.speaking_for, self.rows, self.seed))
            return [-1.0, -1.2, self[tried] - 0.5, self[tried] + 0.5]

    trials = Trials()
    monkeypatch.setattr(module, "starting_point", trials.start)
    monkeypatch.setattr(module, "MixtureObjective", trials.objective)
    monkeypatch.setattr(module, "first_scores", trials.first_scores)
    return trials


def chosen(n_rows, architecture=ARCHITECTURE):
    return chosen_smoothness(architecture, None, torch.zeros(n_rows, 5), OPTIONS, 300, 3)


@pytest.mark.parametrize(
    ("rough", "smooth", "expected"),
    [
        (0.0, 0.0, USUAL),
        (0.009, 0.009, USUAL),  # better, but not clearly
        (0.02, 0.0, ROUGH),
        (-0.3, 0.02, SMOOTH),
        (float("-inf"), float("-inf"), USUAL),
    ],
)
def test_another_smoothness_must_be_clearly_better(trials, rough, smooth, expected):
    trials.update({USUAL: 0.0, ROUGH: rough, SMOOTH: smooth})
    assert chosen(5000) == expected
    rows = 5000, 500, 300  # no equal batches of the rows held out as well
    asked = (USUAL, ROUGH) if expected == ROUGH else (USUAL, ROUGH, SMOOTH)
    assert trials.asked == [(tried, 4, 16, rows, 3) for tried in asked]


def test_few_rows_are_not_asked(trials):
    assert chosen(1999) == chosen(60) == USUAL
    assert chosen(59) == SMOOTH  # three features
    assert trials.asked == []


def test_where_there_is_nothing_to_learn_one_trial_is_enough(trials):
    """All that is learned is there at the first check, and nothing makes a difference."""
    trials[USUAL] = -1.47
    assert chosen(5000) == USUAL
    assert len(trials.asked) == 1


def test_trials_are_small(trials):
    trials.update({USUAL: 0.0, ROUGH: 0.0, SMOOTH: 0.0})
    chosen(10**5, Architecture(1, 3, 5, (4,), "silu"))
    assert {asked[1:3] for asked in trials.asked} == {(1, 1)}
    assert {asked[3][0] for asked in trials.asked} == {2**14}


X, y = make_friedman1(2100, 10, noise=1.0, random_state=0)


def test_smooth_functions_of_many_features_want_more_decay():
    model = MDNRegressor(n_estimators=2, max_iter=60, random_state=1).fit(X, y)
    assert model.alpha_ == 0.1
    usual = MDNRegressor(n_estimators=2, max_iter=60, alpha=0.02, random_state=1).fit(X, y)
    fresh = make_friedman1(2000, 10, noise=1.0, random_state=1)
    assert model.score(*fresh) > usual.score(*fresh) + 0.01


def test_so_do_functions_of_nearly_as_many_features_as_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1120, 40))
    y = X[:, 0] - X[:, 1] + 0.5 * rng.normal(size=1120)
    parameters = {"n_estimators": 5, "random_state": 0}
    model = MDNRegressor(**parameters).fit(X[:120], y[:120])
    assert model.alpha_ == 0.1
    usual = MDNRegressor(alpha=0.02, **parameters).fit(X[:120], y[:120])
    assert model.score(X[120:], y[120:]) > usual.score(X[120:], y[120:]) + 0.1


def test_ragged_functions_want_less():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(2600, 1))
    y = rng.normal(size=100)[(100 * X[:, 0]).astype(int)] + 0.05 * rng.normal(size=2600)
    model = MDNRegressor(n_estimators=4, random_state=0).fit(X[:2100], y[:2100])
    assert model.alpha_ == 0.004
    usual = MDNRegressor(n_estimators=4, alpha=0.02, random_state=0).fit(X[:2100], y[:2100])
    assert model.score(X[2100:], y[2100:]) > usual.score(X[2100:], y[2100:]) + 0.1


def test_trials_leave_no_trace(monkeypatch):
    """A model is the one that what was chosen makes, however it was."""
    found = MDNRegressor(n_estimators=2, max_iter=60, random_state=1).fit(X, y)
    monkeypatch.setattr("skmdn._regressor.chosen_smoothness", lambda *args: SMOOTH)
    told = MDNRegressor(n_estimators=2, max_iter=60, random_state=1).fit(X, y)
    assert_array_equal(found.predict(X[:5]), told.predict(X[:5]))


def test_the_decay_is_kept_where_training_goes_on(trials):
    trials.update({USUAL: 0.0, ROUGH: 0.2, SMOOTH: 0.0})
    parameters = {"max_iter": 1, "batch_size": 105, "warm_start": True, "random_state": 0}
    model = MDNRegressor(n_estimators=2, **parameters)
    assert model.fit(X, y).alpha_ == 0.004
    seed = np.random.RandomState(0).randint(2**31)
    assert trials.asked[0] == (USUAL, 2, 2, (2100, 210, 105), seed)
    assert model.fit(X, y).alpha_ == 0.004
    assert model.partial_fit(X, y).alpha_ == 0.004
    assert len(trials.asked) == 2
    assert model.set_params(alpha=0.5).fit(X, y).alpha_ == 0.5
    assert model.set_params(alpha=0.3).partial_fit(X, y).alpha_ == 0.3
    assert model.set_params(warm_start=False, alpha="auto").fit(X, y).alpha_ == 0.004


@pytest.mark.parametrize("parameters", [{"early_stopping": False}, {"alpha": 0.02}])
def test_without_held_out_rows_or_need_nothing_is_tried(trials, parameters):
    model = MDNRegressor(n_estimators=2, max_iter=1, random_state=0, **parameters)
    assert model.fit(X, y).alpha_ == USUAL.weight_decay
    assert MDNRegressor(n_estimators=2).partial_fit(X, y).alpha_ == USUAL.weight_decay
    assert trials.asked == []


def test_a_decay_told_later_counts_from_then_on():
    first = MDNRegressor(n_estimators=1, alpha=0.02, random_state=0).partial_fit(X, y)
    same, other = (pickle.loads(pickle.dumps(first)) for _ in range(2))
    same.partial_fit(X, y)
    other.set_params(alpha=50.0).partial_fit(X, y)
    assert (same.alpha_, other.alpha_) == (0.02, 50.0)
    assert other.network_.flat().norm() < 0.9 * same.network_.flat().norm()


def test_what_was_chosen_is_not_kept_where_fit_starts_anew(trials):
    trials.update({USUAL: 0.0, ROUGH: 0.2, SMOOTH: 0.0})
    model = MDNRegressor(n_estimators=2, max_iter=1, random_state=0)
    assert model.fit(X, y).alpha_ == 0.004
    assert model.set_params(early_stopping=False).fit(X, y).alpha_ == USUAL.weight_decay


def test_a_model_of_before_there_was_a_choice_goes_on():
    model = MDNRegressor(n_estimators=1, max_iter=1, warm_start=True, random_state=0).fit(X, y)
    del model.alpha_
    assert model.fit(X, y).alpha_ == USUAL.weight_decay
