"""What training minimises: the mean loss of each member over the rows it does not hold out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .arrays import Array, as_array
from .judging import (
    JudgedRows,
    Predictions,
    judged_rows,
    search_factors,
    settled_factors,
    training_score,
)
from .loss import MixtureLoss
from .network import Architecture, KeptOutputs, raw_outputs
from .parts import n_parts, outputs_of
from .shares import Batch, Share
from .sizes import usual_batch_size
from .threads import are_few, n_shares, one_thread

#: Numbers that are gathered at once.
_CACHED_NUMBERS = 2**18


def equal_batch_size(n_rows: int, about: int | None = None) -> int:
    """Return a size near ``about``, or the usual one, that cuts rows into equal batches."""
    about = about or usual_batch_size(n_rows)
    return -(-n_rows // max(1, round(n_rows / about)))


def equal_batches(n_rows: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """Return the positions of a shuffled pass, a batch a line; the last is filled from the first.

    Returns
    -------
    Tensor of shape (n_batches, batch_size)
    """
    order = torch.randperm(n_rows, generator=generator, device=generator.device)
    n_batches = -(-n_rows // batch_size)
    return torch.cat([order, order[: n_batches * batch_size - n_rows]]).view(n_batches, batch_size)


def rows_held_out(n_rows: int, share: float) -> int:
    """Return how many rows a share is: at least one, and one less than all at most."""
    return min(max(1, math.ceil(share * n_rows)), n_rows - 1)


def held_out_starts(n_rows: int, n_members: int) -> np.ndarray:
    """Return where on the circle of all rows the rows begin that each member holds out."""
    return np.arange(n_members) * n_rows // n_members


class MixtureObjective:
    """Losses and gradients of all members, on rows of a table kept in one place.

    Member e trains on the ``n_train`` rows from ``offsets[e] + n_held_out`` on, around the circle
    of all rows, and is judged on the ``n_held_out`` rows before them.

    Parameters
    ----------
    architecture : Architecture
    loss : MixtureLoss
    flat : Tensor
        The parameters; training changes them in place.
    table : Tensor of shape (n, F + D + 1)
        Features, targets and weight of each row, side by side: one look-up gathers a batch.
    n_held_out : int
        Rows each member holds out; 0 for none.
    batch_size : int
        Rows of a member in each step.
    n_mixed : int, default=None
        Members of the mixture that is judged, where these are but a few of them.
    kept : sequence of (ndarray of int, Tensor), default=()
        Raw outputs that are no longer learned, and the parameters that give them.
    """

    def __init__(
        self,
        architecture: Architecture,
        loss: MixtureLoss,
        flat: Tensor,
        table: Tensor,
        n_held_out: int,
        batch_size: int,
        n_mixed: int | None = None,
        kept: Sequence[tuple[np.ndarray, Tensor]] = (),
    ):
        self.architecture, self.table = architecture, table
        self.flat, self.gradient = flat, torch.zeros_like(flat)
        self.n_rows, self.n_held_out = len(table), n_held_out
        self.n_train = self.n_rows - n_held_out
        starts = held_out_starts(self.n_rows, architecture.n_members)
        #: Rows that each member and the next both hold out (there may be one more).
        self.n_shared = max(0, n_held_out - -(-self.n_rows // architecture.n_members))
        #: Members whose mixture is judged.
        self.n_mixed = n_mixed or architecture.n_members
        self.offsets = torch.from_numpy(starts).to(table.device).unsqueeze(1)
        self.batch_size, self.n_batches = batch_size, -(-self.n_train // batch_size)
        #: Where the search for the variances' factors stands; not yet begun.
        self.factors: tuple[float, float] | None = None
        #: What mixing the members surely added when they were last judged,
        self.gain = 0.0
        #: and the parts of their score, if there are several.
        self.part_scores: tuple[float, ...] = ()
        self.n_in_batch = batch_size * architecture.n_members
        self.n_products = architecture.n_parameters * batch_size
        n = n_shares(architecture.n_members, self.n_products) if flat.is_cpu else 1
        #: How many threads share the members among them, and a pool of all but the calling one.
        self.n_threads, self._others = n, ThreadPoolExecutor(max(1, n - 1))
        with self.threads():
            self.loss = loss.like(as_array(flat))
            given = architecture, self.loss, flat, self.gradient, batch_size
            cuts = (np.arange(n + 1) * architecture.n_members // n).tolist()
            self.shares = [Share(*given, slice(start, stop)) for start, stop in pairwise(cuts)]
            #: What is no longer learned.
            self.kept: list[KeptOutputs] = []
            self._tell([KeptOutputs(architecture, *part) for part in kept], None)

    def threads(self) -> AbstractContextManager[None]:
        """Use as many threads as a step is worth; all else that is asked of it needs them, too."""
        alone = self.n_threads > 1 or are_few(self.n_products)
        return one_thread() if alone else nullcontext()

    def training_rows(self, positions: Tensor) -> Tensor:
        """Return the rows (E, B) of the members at positions (B,) of their training rows."""
        return (positions + (self.offsets + self.n_held_out)) % self.n_rows

    @cached_property
    def is_weighted(self) -> bool:
        """Whether some row does not count once."""
        return bool((self.table[:, -1] != 1.0).any())

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield a shuffled pass over the training rows in equal batches."""
        order = equal_batches(self.n_train, self.batch_size, generator).to(self.table.device)
        # One look-up for many batches, as far as they stay in a cache.
        numbers = self.batch_size * len(self.offsets) * self.table.shape[1]
        for positions in order.split(max(1, _CACHED_NUMBERS // numbers)):
            x, y, weights = map(as_array, self.gathered(self.training_rows(positions.flatten())))
            for start in range(0, weights.shape[1], self.batch_size):
                own = slice(start, start + self.batch_size)
                yield x[:, own], y[..., own], weights[:, own] if self.is_weighted else None

    def step(self, batch: Batch) -> Array:
        """Set ``gradient`` for a batch, summed over rows; return its mean loss over all members.

        A mean over rows, not over their weights: the batches add up to the gradient of the whole,
        in which a row of weight two counts twice.
        """
        first, *others = self.shares
        begun = [self._others.submit(share.step_in_thread, batch) for share in others]
        losses = [first.step(batch), *(step.result() for step in begun)]
        return sum(part.sum() for part in losses) / self.n_in_batch

    def held_out_rows(self, positions: Tensor) -> Tensor:
        """Return the rows (E, B) of the members at positions (B,) of the rows they hold out."""
        return (positions + self.offsets) % self.n_rows

    @cached_property
    def judged(self) -> JudgedRows:
        """The rows that members are judged on, the same at every check."""
        return judged_rows(self)

    def gathered(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (E, B, F), targets (E, D, B) and weights (E, B) of rows (E, B)."""
        f = self.architecture.n_features
        taken = self.table.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        return taken[..., :f], taken[..., f:-1].mT.contiguous(), taken[..., -1].contiguous()

    def predictions(self, flat: Tensor, gathered: tuple[Tensor, Tensor, Tensor]) -> Predictions:
        """Return what the members, with parameters ``flat``, make of rows gathered."""
        x, y, weights = gathered
        p = self.architecture.views(flat)
        parameters = {name: as_array(part) for name, part in p.items()}
        raw = raw_outputs(self.architecture, parameters, as_array(x))
        for part in self.kept:
            part.write(raw, as_array(x))
        return Predictions(self.loss, raw, as_array(y), weights)

    def judge(self, flat: Tensor) -> float:
        """Return the log-likelihood that the members' mixture is expected to have on new rows.

        Without held-out rows, return that of one member on training rows.
        """
        if self.n_held_out == 0:
            return training_score(self, flat)
        # The first judgement searches to the end; then a step each time keeps up with training.
        search = search_factors if self.factors else settled_factors
        judgement = search(self, flat, self.factors or (1.0, 1.0))
        self.factors, self.gain = judgement.factors, judgement.gain
        self.part_scores = judgement.part_scores
        return judgement.score

    def open_parts(self) -> list[int]:
        """Return which parts of the score are still learned."""
        parts = range(n_parts(self.loss))
        kept = {output for of_parts in self.kept for output in of_parts.outputs.tolist()}
        return [part for part in parts if outputs_of(self.loss, part)[0] not in kept]

    def keep(self, parts: dict[int, Tensor]) -> None:
        """Let parts of the score be told as with these parameters from now on.

        Those with the same ones share a copy. The variances' factors are searched anew.
        """
        self._before = self.kept, self.factors
        outputs: dict[Tensor, list[np.ndarray]] = {}  # tensors are told apart by which they are
        for part, flat in parts.items():
            outputs.setdefault(flat, []).append(outputs_of(self.loss, part))
        own = [
            KeptOutputs(self.architecture, np.concatenate(of_parts), flat)
            for flat, of_parts in outputs.items()
        ]
        self._tell([*self.kept, *own], None)

    def let_go(self) -> None:
        """Learn again what was kept last."""
        self._tell(*self._before)

    def _tell(self, kept: list[KeptOutputs], factors: tuple[float, float] | None) -> None:
        self.kept, self.factors = kept, factors
        for share in self.shares:
            share.kept = [part.of(share.members) for part in kept]
