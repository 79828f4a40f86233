"""What training minimises: the mean loss of each member over the rows it does not hold out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .calibration import search_factor
from .loss import MixtureLoss
from .network import Architecture, ClosedForm, raw_outputs


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
        #: Rows that each member and the next both hold out (there may be one more).
        self.n_shared = max(0, n_held_out - -(-self.n_rows // architecture.n_members))
        self.offsets = torch.from_numpy(starts).to(table.device).unsqueeze(1)
        self.network = ClosedForm(architecture, flat, self.gradient, batch_size)
        self.batch_size = batch_size
        self.variance_factor = 1.0
        #: Multiplications of a step's forward pass, about.
        self.n_products = architecture.n_parameters * batch_size

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

    def held_out_rows(self, positions: Tensor) -> Tensor:
        """Return the rows (E, B) of the members at positions (B,) of the rows they hold out."""
        return (positions + self.offsets) % self.n_rows

    def log_densities(
        self, flat: Tensor, rows: Tensor, factors: list[float]
    ) -> tuple[Tensor, Tensor]:
        """Return the log-densities (len(factors), E, B) of rows, and their weights (E, B).

        Parameters
        ----------
        flat : Tensor
            The parameters.
        rows : Tensor of shape (E, B)
        factors : list of float
            What the variances are multiplied by.
        """
        x, y, weights = self._gather(rows)
        raw = raw_outputs(self.architecture, self.architecture.views(flat), x)
        nll = [self.loss.nll(self.loss.tempered(raw, factor), y) for factor in factors]
        return -torch.stack(nll), weights

    def residuals(self, flat: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return targets less the members' means (E, D, B), and the weights (E, B)."""
        x, y, weights = self._gather(rows)
        raw = raw_outputs(self.architecture, self.architecture.views(flat), x)
        return y - self.loss.means(raw), weights

    def judge(self, flat: Tensor) -> tuple[float, float]:
        """Return the held-out score of parameters, and the variance factor that goes with it."""
        score, self.variance_factor = search_factor(self, flat, self.variance_factor)
        return score, self.variance_factor
