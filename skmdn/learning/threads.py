"""How many threads a piece of work is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: Multiplications that pay for two of torch's threads, and for more than two. With one thread,
#: NumPy does the work (see `skmdn.learning.arrays`), whose small operations take half as long: on
#: two cores, nine sizes of smaller steps took 0.9 to 2.0 times as long with two threads (median
#: 1.3). What more cores would gain was not measured.
_WORTH_TWO, _WORTH_MORE = 2**28, 2**24


@contextmanager
def threads_for(n_products: int) -> Iterator[None]:
    """Use one of torch's threads for so few multiplications; afterwards as many as before."""
    before = torch.get_num_threads()
    if before > 1 and n_products < (_WORTH_TWO if before == 2 else _WORTH_MORE):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
