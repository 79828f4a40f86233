"""How many threads a piece of work gets, and that nothing else depends on it."""

from __future__ import annotations

import pkgutil

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from skmdn import MDNRegressor
from skmdn.learning import threads
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.network import Architecture
from skmdn.learning.noise import NOISE_MODELS
from skmdn.learning.objective import MixtureObjective
from skmdn.learning.shares import Share
from skmdn.learning.threads import n_shares, one_thread, threads_for


@pytest.fixture
def use_threads():
    """Set the number of torch's threads; afterwards it is what it was."""
    usual = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(usual)


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize(
    ("before", "n_products", "during"),
    [(1, 2**30, 1), (2, 2**28, 2), (2, 2**28 - 1, 1), (4, 2**24, 4), (4, 2**24 - 1, 1)],
)
def test_threads_are_for_large_steps_and_restored(before, n_products, during, use_threads):
    use_threads(before)
    with threads_for(n_products):
        assert torch.get_num_threads() == during
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("before", "n_members", "n_products", "expected"),
    [
        (1, 16, 2**30, 1),
        (2, 16, 2**24, 2),
        (2, 16, 2**24 - 1, 1),
        (8, 16, 2**30, 8),
        (8, 16, 5 * 2**23, 5),
        (8, 3, 2**30, 3),
        (8, 1, 2**30, 1),
        (8, 16, 1, 1),
    ],
)
def test_members_are_shared_where_a_thread_is_worth_it(
    before, n_members, n_products, expected, use_threads
):
    use_threads(before)
    assert n_shares(n_members, n_products) == expected


def test_a_share_computes_with_one_thread(use_threads):
    use_threads(2)
    before = blas_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
        assert blas_threads() == {1}
    assert torch.get_num_threads() == 2
    assert blas_threads() == before


def test_limits_that_overlap_are_lifted_by_the_last():
    """Of two threads, the second finds the limit of the first, which it must not restore."""
    with threadpool_limits(2, user_api="blas"):
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == {2}


@pytest.mark.parametrize("noise_type", NOISE_MODELS)
@pytest.mark.parametrize("n_threads", [2, 3, 8])
def test_a_step_is_the_same_however_members_are_shared(
    noise_type, n_threads, use_threads, monkeypatch
):
    """To rounding: torch computes what is left over at an array's end in another way."""
    loss = MixtureLoss(3, 2, NOISE_MODELS[noise_type], 1e-2)
    arch = Architecture(5, 3, loss.n_outputs, (7, 6), "silu")
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(arch.n_parameters, generator=generator)
    table = torch.randn(40, 6, generator=generator).abs()
    monkeypatch.setattr(threads, "_WORTH_A_SHARE", 1)

    def a_step(number):
        use_threads(number)
        work = MixtureObjective(arch, loss, flat, table, 10, 9)
        assert len(work.shares) == min(number, 5)
        with work.threads():
            mean = work.step(next(work.batches(torch.Generator().manual_seed(0))))
        return mean, work.gradient

    (mean, gradient), (expected, whole) = a_step(n_threads), a_step(1)
    assert mean == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(gradient, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_rows", [50, 3000])
def test_small_steps_and_curves_leave_numpys_threads_alone(n_rows, use_threads, monkeypatch):
    """Two programs that use all cores for small products would wait for each other."""
    use_threads(2)
    seen = set()
    for path in ("network.ClosedForm.forward", "curve._misfit"):
        home, _, name = f"skmdn.learning.{path}".rpartition(".")
        owner = pkgutil.resolve_name(home)
        original = getattr(owner, name)

        def noting(*arguments, original=original):
            seen.update(blas_threads())
            return original(*arguments)

        monkeypatch.setattr(owner, name, noting)
    X = np.linspace(-1.0, 1.0, n_rows)[:, None]
    with threadpool_limits(2, user_api="blas"):
        MDNRegressor(n_estimators=2, max_iter=1, random_state=0).fit(X, np.exp(X[:, 0]))
        assert blas_threads() == {2}
    assert seen == {1}
    assert torch.get_num_threads() == 2


def test_steps_that_overflow_warn_in_no_thread(use_threads, monkeypatch):
    """Warnings are errors here; what NumPy ignores is each thread's own."""
    use_threads(2)
    monkeypatch.setattr(threads, "_WORTH_A_SHARE", 1)
    X = np.linspace(-1.0, 1.0, 200)[:, None]
    parameters = {"activation": "relu", "learning_rate_init": 1e12, "alpha": 0.0, "max_iter": 5}
    model = MDNRegressor(n_estimators=4, early_stopping=False, random_state=0, **parameters)
    assert np.isfinite(model.fit(X, X[:, 0]).score(X, X[:, 0]))


def test_an_error_in_a_share_is_the_steps(use_threads, monkeypatch):
    step = Share.step

    def fail(self, batch):
        if self.members.start > 0:  # the other thread's
            raise ZeroDivisionError
        return step(self, batch)

    use_threads(2)
    monkeypatch.setattr(threads, "_WORTH_A_SHARE", 1)
    monkeypatch.setattr(Share, "step", fail)
    X = np.linspace(0.0, 1.0, 50)[:, None]
    with pytest.raises(ZeroDivisionError):
        MDNRegressor(n_estimators=2).fit(X, X[:, 0])
    assert torch.get_num_threads() == 2
