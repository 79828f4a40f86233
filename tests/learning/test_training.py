"""The loop on objectives simple enough to be solved by hand, and Adam against torch's own."""

from __future__ import annotations

import gc
import math
import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from skmdn.learning import training
from skmdn.learning.objective import equal_batches
from skmdn.learning.optimizer import _AVERAGING_RATE, _WARM_UP, AveragedAdamW
from skmdn.learning.training import Training, TrainingOptions, one_pass

STEPS_PER_CHECK = training._STEPS_PER_CHECK


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


class Bowl:
    """Rows pull the parameters towards themselves; judged by the distance to ``goal``."""

    def __init__(self, rows, goal=None, batch_size=4):
        self.rows, self.goal = rows, goal
        self.flat, self.gradient = torch.zeros(2), torch.zeros(2)
        self.batch_size, self.n_batches = batch_size, -(-len(rows) // batch_size)
        self.seen, self.judged, self.part_scores = [], [], ()

    def batches(self, generator):
        return iter(equal_batches(len(self.rows), self.batch_size, generator))

    def step(self, positions):
        self.seen.append(positions)
        residual = self.flat - self.rows[positions]
        self.gradient.copy_(residual.mean(0))
        return 0.5 * residual.square().sum(1).mean()

    def judge(self, flat):
        if self.goal is None:
            return -0.5 * (flat - self.rows).square().sum(1).mean().item()
        score = -float((flat - self.goal).norm())
        self.judged.append(score)
        return score


def options(**changed):
    default = {"max_iter": 200, "learning_rate": 0.1, "weight_decay": 0.0}
    return TrainingOptions(**default | {"n_iter_no_change": 3, "tol": 1e-3} | changed)


def train(objective, options, generator, *report):
    return Training(objective, options, generator).finish(*report)


# --- Adam ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_steps_are_those_of_adamw_with_a_warm_up(weight_decay):
    start, gradients = randn(7), randn(60, 7, seed=1)
    ours = AveragedAdamW(start.clone(), weight_decay)
    theirs = torch.nn.Parameter(start.clone())
    adamw = torch.optim.AdamW([theirs], betas=(0.9, 0.99), weight_decay=weight_decay)
    path = [start]
    for count, gradient in enumerate(gradients, start=1):
        ours.step(gradient, 0.05)
        adamw.param_groups[0]["lr"] = 0.05 * min(1.0, count / _WARM_UP)
        theirs.grad = gradient
        adamw.step()
        torch.testing.assert_close(ours.flat, theirs.detach(), rtol=1e-6, atol=1e-6)
        path.append(ours.flat.clone())
        # Until the averaging rate is reached, the average is that of the whole path.
        assert 1 / (count + 1) > _AVERAGING_RATE
        torch.testing.assert_close(ours.average, torch.stack(path).mean(0))


def test_the_average_forgets_exponentially():
    optimizer = AveragedAdamW(torch.zeros(1), 0.0)
    optimizer.count = 10**6
    optimizer.flat.fill_(1.0)
    optimizer.step(torch.zeros(1), 0.0)
    assert optimizer.average.item() == pytest.approx(_AVERAGING_RATE)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_step_along_no_finite_gradient_is_not_taken(value):
    optimizer = AveragedAdamW(randn(5), 0.1)
    for gradient in randn(3, 5, seed=1):
        optimizer.step(gradient, 0.1)
    parts = optimizer.flat, optimizer.first_moment, optimizer.second_moment
    before = [part.clone() for part in parts]
    bad = randn(5, seed=2)
    bad[3] = value
    optimizer.step(bad, 0.1)
    assert all(map(torch.equal, parts, before))
    optimizer.step(randn(5, seed=3), 0.1)
    assert optimizer.flat.isfinite().all()
    assert optimizer.average.isfinite().all()
    assert not torch.equal(optimizer.flat, before[0])


def test_a_restart_forgets_all_but_the_average():
    optimizer = AveragedAdamW(randn(5), 0.1)
    for gradient in randn(30, 5, seed=1):
        optimizer.step(gradient, 0.1)
    average = optimizer.average.clone()
    optimizer.restart()
    fresh = AveragedAdamW(average.clone(), 0.1)
    for gradient in randn(5, 5, seed=2):
        optimizer.step(gradient, 0.1)
        fresh.step(gradient, 0.1)
    assert torch.equal(optimizer.flat, fresh.flat)
    assert torch.equal(optimizer.average, fresh.average)


# --- batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_rows", "size"), [(12, 4), (13, 4), (5, 5), (7, 1), (100, 33), (9, 8)])
def test_batches_are_equal_and_cover_all_rows(n_rows, size):
    batches = equal_batches(n_rows, size, generator())
    assert batches.shape == (math.ceil(n_rows / size), size)
    order = batches.flatten()
    assert sorted(order[:n_rows].tolist()) == list(range(n_rows))
    assert torch.equal(order[n_rows:], order[: len(order) - n_rows])


def test_every_pass_is_shuffled_anew_by_the_generator_alone():
    chance = generator(3)
    first, second = (equal_batches(50, 10, chance) for _ in range(2))
    assert not torch.equal(first, second)
    torch.manual_seed(123)
    assert torch.equal(first, equal_batches(50, 10, generator(3)))


def test_the_loss_of_a_pass_is_the_mean_over_rows():
    rows = randn(12, 2)
    bowl = Bowl(rows)
    loss, n_steps = one_pass(bowl, AveragedAdamW(bowl.flat, 0.0), 0.0, generator())
    assert n_steps == 3
    assert loss == pytest.approx(0.5 * rows.square().sum(1).mean().item(), rel=1e-6)


# --- the loop ------------------------------------------------------------------------------------


def test_it_finds_the_bottom():
    rows = randn(40, 2) + 3.0
    bowl = Bowl(rows, goal=rows.mean(0))
    result = train(bowl, options(tol=1e-6), generator())
    torch.testing.assert_close(result.flat, rows.mean(0), rtol=0.02, atol=0.02)
    assert result.best_score == max(bowl.judged) == max(result.scores)


def test_a_training_goes_from_check_to_check():
    rows = randn(40, 2) + 3.0
    bowl = Bowl(rows, rows.mean(0))
    training = Training(bowl, options(), generator())
    held = training.hold()
    assert len(bowl.judged) == 1  # the start
    first = next(held)
    assert first.n_steps == STEPS_PER_CHECK
    whole = train(Bowl(rows, rows.mean(0)), options(), generator())
    assert first.scores == whole.scores[:1]
    assert next(held).scores == whole.scores[:2]
    assert first.n_steps == 2 * STEPS_PER_CHECK
    found = training.finish()
    assert found.scores == whole.scores
    assert_array_equal(found.flat, whole.flat)
    assert found.stop_reason == whole.stop_reason


def test_what_rises_ends_where_the_step_would_fall_and_may_wait_for_longer():
    rows = torch.full((20, 2), 5.0)

    def training(patience):
        bowl = Bowl(rows, goal=torch.zeros(2), batch_size=1)  # it only gets worse
        return Training(bowl, options(n_iter_no_change=patience), generator())

    begun, patient = training(4), training(7)
    assert len(list(begun.hold())) == 4
    assert not list(begun.hold())
    begun.options = patient.options
    assert len(list(begun.hold())) == 3
    expected, found = (each.finish() for each in (patient, begun))
    assert found.scores == expected.scores
    assert_array_equal(found.flat, expected.flat)


def test_a_training_keeps_nothing_alive_afterwards():
    """Rows may take gigabytes: they are not to wait for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        training = Training(Bowl(randn(40, 2)), options(), generator())
        next(training.hold())
        training.finish()
        gone = weakref.ref(training.objective)
        del training
        assert gone() is None
    finally:
        gc.enable()


def test_what_is_judged_anew_is_what_others_must_beat():
    rows = randn(40, 2) + 3.0
    bowl, other = (Bowl(rows, rows.mean(0)) for _ in range(2))
    training, twin = (Training(each, options(), generator()) for each in (bowl, other))
    held, of_twin = training.hold(), twin.hold()
    for _ in range(3):
        next(held), next(of_twin)
    judge = bowl.judge
    bowl.judge = lambda flat: judge(flat) - 100.0
    training.judge_anew()
    for _ in range(2):
        next(held), next(of_twin)
    shifted = [score - 100.0 for score in twin.result.scores]
    assert training.result.scores == pytest.approx(shifted, abs=1e-9)
    assert training.result.best_score == max(training.result.scores)
    assert training.mark == pytest.approx(twin.mark - 100.0)
    assert training.learned() == pytest.approx(twin.learned())
    bowl.judge = lambda flat: math.nan
    best = training.result.best_score
    training.judge_anew()
    assert training.result.best_score == best


def test_the_fall_must_beat_the_best_however_little_it_rose():
    """A score that rose by less than ``tol`` does not end the wait, but is kept."""
    rows = torch.full((20, 2), 5.0)
    training = Training(Bowl(rows, goal=rows[0]), options(tol=1e9), generator())
    list(training.hold())
    assert training.mark < training.result.best_score
    training.return_to_best()
    assert (training.mark, training.stale) == (training.result.best_score, 0)


def test_every_check_is_reported():
    rows, reported = randn(40, 2) + 3.0, []
    bowl = Bowl(rows, rows.mean(0))
    whole = train(bowl, options(), generator(), lambda result: reported.append([*result.scores]))
    assert reported == [whole.scores[: i + 1] for i in range(len(whole.scores))]


def test_without_held_out_rows_the_training_loss_decides():
    rows = randn(40, 2) + 3.0
    result = train(Bowl(rows), options(), generator())
    torch.testing.assert_close(result.flat, rows.mean(0), rtol=0.05, atol=0.05)
    assert result.best_score == max(result.scores)


def test_the_best_parameters_are_kept_not_the_last():
    """The goal lies on the way to where the rows pull: training passes it and returns."""
    rows, goal = torch.full((20, 2), 5.0), torch.ones(2)
    result = train(Bowl(rows, goal), options(learning_rate=0.02), generator())
    assert result.stop_reason == "converged"
    assert result.best_iter < result.n_iter
    assert -(result.flat - goal).norm() == pytest.approx(result.best_score, abs=1e-6)
    assert result.best_score == max(result.scores)


@pytest.fixture
def sizes(monkeypatch):
    """The size of every step taken."""
    sizes, step = [], AveragedAdamW.step

    def recorded(self, gradient, learning_rate):
        sizes.append(learning_rate)
        step(self, gradient, learning_rate)

    monkeypatch.setattr(AveragedAdamW, "step", recorded)
    return sizes


class Scripted(Bowl):
    """Scores are what they are told to be; the last is repeated."""

    def __init__(self, rows, scores):
        super().__init__(rows, batch_size=1)
        self.scores = iter(scores)

    def judge(self, flat):
        self.judged.append(next(self.scores, self.judged[-1] if self.judged else None))
        return self.judged[-1]


@pytest.mark.parametrize(
    ("learned", "share"),
    [(0.99 * training.LEAST_LEARNED, 0.0), (training.LEAST_LEARNED, training._FALL_SHARE)],
    ids=["hardly anything learned", "something learned"],
)
def test_steps_fall_to_zero_once_the_score_no_longer_rises(sizes, monkeypatch, learned, share):
    for name in ("_LATE_PATIENCE", "_PATIENCE_WITH_LOSS"):
        monkeypatch.setattr(training, name, 10**6)
    # What the first steps bring is not counted, nor what is lost and found again.
    bowl = Scripted(torch.full((20, 2), 5.0), [-9.0, 0.0, -1.0, learned, -0.5])
    result = train(bowl, options(n_iter_no_change=6), generator())
    steady = (3 + 6) * STEPS_PER_CHECK
    assert sizes[:steady] == [0.1] * steady
    falling = np.array(sizes[steady:])
    n_steps = max(training._LEAST_FALL, int(share * steady))
    expected = 0.1 * training._FALL_FROM * (1.0 - np.arange(n_steps) / n_steps) ** 2
    np.testing.assert_allclose(falling, expected)
    assert result.stop_reason == "converged"
    assert result.n_steps == len(sizes) == len(bowl.seen)


def test_a_short_fall_is_a_pass_at_least(sizes, monkeypatch):
    monkeypatch.setattr(training, "_LATE_PATIENCE", 10**6)
    n_rows = training._LEAST_FALL + 50
    bowl = Scripted(torch.full((n_rows, 2), 5.0), [-9.0, 0.0])
    train(bowl, options(n_iter_no_change=2), generator())
    assert len(sizes) - sizes.count(0.1) == n_rows


def test_the_start_is_kept_where_nothing_is_better():
    bowl = Bowl(torch.full((20, 2), 5.0), goal=torch.zeros(2))
    result = train(bowl, options(), generator())
    assert torch.equal(result.flat, torch.zeros(2))
    assert (result.best_iter, result.best_score) == (0, 0.0)
    assert max(result.scores) < 0.0


def test_gains_add_up_until_they_are_clear():
    """Each is below the tolerance, but not those of as many checks as are waited for."""

    class Creeping(Bowl):
        def judge(self, flat):
            self.judged.append(0.0004 * len(self.judged))
            return self.judged[-1]

    for patience, reason in ((3, "max_iter"), (2, "converged")):
        bowl = Creeping(torch.zeros(STEPS_PER_CHECK, 2), torch.zeros(2), batch_size=1)
        chosen = options(tol=0.001, n_iter_no_change=patience, max_iter=30)
        assert train(bowl, chosen, generator()).stop_reason == reason


def test_falling_begins_at_the_best_parameters(sizes):
    path = []

    class Remembering(Bowl):
        def step(self, positions):
            path.append(self.flat.clone())
            return super().step(positions)

    bowl = Remembering(torch.full((20, 2), 5.0), goal=torch.full((2,), 1.0), batch_size=1)
    result = train(bowl, options(learning_rate=0.02), generator())
    start = next(i for i, size in enumerate(sizes) if size < 0.02)
    best = max(range(start // STEPS_PER_CHECK), key=result.scores.__getitem__)
    assert -(path[start] - bowl.goal).norm() == pytest.approx(result.scores[best], abs=1e-6)
    assert torch.norm(path[start - 1] - bowl.goal) > 0.1 - result.scores[best]


def test_falling_begins_with_a_warm_up_of_its_own(monkeypatch):
    restarts, restart = [], AveragedAdamW.restart

    def recorded(self):
        restarts.append(getattr(self, "count", None))
        restart(self)

    monkeypatch.setattr(AveragedAdamW, "restart", recorded)
    train(Bowl(torch.full((20, 2), 5.0), goal=torch.zeros(2)), options(), generator())
    assert restarts == [None, 3 * STEPS_PER_CHECK]


@pytest.mark.parametrize("rises_at", [0, 8])
def test_falling_ends_where_scores_do_not_rise_for_long(rises_at, sizes):
    """They may rise again late; and any rise, were it below the tolerance, is one."""

    class Late(Bowl):
        def judge(self, flat):
            learned = float(len(sizes) > STEPS_PER_CHECK)
            late = len(sizes) - sizes.count(0.1)
            return learned + 0.0005 * (0 < rises_at * STEPS_PER_CHECK <= late)

    bowl = Late(torch.zeros(STEPS_PER_CHECK, 2), torch.zeros(2), batch_size=1)
    result = train(bowl, options(n_iter_no_change=30, tol=0.001), generator())
    late = len(sizes) - sizes.count(0.1)
    assert late == (rises_at + training._LATE_PATIENCE) * STEPS_PER_CHECK
    assert result.stop_reason == "converged"


@pytest.mark.parametrize(
    ("lost", "n_checks"), [(0.99, "_LATE_PATIENCE"), (1.01, "_PATIENCE_WITH_LOSS")]
)
def test_falling_ends_soon_where_much_of_what_was_learned_is_lost(lost, n_checks, sizes):
    """What is lost in one check alone may come back in the next."""
    rising, stale, falling = range(10), [9.0] * 3, [-99.0, 9.1, 9.1 * (1.0 - 0.05 * lost)]
    bowl = Scripted(torch.full((20, 2), 5.0), [-9.0, *rising, *stale, *falling])
    train(bowl, options(n_iter_no_change=3), generator())
    late = len(sizes) - sizes.count(0.1)
    assert late == (2 + getattr(training, n_checks)) * STEPS_PER_CHECK


@pytest.mark.parametrize(("half", "times"), [(0, 1), (1, 2)], ids=["first half", "later half"])
@pytest.mark.parametrize(("gain", "is_clear"), [(0.99, False), (1.01, True)])
def test_steps_fall_again_where_the_later_half_gained(gain, is_clear, half, times, sizes):
    """From two fifths of where the fall before began, and for longer: over more steps in all."""
    rising, stale = [-9.0, 0.0, 1.0], [1.0] * 3
    n_falling = 6  # checks of the first fall: over 1.2 times five
    risen = 1.0 + gain * training.LEAST_LEARNED
    found = [1.0] * (n_falling // 2 * (1 + half) - 1) + [risen] * 20
    bowl = Scripted(torch.full((20, 2), 5.0), [*rising, *stale, *found])
    train(bowl, options(n_iter_no_change=3), generator())
    begun = [i for i in range(1, len(sizes)) if sizes[i] > sizes[i - 1]]
    starts = [5 * STEPS_PER_CHECK, *begun]
    assert len(starts) == (times if is_clear else 1)
    assert starts == [5 * STEPS_PER_CHECK, (5 + n_falling) * STEPS_PER_CHECK][: len(starts)]
    firsts = [sizes[start] for start in starts]
    np.testing.assert_allclose(firsts, [0.04, 0.016][: len(starts)])


def test_the_middle_check_of_a_fall_is_of_its_later_half(sizes):
    bowl = Scripted(torch.full((20, 2), 5.0), [-9.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0] + [2.0] * 20)
    train(bowl, options(n_iter_no_change=2), generator())
    begun = [i for i in range(1, len(sizes)) if sizes[i] > sizes[i - 1]]
    assert begun == [4 * STEPS_PER_CHECK + 240]  # 1.2 times as many: five checks, the last early


def test_a_start_that_nothing_beats_is_no_gain(sizes):
    bowl = Scripted(torch.full((20, 2), 5.0), [9.0, 0.0, 1.0])
    result = train(bowl, options(n_iter_no_change=3), generator())
    assert result.best_score == 9.0
    assert all(later <= size for size, later in pairwise(sizes))


def test_patience_grows_with_the_checks_made(sizes):
    """A score that rises for long is waited for longer."""

    class Rising(Bowl):
        def judge(self, flat):
            self.judged.append(float(min(len(self.judged), 99)))
            return self.judged[-1]

    bowl = Rising(torch.zeros(STEPS_PER_CHECK, 2), torch.zeros(2), batch_size=1)
    train(bowl, options(n_iter_no_change=2), generator())
    n_checks = sizes.count(0.1) / STEPS_PER_CHECK
    assert n_checks - 99 == math.ceil(training._PATIENCE * n_checks)


def test_checks_are_some_steps_apart_and_the_last_step_is_checked():
    rows = randn(7, 2)
    reported = []
    bowl = Bowl(rows, goal=rows.mean(0), batch_size=1)  # seven steps a pass
    passes = 2 * math.ceil(STEPS_PER_CHECK / 7)
    result = train(
        bowl,
        options(max_iter=passes, n_iter_no_change=99),
        generator(),
        lambda result: reported.append((result.n_steps, result.scores[-1])),
    )
    n_steps = [STEPS_PER_CHECK, 2 * STEPS_PER_CHECK, 7 * passes]
    assert reported == list(zip(n_steps, result.scores, strict=True))
    assert (result.n_iter, result.stop_reason) == (passes, "max_iter")
    assert len(result.loss_curve) == len(result.scores) == 3
    assert len(bowl.seen) == 7 * passes


def test_losses_are_means_since_the_check_before():
    rows = randn(STEPS_PER_CHECK // 2 + 5, 2)
    result = train(Bowl(rows, batch_size=1), options(max_iter=2, learning_rate=1e-9), generator())
    means = [n * loss for n, loss in zip((STEPS_PER_CHECK, 10), result.loss_curve, strict=True)]
    assert sum(means) == pytest.approx(rows.square().sum().item(), rel=1e-5)


def test_a_long_pass_is_checked_at_its_end():
    rows, reported = randn(STEPS_PER_CHECK + 20, 2), []
    bowl = Bowl(rows, goal=rows.mean(0), batch_size=1)
    how = options(max_iter=3, n_iter_no_change=99)
    train(bowl, how, generator(), lambda result: reported.append(result.n_steps))
    assert reported == [len(rows), 2 * len(rows), 3 * len(rows)]


def test_a_gain_below_the_tolerance_is_kept_but_ends_training():
    class Creeping(Bowl):
        def judge(self, flat):
            self.judged.append(0.0005 * len(self.judged))
            return self.judged[-1]

    rows = randn(STEPS_PER_CHECK, 2)
    bowl = Creeping(rows, goal=rows.mean(0), batch_size=1)
    result = train(bowl, options(tol=0.01, n_iter_no_change=3), generator())
    assert result.stop_reason == "converged"
    assert result.best_score == max(bowl.judged)
    steady = Creeping(rows, goal=rows.mean(0), batch_size=1)
    assert train(steady, options(tol=0.0, max_iter=60), generator()).stop_reason == "max_iter"


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_scores_that_are_no_numbers_are_never_best(bad):
    class Broken(Bowl):
        def judge(self, flat):
            self.judged.append(bad if len(self.judged) else -1.0)
            return self.judged[-1]

    rows = randn(STEPS_PER_CHECK, 2)
    result = train(Broken(rows, rows.mean(0), batch_size=1), options(), generator())
    assert result.best_score == -1.0
    assert result.flat.isfinite().all()


def test_gradients_that_are_no_numbers_end_training_where_it_began():
    class Broken(Bowl):
        def step(self, positions):
            losses = super().step(positions)
            self.gradient.fill_(math.nan)
            return losses * math.nan

    result = train(Broken(randn(8, 2)), options(max_iter=20), generator())
    assert torch.equal(result.flat, torch.zeros(2))
    assert result.best_iter == 0


def test_the_same_generator_gives_the_same_bits():
    rows = randn(40, 2)
    first, again, other = (
        train(Bowl(rows, rows.mean(0)), options(), generator(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first.flat, again.flat)
    assert first.loss_curve == again.loss_curve
    assert first.loss_curve != other.loss_curve


# --- parts of the score --------------------------------------------------------------------------


class TwoParts(Bowl):
    """The first parameter is soon too large for one part of the score, the second never for its.

    Each part may be told by parameters of its own; what that ``costs`` is taken off the score.
    """

    def __init__(self, costs=0.0):
        super().__init__(torch.full((40, 2), 4.0), batch_size=8)
        self.costs, self.kept, self.found, self.totals = costs, {}, [], []

    def judge(self, flat):
        first, second = (float(self.kept.get(i, flat)[i]) for i in range(2))
        self.part_scores = -3.0 * abs(first - 0.5), -abs(second - 3.0)
        self.found.append(self.part_scores[0])
        self.totals.append(sum(self.part_scores) - (self.costs if self.kept else 0.0))
        return self.totals[-1]

    def open_parts(self):
        return [part for part in range(2) if part not in self.kept]

    def keep(self, parts):
        self.before = self.kept
        self.kept = {**self.kept, **parts}

    def let_go(self):
        self.kept = self.before


def test_a_part_that_is_soon_lost_is_kept_while_another_goes_on():
    work = TwoParts()
    result = train(work, options(learning_rate=0.02), generator())
    assert list(work.kept) == [0]
    assert -3.0 * abs(float(work.kept[0][0]) - 0.5) == max(work.found)
    assert float(result.flat[1]) == pytest.approx(3.0, abs=0.1)
    assert result.best_score == pytest.approx(work.judge(result.flat))
    assert 0 < result.best_iter <= result.n_iter
    assert result.scores[0] == work.totals[1]  # as it was then
    assert max(result.scores) == result.best_score > max(work.found) - 0.2


@pytest.mark.parametrize("costs", [10.0, math.nan])
def test_parts_are_kept_only_where_all_is_better_by_that(costs):
    work, whole = TwoParts(costs), TwoParts()
    whole.open_parts = lambda: [1]  # the other is all there is to learn
    result, expected = (
        train(objective, options(learning_rate=0.02), generator()) for objective in (work, whole)
    )
    assert not work.kept
    assert result.scores == expected.scores
    assert torch.equal(result.flat, expected.flat)


def test_one_part_is_kept_where_two_together_are_not_better():
    class ThreeParts(TwoParts):
        """The first parameter tells two parts; with both kept, nothing is right."""

        def judge(self, flat):
            super().judge(flat)
            first, second = self.part_scores
            last = -0.5 * abs(float(self.kept.get(2, flat)[0]) - 0.5)
            self.part_scores = first, second, last
            return sum(self.part_scores) - 100.0 * ({0, 2} <= set(self.kept))

        def open_parts(self):
            return [part for part in range(3) if part not in self.kept]

    work = ThreeParts()
    train(work, options(learning_rate=0.02), generator())
    assert list(work.kept) == [0]


def test_the_gain_of_keeping_parts_is_that_over_the_best_judged_alike():
    """While training, scores are too high here by what no settled judgement says."""

    class Hasty(TwoParts):
        def __init__(self):
            super().__init__()
            self.is_settled = False

        def judge(self, flat):
            return super().judge(flat) + 100.0 * (not self.is_settled)

        def keep(self, parts):
            super().keep(parts)
            self.is_settled = True

        def let_go(self):
            super().let_go()
            self.is_settled = False

    work = Hasty()
    train(work, options(learning_rate=0.02), generator())
    assert list(work.kept) == [0]


def test_what_was_hardly_lost_is_not_kept():
    class Flat(TwoParts):
        def judge(self, flat):
            score = super().judge(flat)
            slope = 0.3 * training._LOST  # as far as it gets
            self.part_scores = slope * self.part_scores[0] / 10.0, self.part_scores[1]
            return score

    work = Flat()
    train(work, options(learning_rate=0.02), generator())
    assert not work.kept
