"""How many of torch's threads a piece of work gets."""

from __future__ import annotations

import pytest
import torch

from skmdn.learning.threads import threads_for


@pytest.mark.parametrize(
    ("before", "n_products", "during"),
    [(1, 2**30, 1), (2, 2**28, 2), (2, 2**28 - 1, 1), (4, 2**24, 4), (4, 2**24 - 1, 1)],
)
def test_threads_are_for_large_steps_and_restored(before, n_products, during):
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(before)
        with threads_for(n_products):
            assert torch.get_num_threads() == during
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(usual)
