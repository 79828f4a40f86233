"""How smooth a function short trainings of a few networks call for."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_friedman1

from skmdn import MDNRegressor
from skmdn.learning import planning as module
from skmdn.learning.network import Architecture
from skmdn.learning.planning import (
    USUAL,
    TrainingPlan,
    plan_training,
    smooth,
)
from skmdn.learning.sizes import usual_patience
from skmdn.learning.training import Training, TrainingOptions

ARCHITECTURE = Architecture(16, 3, 5, (4,), "silu")
OPTIONS = TrainingOptions(10, 0.01, 0.5, 2, 1e-3)
ROUGH = (0.004, 10.0)


@pytest.fixture
def trials(monkeypatch):
    """Scores by smoothness, instead of trainings; and what each was asked for.

    A mixture of all members is better than one by ``gain``. Trainings end after ``most_checks``.
    """

    class Trials(dict):
        def __init__(self):
            super().__init__()
            self.asked, self.judged_anew, self.gain = [], [], 0.3
            self.gains, self.scores = {}, {}
            self.early, self.n_checks, self.most_checks = {}, {}, 99

        def start(self, architecture, loss, table, generator, factor):
            self.n_members, self.factor = architecture.n_members, factor
            self.seed = generator.initial_seed()
            return torch.zeros(1)

        def objective(self, few, loss, flat, table, n_held_out, batch_size, n_mixed):
            self.rows = len(table), n_held_out, batch_size
            # No training that anything would go on with: it holds no rows out.
            return SimpleNamespace(
                loss=loss,
                n_mixed=n_mixed,
                architecture=few,
                n_held_out=0,
                n_shared=few.n_members // 5,
                threads=nullcontext,
            )

        def training(self, objective, options, generator):
            tried = options.weight_decay, self.factor
            self.asked.append((tried, self.n_members, objective.n_mixed, self.rows, self.seed))
            checks = self.checks(tried, objective)
            return SimpleNamespace(
                tried=tried,
                objective=objective,
                hold=lambda: checks,
                judge_anew=lambda: self.judged_anew.append(objective.n_mixed),
            )

        def checks(self, tried, objective):
            scores = [-0.3, -0.4, *[self.early.get(tried, self[tried])] * 3, *[self[tried]] * 25]
            scores = self.scores.get(tried, scores)[: self.most_checks]
            for i, score in enumerate(scores):
                gain = self.gains.get(tried, self.gain)
                objective.gain = gain if score == max(scores) else 0.3  # counts at the best
                self.n_checks[tried] = i + 1
                yield SimpleNamespace(scores=scores[: i + 1])

    trials = Trials()
    monkeypatch.setattr(module, "starting_point", trials.start)
    monkeypatch.setattr(module, "MixtureObjective", trials.objective)
    monkeypatch.setattr("skmdn.learning.trials.Training", trials.training)
    return trials


def planned(n_rows, architecture=ARCHITECTURE, n_targets=1):
    loss = SimpleNamespace(n_targets=n_targets)
    return plan_training(architecture, loss, torch.zeros(n_rows, 5), OPTIONS, 300, 3)


def chosen(*args, **parameters):
    return planned(*args, **parameters).smoothness


@pytest.mark.parametrize(
    ("rough", "calm", "expected"),
    [
        (0.0, 0.0, USUAL),
        (0.009, 0.0, USUAL),  # better, but not clearly
        (0.02, 0.0, ROUGH),
        (-0.3, 0.02, smooth(5000)),
        (float("-inf"), float("-inf"), USUAL),
        (float("nan"), float("nan"), USUAL),
    ],
)
def test_another_smoothness_must_be_clearly_better(trials, rough, calm, expected):
    trials.update({USUAL: 0.0, ROUGH: rough, smooth(5000): calm})
    assert chosen(5000) == expected
    rows = 5000, 1250, 313  # no equal batches of the rows held out as well
    asked = (USUAL, smooth(5000)) if expected == smooth(5000) else (USUAL, smooth(5000), ROUGH)
    assert trials.asked == [(tried, 5, 16, rows, 3) for tried in asked]


@pytest.mark.parametrize(
    ("n_members", "lead", "expected"),
    [
        (16, 0.0009, USUAL),
        (16, 0.0011, smooth(5000)),
        (5, 0.0011, smooth(5000)),
        (4, 0.009, USUAL),  # it may be chance
        (4, 0.011, smooth(5000)),
    ],
)
def test_of_slow_waves_a_small_lead_is_enough(trials, n_members, lead, expected):
    trials.update({USUAL: 0.0, ROUGH: 0.009, smooth(5000): lead})
    trials.early = {USUAL: -0.1, ROUGH: -0.1, smooth(5000): lead - 0.1}
    assert chosen(5000, Architecture(n_members, 3, 5, (4,), "silu")) == expected


def half(n_rows):
    """What is half as smooth."""
    decay, factor = smooth(n_rows)
    return 0.5 * decay, factor


@pytest.mark.parametrize(
    ("early", "late", "expected", "n_checks"),
    [
        (0.0, 0.011, half(1999), 6),
        (0.0, 0.009, USUAL, 6),
        (-0.003, 0.2, half(1999), 6),
        (-0.004, 0.2, USUAL, 5),  # what it takes rises by 0.0133 a check
        (-0.018, 0.2, USUAL, 4),
        (-0.062, 0.2, USUAL, 3),  # of which half counts at the third
        (0.0, float("nan"), USUAL, 6),
    ],
)
def test_few_rows_of_one_target_tell_soon(trials, early, late, expected, n_checks):
    """At the sixth check, the fourth and the fifth count, too."""
    trials.update({USUAL: 0.0, half(1999): 3.0 * late - 2.0 * early})
    trials.early = {USUAL: 0.0, half(1999): early}
    assert chosen(1999) == expected
    assert trials.asked == [(tried, 16, 16, (1999, 157, 307), 3) for tried in (USUAL, half(1999))]
    assert trials.n_checks == {USUAL: max(n_checks, 5), half(1999): n_checks}


@pytest.mark.parametrize(
    ("n_targets", "lead", "expected", "n_checks"),
    [
        (3, 0.031, half(1999), 6),  # a hundredth a target
        (3, 0.029, USUAL, 6),
        (4, 0.001, smooth(1999), 15),
        (4, -0.001, USUAL, 15),
    ],
)
def test_many_targets_are_looked_at_for_longer(trials, n_targets, lead, expected, n_checks):
    trials.update({USUAL: 0.0, half(1999): 3.0 * lead, smooth(1999): lead})
    trials.early = dict.fromkeys(trials, 0.0)  # two of the last three of six
    assert chosen(1999, n_targets=n_targets) == expected
    assert list(trials.n_checks.values()) == [n_checks, n_checks]


@pytest.mark.parametrize(
    ("of_calm", "of_rough", "expected"),
    [(0.001, 0.05, half(9999)), (-0.001, 0.021, ROUGH), (-0.001, 0.019, USUAL)],
)
def test_many_rows_of_several_targets_may_be_smooth_or_ragged(trials, of_calm, of_rough, expected):
    trials.update({USUAL: 0.0, half(9999): of_calm, ROUGH: of_rough})
    assert chosen(9999, n_targets=2) == expected
    assert {(n_members, rows[0]) for _, n_members, _, rows, _ in trials.asked} == {(5, 9999)}
    trials[smooth(9999)] = of_calm
    calm = smooth(9999) if expected == half(9999) else expected
    trials[ROUGH] *= 2.0
    assert chosen(9999, n_targets=4) == calm


@pytest.mark.parametrize(("early", "expected"), [(-0.099, half(5000)), (-0.101, USUAL)])
def test_of_several_targets_what_is_behind_is_given_up_too(trials, early, expected):
    trials.update({USUAL: 0.0, half(5000): 1.0, ROUGH: -9.0})  # two of the first five do not count
    trials.early = {USUAL: 0.0, half(5000): early, ROUGH: -9.0}
    assert chosen(5000, n_targets=2) == expected
    assert trials.n_checks[half(5000)] == (15 if expected == half(5000) else 5)


@pytest.mark.parametrize(("lead", "is_taken"), [(0.0099, False), (0.0101, True)])
def test_very_many_rows_of_several_targets_are_as_those_of_one(trials, lead, is_taken):
    calm = smooth(10_000)
    trials.update({USUAL: 0.0, ROUGH: 0.0, calm: 2 * lead, half(10_000): 9.0})
    few = Architecture(4, 3, 5, (4,), "silu")  # of which a lead must be clear
    assert chosen(10_000, few, n_targets=2) == (calm if is_taken else USUAL)


@pytest.mark.parametrize(
    ("n_members", "lead", "is_taken"), [(4, 0.019, 0), (4, 0.021, 1), (5, 0.001, 1)]
)
def test_few_networks_of_several_targets_must_be_clearly_better(trials, n_members, lead, is_taken):
    trials.update({USUAL: 0.0, half(5000): lead, ROUGH: 0.0})
    found = chosen(5000, Architecture(n_members, 3, 5, (4,), "silu"), n_targets=2)
    assert found == (half(5000) if is_taken else USUAL)


def test_few_rows_of_wide_layers_want_more_decay(trials):
    trials.update({USUAL: 0.0, smooth(1000, 192, 0.5): 0.1})
    assert chosen(1000, Architecture(16, 3, 5, (192,), "silu")) == smooth(1000, 192, 0.5)


def test_many_rows_are_never_few_for_their_features(trials):
    trials.update({USUAL: 0.0, ROUGH: 0.0, smooth(2000): 0.0})
    assert chosen(2000, Architecture(16, 101, 5, (4,), "silu")) == USUAL


def test_nothing_less_smooth_is_tried_where_rows_are_few_for_their_features(trials):
    trials.update({(0.1, 0.25): 0.0, smooth(1999): 0.01})
    wide = Architecture(16, 100, 5, (4,), "silu")
    assert chosen(1999, wide, n_targets=3) == (0.1, 0.25)  # half were 0.09
    assert len(trials.asked) == 1
    assert chosen(1999, wide, n_targets=4) == smooth(1999)


def test_too_few_rows_or_members_are_not_asked(trials):
    few = Architecture(4, 3, 5, (4,), "silu")
    assert chosen(59) == chosen(59, few) == chosen(59, few, n_targets=2) == (0.1, 0.25)
    assert chosen(60, few) == USUAL  # twenty for each of three features
    assert trials.asked == []


@pytest.mark.parametrize(("lead", "expected"), [(0.019, (0.1, 0.25)), (0.021, half(59))])
def test_rows_that_are_few_for_their_features_want_smoothness(trials, lead, expected):
    trials.update({(0.1, 0.25): 0.0, half(59): lead})
    assert chosen(59, n_targets=2) == expected


@pytest.mark.parametrize(
    ("calm", "rough", "n_checks", "expected"),
    [
        (0.01, -0.05, (15, 15), smooth(5000)),
        (-0.0019, -0.07, (5, 4, 5), USUAL),  # half of it counts at the third check
        (-0.0021, -0.07, (5, 3, 5), USUAL),
        (-0.01, -0.059, (10, 3, 10), ROUGH),  # fast waves may catch up, and are taken when ahead
        (-0.01, -0.061, (5, 3, 5), USUAL),  # slow ones do not; and so the usual need not go on
        (float("nan"), float("nan"), (5, 3, 5), USUAL),
    ],
)
def test_what_is_behind_is_given_up(trials, calm, rough, n_checks, expected):
    trials.update({USUAL: 0.5, ROUGH: 0.6, smooth(5000): 0.6})
    trials.early = {USUAL: 0.0, ROUGH: rough, smooth(5000): calm}
    assert chosen(5000) == expected
    assert tuple(trials.n_checks.values()) == n_checks


@pytest.mark.parametrize(("lead", "n_checks"), [(0.029, 15), (0.031, 10)])
def test_fast_waves_are_taken_sooner_where_they_are_far_ahead(trials, lead, n_checks):
    trials.update({USUAL: 0.5, ROUGH: 0.5 + lead, smooth(5000): 0.0})
    trials.early = {USUAL: 0.0, ROUGH: 0.0, smooth(5000): -1.0}
    assert chosen(5000) == ROUGH
    assert trials.n_checks == {USUAL: n_checks, smooth(5000): 3, ROUGH: n_checks}


def test_few_networks_suffice_by_all_checks_however_soon_others_were_given_up(trials):
    """Scores that hardly rise from the third check to the eighth may rise after it."""
    trials.update({USUAL: -0.2, ROUGH: -0.22, smooth(10_000): -9.0})
    trials.early = {USUAL: -0.2, ROUGH: -0.2, smooth(10_000): -9.0}
    trials.gain = 0.0
    assert planned(10_000)[:2] == (USUAL, 5)
    assert trials.n_checks[USUAL] == 15 > trials.n_checks[ROUGH]
    trials.scores[USUAL] = [-0.3, -0.4, *[-0.2] * 10, *[0.1] * 20]
    assert planned(10_000)[:2] == (USUAL, 16)


@pytest.mark.parametrize(("late", "expected"), [(-0.25, smooth(5000)), (-0.27, USUAL)])
def test_what_is_learned_late_is_learned(trials, late, expected):
    """0.04 nats are needed, more than there are at the fifth check."""
    trials.update({USUAL: late, ROUGH: 0.0, smooth(5000): 0.0})
    trials.early = {USUAL: -0.28, ROUGH: -0.28, smooth(5000): -0.28}
    assert chosen(5000) == expected
    assert trials.n_checks[USUAL] == 15


def test_where_there_is_nothing_to_learn_one_trial_is_enough(trials):
    """All that is learned is there at the first check, and nothing makes a difference."""
    trials[USUAL] = -0.37
    assert chosen(5000) == USUAL
    assert len(trials.asked) == 1


@pytest.mark.parametrize(("learned", "n_asked"), [(0.91, 1), (0.89, 2)])
def test_few_rows_without_noise_are_not_asked(trials, learned, n_asked):
    trials.update({USUAL: learned - 0.3, ROUGH: 0.0, half(1999): 1.8, smooth(5000): 1.8})
    assert chosen(1999) == (USUAL if n_asked == 1 else half(1999))
    assert len(trials.asked) == n_asked
    assert chosen(5000) == smooth(5000)


def test_what_counts_is_what_each_target_gains(trials):
    trials.update({USUAL: 0.0, half(5000): -1.0, ROUGH: 0.019})
    assert chosen(5000, n_targets=2) == USUAL
    trials[ROUGH] = 0.021
    assert chosen(5000, n_targets=2) == ROUGH


@pytest.mark.parametrize(
    ("n_rows", "most_checks", "gain", "expected"),
    [
        (10_000, 14, 0.009, 5),
        (10_000, 14, 0.011, 16),  # more networks are better
        (10_000, 15, 0.009, 16),  # they might still become so
        (9_999, 14, 0.009, 16),  # few rows take little time
        (1_999, 3, 0.009, 16),
    ],
)
def test_few_networks_suffice_where_mixing_gains_little(
    trials, n_rows, most_checks, gain, expected
):
    trials.update(dict.fromkeys((USUAL, ROUGH, smooth(n_rows), half(n_rows)), -0.28))
    trials.early = dict.fromkeys(trials, -0.28)
    trials.gain, trials.most_checks = gain, most_checks
    assert planned(n_rows)[:2] == (USUAL, expected)
    assert trials.judged_anew == [5] * (expected == 5)
    if n_rows >= 10_000:
        trials.gain = 2.0 * gain  # each target's counts
        assert planned(n_rows, n_targets=2).n_members == expected
    trials.judged_anew.clear()
    for n_members in (3, 5):  # they are as many as were tried
        fewer = Architecture(n_members, 3, 5, (4,), "silu")
        assert planned(n_rows, fewer).n_members == n_members
    assert trials.judged_anew == []


def test_networks_of_the_smoothness_that_is_chosen_can_suffice(trials):
    trials.update({USUAL: 0.0, ROUGH: 0.02, smooth(10_000): -9.0})
    trials.early, trials.most_checks = {USUAL: -0.1, ROUGH: 0.0}, 14
    trials.gains = {USUAL: 0.3, ROUGH: 0.0}
    plan = planned(10_000)
    assert plan[:2] == (ROUGH, 5)
    assert (plan.begun.tried, plan.begun.objective.n_mixed) == (ROUGH, 5)
    trials.gains = {USUAL: 0.0, ROUGH: 0.3}
    assert planned(10_000)[:2] == (ROUGH, 16)


@pytest.mark.parametrize(
    ("n_rows", "learned", "late", "n_members"),
    [
        (2000, 0.041, 0.0, 5),
        (2000, 0.039, 0.0, 16),  # of little that shows, more networks may find more
        (1999, 0.041, 0.0, 16),
        (2000, 0.041, 0.019, 5),  # nor need training be over, if little is added
        (2000, 0.041, 0.021, 16),
        (10_000, 0.041, 0.0, 5),
        (10_000, 0.039, 0.0, 16),
    ],
)
def test_where_something_is_learned_few_networks_suffice_sooner(
    n_rows, learned, late, n_members, monkeypatch
):
    scores = [0.0, *[learned] * 9, *[learned + late] * 20]
    first = trial(*scores)
    first.objective.n_shared, first.objective.architecture = 1, None
    first.objective.n_held_out, first.objective.n_mixed = 0, 16
    first.training.judge_anew = lambda: None
    monkeypatch.setattr(module._Trials, "of", lambda self, tried: first)
    assert planned(n_rows).n_members == n_members
    first.objective.loss.n_targets, first.mixed[:] = 2, [2.0 * score for score in first.mixed]
    assert planned(n_rows, n_targets=2).n_members == (n_members if n_rows >= 10_000 else 16)


@pytest.mark.parametrize(
    ("n_rows", "n_members", "rough", "expected"),
    [
        (5000, 5, 0.0, USUAL),
        (5000, 1, 0.02, ROUGH),
        (5000, 6, 0.02, None),  # five of them were tried
        (1000, 8, 0.0, USUAL),  # all were tried
        (2**16, 5, 0.02, ROUGH),
        (2**16 + 1, 5, 0.02, None),  # not all rows were looked at
    ],
)
def test_a_trial_of_all_networks_and_rows_is_gone_on_with(
    trials, n_rows, n_members, rough, expected
):
    trials.update({USUAL: 0.0, ROUGH: rough, smooth(n_rows): -9.0, half(n_rows): -9.0})
    plan = planned(n_rows, Architecture(n_members, 3, 5, (4,), "silu"))
    assert plan.n_members == n_members
    assert (plan.begun and plan.begun.tried) == expected
    assert trials.judged_anew == []


def test_so_are_the_few_networks_that_suffice(trials):
    trials[USUAL] = -0.37
    trials.gain, trials.most_checks = 0.0, 3
    assert planned(2**16).begun.objective.n_mixed == 5
    assert planned(2**16 + 1)[1:] == (5, None)


def test_training_that_was_left_early_is_not_over(trials):
    """The others are so far behind at the fifth check that the usual one need not go on."""
    trials.update({USUAL: 0.0, ROUGH: -9.0, smooth(10_000): -9.0})
    trials.early, trials.gain = {USUAL: 0.0, ROUGH: -9.0, smooth(10_000): -9.0}, 0.0
    assert planned(10_000) == (USUAL, 16, None)
    assert trials.n_checks[USUAL] == 5


def trial(*scores):
    """A training of five members with such scores."""
    objective = SimpleNamespace(loss=SimpleNamespace(n_targets=1), threads=nullcontext, gain=0.0)
    results = [SimpleNamespace(scores=scores[: i + 1]) for i in range(len(scores))]
    training = SimpleNamespace(hold=lambda: iter(results))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skmdn.learning.trials.Training", lambda *args: training)
        return module.Trial(USUAL, objective, OPTIONS, torch.Generator())


def test_what_ended_early_is_compared_with_what_goes_on_by_its_best():
    def lead(ours, theirs):
        return trial(*ours).lead(trial(*theirs), 6)

    usual, early = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0), (1.0, 3.5, 3.0)
    assert lead(early, usual) == pytest.approx(-0.5)
    assert lead(usual, early) == pytest.approx(0.5)
    assert lead((1.0, 4.5, 3.0), usual) == pytest.approx(0.5)
    assert lead((1.0, 4.5, 3.0), (3.0, 2.0, 1.0)) == pytest.approx(2.25)  # 4.5, 3 and 2, 1


def test_what_is_learned_by_the_fifth_check_tells_of_noise():
    assert not module._tells(trial(0.0, 0.0, 0.5, 0.5, 1.0), 1999)
    assert module._tells(trial(0.0, 0.0, 0.5, 0.5, 0.8, 2.0), 1999)


def test_fewer_rows_call_for_more_decay():
    assert smooth(400) == (0.4, 0.25)
    assert smooth(10) == (0.5, 0.25)
    assert smooth(2**16) == smooth(10**6) == (0.03125, 0.25)


def test_trials_are_small(trials):
    trials.update({USUAL: 0.0, ROUGH: 0.0, smooth(10**5): 0.0})
    chosen(10**5, Architecture(1, 3, 5, (4,), "silu"))
    assert {asked[1:3] for asked in trials.asked} == {(1, 1)}
    assert {asked[3][0] for asked in trials.asked} == {2**16}


X, y = make_friedman1(2100, 10, noise=1.0, random_state=0)


def test_smooth_functions_of_many_features_want_more_decay():
    model = MDNRegressor(n_estimators=3, max_iter=60, random_state=1).fit(X, y)
    assert model.alpha_ == smooth(2100).weight_decay
    usual = MDNRegressor(n_estimators=3, max_iter=60, alpha=0.02, random_state=1).fit(X, y)
    fresh = make_friedman1(2000, 10, noise=1.0, random_state=1)
    assert model.score(*fresh) > usual.score(*fresh) + 0.01


def test_noise_on_few_rows_wants_much_decay():
    X, y = make_friedman1(300, 10, noise=1.5, random_state=0)
    model = MDNRegressor(n_estimators=8, random_state=0).fit(X, y)
    assert model.alpha_ == half(300)[0]
    usual = MDNRegressor(n_estimators=8, alpha=0.02, random_state=0).fit(X, y)
    fresh = make_friedman1(2000, 10, noise=1.5, random_state=1)
    assert model.score(*fresh) > usual.score(*fresh) + 0.05


def test_no_noise_on_few_rows_wants_little_decay():
    X = np.random.default_rng(0).uniform(-1.0, 1.0, size=(300, 2))
    y = np.sin(3.0 * X[:, 0]) + X[:, 1] ** 2
    parameters = {"n_estimators": 8, "max_iter": 30, "random_state": 0}
    model = MDNRegressor(**parameters).fit(X[:200], y[:200])
    assert model.alpha_ == USUAL.weight_decay
    much = MDNRegressor(alpha=smooth(200).weight_decay, **parameters).fit(X[:200], y[:200])
    assert model.score(X[200:], y[200:]) > much.score(X[200:], y[200:]) + 0.3


def test_the_callers_default_device_changes_no_choice():
    X, y = make_friedman1(300, 10, noise=1.5, random_state=0)
    how = {"n_estimators": 8, "max_iter": 20, "random_state": 0}
    expected = MDNRegressor(**how).fit(X, y)
    with torch.device("meta"):
        found = MDNRegressor(**how).fit(X, y)
    assert found.alpha_ == expected.alpha_ == half(300)[0]
    assert_array_equal(found.predict(X[:5]), expected.predict(X[:5]))


def test_so_do_functions_of_nearly_as_many_features_as_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1120, 40))
    y = np.exp(X[:, 0] - X[:, 1]) + 0.5 * rng.normal(size=1120)
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


@pytest.mark.parametrize("n_members", [3, 5, 6])
def test_trials_leave_no_trace(n_members, monkeypatch):
    """A model is the one that what was chosen makes, however it was; a trial may be its start."""
    model = MDNRegressor(n_estimators=n_members, max_iter=60, random_state=1)
    found = clone(model).fit(X, y)
    plan = TrainingPlan(smooth(len(X)), n_members)
    monkeypatch.setattr("skmdn._fitting.plan_training", lambda *args: plan)
    told = clone(model).fit(X, y)
    assert_array_equal(found.predict(X[:5]), told.predict(X[:5]))
    for name in ("n_iter_", "best_iter_", "stop_reason_", "loss_curve_", "validation_scores_"):
        assert getattr(found, name) == getattr(told, name)
    holders = (model._held_out.holders(n_members) for model in (found, told))
    assert_array_equal(*holders)


@pytest.mark.parametrize(("n_members", "fraction"), [(3, 0.2), (6, 0.25)])
def test_a_trial_that_holds_out_other_rows_is_not_gone_on_with(n_members, fraction, monkeypatch):
    """Three of three networks hold out a tenth in a trial, five of six a quarter."""
    model = MDNRegressor(
        n_estimators=n_members, validation_fraction=fraction, max_iter=60, random_state=1
    )
    found = clone(model).fit(X, y)
    assert found.alpha_ == smooth(len(X)).weight_decay
    assert found._held_out.n_held_out == round(fraction * len(X))
    plan = TrainingPlan(smooth(len(X)), n_members)
    monkeypatch.setattr("skmdn._fitting.plan_training", lambda *args: plan)
    assert_array_equal(found.predict(X[:5]), clone(model).fit(X, y).predict(X[:5]))


def test_the_decay_is_kept_where_training_goes_on(trials):
    trials.update({USUAL: 0.0, ROUGH: 0.2, smooth(2100): -9.0})
    parameters = {"max_iter": 1, "batch_size": 105, "warm_start": True, "random_state": 0}
    model = MDNRegressor(n_estimators=2, **parameters)
    assert model.fit(X, y).alpha_ == 0.004
    seed = np.random.RandomState(0).randint(2**31)
    assert trials.asked[0] == (USUAL, 2, 2, (2100, 210, 105), seed)
    assert model.fit(X, y).alpha_ == 0.004
    assert model.partial_fit(X, y).alpha_ == 0.004
    assert len(trials.asked) == 3
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
    trials.update({USUAL: 0.0, ROUGH: 0.2, smooth(2100): -9.0})
    model = MDNRegressor(n_estimators=2, max_iter=1, random_state=0)
    assert model.fit(X, y).alpha_ == 0.004
    assert model.set_params(early_stopping=False).fit(X, y).alpha_ == USUAL.weight_decay


def test_a_model_of_before_there_was_a_choice_goes_on():
    model = MDNRegressor(n_estimators=1, max_iter=1, warm_start=True, random_state=0).fit(X, y)
    del model.alpha_
    assert model.fit(X, y).alpha_ == USUAL.weight_decay


def test_where_there_is_nothing_to_learn_few_networks_are_trained():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10_000, 3)), rng.normal(size=10_000)
    model = MDNRegressor(random_state=0).fit(X, y)
    assert model.n_estimators_ == model.network_.architecture.n_members == 5
    sixteen = MDNRegressor(n_estimators=16, random_state=0).fit(X, y)
    assert sixteen.n_estimators_ == sixteen.network_.architecture.n_members == 16
    fresh = rng.normal(size=(5000, 3)), rng.normal(size=5000)
    assert abs(model.score(*fresh) - sixteen.score(*fresh)) < 0.01
    # Each row is held out by one of them, or two.
    assert model.oof_mixture(X).weights.shape == (10_000, 25)
    # They wait longer for a better score than is usual: four checks, not two.
    patient = MDNRegressor(n_iter_no_change=4, random_state=0).fit(X, y)
    assert len(model.validation_scores_) == len(patient.validation_scores_)
    five = MDNRegressor(n_estimators=5, random_state=0).fit(X, y)
    assert len(five.validation_scores_) < len(model.validation_scores_)
    # So that it is with a share that is told, there are as many as before, even with that of five.
    told = MDNRegressor(validation_fraction=0.25, max_iter=6).fit(X, y)
    assert told.n_estimators_ == told.network_.architecture.n_members == 16
    # Scores of the trial were for sixteen, but are as those that follow.
    assert max(model.validation_scores_) == pytest.approx(model.best_validation_score_)


def test_trials_and_what_goes_on_from_them_keep_to_their_threads():
    """One thread means NumPy, two mean torch; what was begun with the one goes on with it."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10_000, 3)), rng.normal(size=10_000)
    model = MDNRegressor(max_iter=8, random_state=0)
    expected = clone(model).fit(X, y)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = clone(model).fit(X, y)
    finally:
        torch.set_num_threads(before)
    assert found.n_estimators_ == 5
    assert_array_equal(found.network_.flat(), expected.network_.flat())


def test_what_a_trial_reached_is_printed_where_it_is_gone_on_with(capsys):
    model = MDNRegressor(n_estimators=1, max_iter=20, random_state=0, verbose=True).fit(X, y)
    _, first, *lines = capsys.readouterr().out.splitlines()
    assert f"held-out log-likelihood {model.validation_scores_[14]:.4f} (best" in first
    assert len(lines) == len(model.validation_scores_) - 15


@pytest.mark.parametrize("n_checks", [1, 4, 17])
def test_an_error_in_a_trial_or_after_it_leaves_the_old_model(n_checks, monkeypatch):
    model = MDNRegressor(n_estimators=1, max_iter=30, random_state=0).fit(X, y)
    expected, check, calls = model.network_.flat(), Training.check, []

    def interrupted(self, losses):
        calls.append(self)
        if len(calls) == n_checks:
            raise KeyboardInterrupt
        return check(self, losses)

    monkeypatch.setattr(Training, "check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, -y)
    assert_array_equal(model.network_.flat(), expected)


def test_the_number_of_networks_is_kept_where_training_goes_on():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10_000, 1)), rng.normal(size=10_000)
    model = MDNRegressor(max_iter=4, warm_start=True, random_state=0).fit(X, y)
    assert model.n_estimators_ == 5
    assert model.fit(X[:200], y[:200]).n_estimators_ == 5
    assert model.partial_fit(X, y).n_estimators_ == 5
    with pytest.raises(ValueError, match="n_estimators"):
        model.set_params(n_estimators=16).fit(X, y)
    model.set_params(n_estimators="auto", alpha=0.02, warm_start=False).fit(X, y)
    assert model.n_estimators_ == 16
    assert MDNRegressor(random_state=0).partial_fit(X, y).n_estimators_ == 16


@pytest.mark.parametrize(
    ("layers", "decay"), [((4,), 0.08), ((48, 48), 0.08), ((192,), 0.16), ((48, 108), 0.12)]
)
def test_smooth_functions_by_more_units_want_more_decay(layers, decay, trials):
    calm = smooth(10_000, max(layers))
    assert calm == (pytest.approx(decay), 0.25)
    architecture = Architecture(16, 3, 5, layers, "silu")
    trials.update({USUAL: 0.1, ROUGH: 0.1, calm: 0.12})
    trials.early = {USUAL: 0.0, ROUGH: 0.0, calm: 0.0}
    assert chosen(10_000, architecture) == calm
    trials.early[calm] = -0.041  # behind at first
    assert chosen(10_000, architecture) == (USUAL if max(layers) <= 48 else calm)
    trials.early[calm] = -0.042
    assert chosen(10_000, architecture) == USUAL


def test_these_wait_no_longer_than_sixteen(monkeypatch):
    X, y = make_friedman1(400, 5, noise=1.0, random_state=0)
    how = {"max_iter": 3, "random_state": 0, "alpha": 0.02}
    assert MDNRegressor(**how).fit(X, y).n_estimators_ == 16
    architecture = MDNRegressor(**how).fit(X, y).network_.architecture
    work = 400 * architecture.n_parameters / 16 * 7.5
    monkeypatch.setattr("skmdn.learning.sizes._MOST_WORK", work)
    model = MDNRegressor(**how).fit(X, y)
    assert model.n_estimators_ == 7
    assert model._options(400).n_iter_no_change == usual_patience(400)
