"""How many threads a piece of work is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: Multiplications that pay for waking a second thread, and for its waiting on a busy machine.
_WORTH_THREADS = 2**23


@contextmanager
def threads_for(n_products: int) -> Iterator[None]:
    """Use one of torch's threads for so few multiplications; afterwards as many as before."""
    before = torch.get_num_threads()
    if before > 1 and n_products < _WORTH_THREADS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
