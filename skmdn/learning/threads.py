"""How many threads a piece of work is worth."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch
from threadpoolctl import ThreadpoolController

#: Multiplications that pay for two of torch's threads. With one thread, NumPy does the work (see
#: `skmdn.learning.arrays`), whose small operations take half as long: on two cores, nine sizes of
#: smaller steps took 0.9 to 2.0 times as long with two threads (median 1.3).
_WORTH_TWO = 2**28
#: Multiplications that pay for more than two threads; a guess, not measured.
_WORTH_MORE = 2**24
#: Multiplications of a step that pay for a thread which takes some of the members. Threads wait
#: for each other wherever Python is needed: on two cores, eight sizes of steps of 2^24 to 2^28
#: took 0.6 to 1.06 of the time (median 0.85), smaller ones 0.9 to 3 times as long.
_WORTH_A_SHARE = 2**23

_libraries = cache(ThreadpoolController)


def n_shares(n_members: int, n_products: int) -> int:
    """Return among how many threads the members of a step should be shared."""
    return max(1, min(torch.get_num_threads(), n_members, n_products // _WORTH_A_SHARE))


def are_few(n_products: int) -> bool:
    """Tell whether so many multiplications are faster with one thread."""
    return n_products < (_WORTH_TWO if torch.get_num_threads() <= 2 else _WORTH_MORE)


def threads_for(n_products: int) -> AbstractContextManager[None]:
    """Use one of torch's threads for few multiplications; afterwards as many as before."""
    few = torch.get_num_threads() > 1 and are_few(n_products)
    return _torch_threads(1) if few else nullcontext()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, NumPy as well as torch; afterwards as before.

    NumPy's products would use all cores else, and wait for each other where two programs do. Its
    threads are those of the whole process.
    """
    with _torch_threads(1), _one_blas_thread:
        yield


class _OneBlasThread:
    """Limits NumPy's threads to one: who enters first sets the limit, who leaves last lifts it.

    Each by itself would restore what it found, which may be another's limit.
    """

    def __init__(self) -> None:
        self.lock, self.n_users = threading.Lock(), 0

    def __enter__(self) -> None:
        with self.lock:
            if self.n_users == 0:
                self.limit = _libraries().limit(limits=1, user_api="blas")
            self.n_users += 1

    def __exit__(self, *exception: object) -> None:
        with self.lock:
            self.n_users -= 1
            if self.n_users == 0:
                self.limit.restore_original_limits()


_one_blas_thread = _OneBlasThread()


@contextmanager
def _torch_threads(number: int) -> Iterator[None]:
    """Use so many of torch's threads; afterwards as many as before."""
    before = torch.get_num_threads()
    try:
        if number != before:
            torch.set_num_threads(number)
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
