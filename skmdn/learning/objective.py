"""What training minimises: the mean loss of each member over the rows it does not hold out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .loss import MixtureLoss
from .network import Architecture, ClosedForm, raw_outputs

#: Rows a member is scored on at once: the buffers stay in the cache.
_SCORING_ROWS = 1024
#: Steps of the search for the factor on the variances: from check to check it climbs by these.
_FACTOR_STEPS = (1.0, 1.2, 1.0 / 1.2)


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
    """

    def __init__(
        self,
        architecture: Architecture,
        loss: MixtureLoss,
        flat: Tensor,
        table: Tensor,
        n_held_out: int,
        batch_size: int,
    ):
        self.architecture, self.loss, self.table = architecture, loss, table
        self.flat, self.gradient = flat, torch.zeros_like(flat)
        self.n_rows, self.n_held_out = len(table), n_held_out
        self.n_train = self.n_rows - n_held_out
        starts = held_out_starts(self.n_rows, architecture.n_members)
        self.offsets = torch.from_numpy(starts).to(table.device).unsqueeze(1)
        self.network = ClosedForm(architecture, flat, self.gradient, batch_size)
        self.batch_size = batch_size
        self.variance_factor = 1.0

    def rows(self, positions: Tensor) -> Tensor:
        """Return the rows (E, B) of the members at positions (B,) of their training rows."""
        return (positions + (self.offsets + self.n_held_out)) % self.n_rows

    def _gather(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (E, B, F), targets (E, D, B) and weights (E, B)."""
        f = self.architecture.n_features
        taken = self.table.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        return taken[..., :f], taken[..., f:-1].mT.contiguous(), taken[..., -1].contiguous()

    def step(self, positions: Tensor) -> Tensor:
        """Set ``gradient`` for the rows at ``positions`` (B,); return their weighted losses."""
        x, y, weights = self._gather(self.rows(positions))
        # Divided by the number of rows, not by their weights: the batches then add up to the
        # gradient of the whole, in which a row of weight two counts twice.
        weights /= self.batch_size
        raw = self.network.forward(x)
        losses = self.loss.gradient(raw, y, weights, out=self.network.d_raw)
        self.network.backward()
        return losses.mul_(weights)

    def judge(self, flat: Tensor) -> tuple[float, float]:
        """Return the score of parameters on the held-out rows, and the variances it asks for.

        A member fits its own rows more closely than new ones, and its variances know only the
        former. The rows it holds out tell by which factor they are too small; parameters are
        judged by what they are worth once that is mended (as in temperature scaling, Guo et al.
        2017), which lets the means learn on when the variances alone have begun to overfit.

        Parameters
        ----------
        flat : Tensor
            The parameters.

        Returns
        -------
        score : float
            Mean log-likelihood over members of the rows each holds out; larger is better.
        variance_factor : float
            The factor that goes with it.
        """
        factors = [self.variance_factor * step for step in _FACTOR_STEPS]
        scores = self._held_out_scores(flat, factors)
        best = int(scores.argmax())
        self.variance_factor = factors[best]
        return float(scores[best]), factors[best]

    def _held_out_scores(self, flat: Tensor, factors: list[float]) -> Tensor:
        """Return the mean log-likelihood of the held-out rows under each variance factor."""
        p = self.architecture.views(flat)
        total = flat.new_zeros(len(factors) + 1, len(self.offsets), dtype=torch.float64)
        for positions in torch.arange(self.n_held_out, device=flat.device).split(_SCORING_ROWS):
            x, y, weights = self._gather((positions + self.offsets) % self.n_rows)
            raw = raw_outputs(self.architecture, p, x)
            nll = [self.loss.nll(self.loss.tempered(raw, factor), y) for factor in factors]
            sums = torch.stack([*nll, torch.ones_like(weights)]) * weights
            total += sums.sum(2, dtype=torch.float64)
        return -(total[:-1] / total[-1]).mean(1)
